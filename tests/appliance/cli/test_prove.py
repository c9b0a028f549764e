"""appliance prove: in words, as JSON, from a running service and from its file."""

import json

import pytest
from keeper import Keeper, number, origin
from processes import appliance, free_port, running

from appliance.cli.prove import proof_lines
from appliance.exits import Exit
from appliance.store.gaps import AGENT, AGENT_OFFLINE, GapNote, Gaps


def keep(data_dir, *seqs, away=False):
    """Write a history of an agent's numbers, as of now."""
    import time

    data_dir.mkdir()
    keeper = Keeper(data_dir / "appliance.db", at=time.time() - 60)
    keeper.write(*(number(seq, properties=origin(seq)) for seq in seqs), apart_s=1.0)
    if away:
        with keeper.database.transaction():
            Gaps(keeper.database.connection).write(
                [GapNote(AGENT, "house", AGENT_OFFLINE, keeper.now, None)], keeper.clock.tick
            )
    keeper.move()  # or a service would find rows that it has not staged
    keeper.stop()


def test_nothing_missing_from_the_file(tmp_path):
    keep(tmp_path / "d", 1, 2, 3)
    done = appliance(tmp_path, "prove", "house", "--data", tmp_path / "d")
    assert done.stdout.splitlines() == [
        "house, run r1: numbers 1 to 3, 3 rows, none missing",
        "every missing number is explained",
    ]
    assert done.stderr == f"appliance: no appliance answers; this is from {tmp_path}/d/appliance.db\n"
    assert done.returncode == Exit.OK


def test_what_is_lost_makes_it_fail(tmp_path):
    keep(tmp_path / "d", 1, 2, 5)
    done = appliance(tmp_path, "prove", "house", "--data", tmp_path / "d", "--since", "all")
    head, lost, verdict = done.stdout.splitlines()
    assert head == "house, run r1: numbers 1 to 5, 3 rows, 2 missing"
    assert lost.startswith("  3 to 4 (2), between ")
    assert lost.endswith(": never arrived, nothing explains it")
    assert verdict == "not every missing number is explained"
    assert done.returncode == Exit.NOTHING
    told = json.loads(appliance(tmp_path, "prove", "house", "--data", tmp_path / "d", "--json").stdout)
    assert told["explained"] is False
    (one,) = told["runs"][0]["missing"]
    assert (one["first_seq"], one["last_seq"], one["cause"]) == (3, 4, "never arrived")


def test_a_running_service_says_the_same(tmp_path):
    keep(tmp_path / "d", 1, 4, away=True)
    with running(tmp_path, "run", "--data", tmp_path / "d", "--mqtt-port", free_port(), "--http-port", "0") as service:
        service.line()
        done = appliance(tmp_path, "prove", "house", "--data", tmp_path / "d")
        assert done.stderr == ""
        assert "  2 to 3 (2), between " in done.stdout
        assert "may still be with the agent, offline since " in done.stdout
        assert "until now: agent offline house" in done.stdout
        assert done.returncode == Exit.OK
        unknown = appliance(tmp_path, "prove", "attic", "--data", tmp_path / "d")
        assert unknown.returncode == Exit.NOTHING
        assert unknown.stderr == (
            "appliance: 'attic' has sent nothing with a number; `appliance status` lists agents\n"
        )
        service.stop()


def test_what_cannot_be_asked(tmp_path):
    keep(tmp_path / "d", 1)
    unknown = appliance(tmp_path, "prove", "attic", "--data", tmp_path / "d")
    assert unknown.returncode == Exit.NOTHING
    assert "has sent nothing with a number" in unknown.stderr
    wrong = appliance(tmp_path, "prove", "house", "--since", "soon")
    assert wrong.returncode == Exit.USAGE
    assert "--since: 'soon' is not a time" in wrong.stderr
    nobody = appliance(tmp_path, "prove", "house", "--data", tmp_path / "none")
    assert nobody.returncode == Exit.UNAVAILABLE
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "appliance.db").write_bytes(b"no database" * 100)
    assert appliance(tmp_path, "prove", "house", "--data", tmp_path / "bad").returncode == Exit.DATA


MISSING = {"first_seq": 7, "last_seq": 7, "cause": "refused", "detail": "why"}


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (None, None, "  7: refused, why"),
        (None, 0.0, "  7, before 1970-01-01 00:00:00: refused, why"),
        (0.0, None, "  7, after 1970-01-01 00:00:00: refused, why"),
    ],
)
def test_times_in_words(monkeypatch, since, until, words):
    monkeypatch.setattr("appliance.cli.words.time.localtime", __import__("time").gmtime)
    run = {
        "run": "r\x1b",
        "first_seq": 1,
        "last_seq": 9,
        "rows": 1,
        "missing": [{**MISSING, "since": since, "until": until}],
        "never_given": [],
    }
    proof = {"agent": "house", "explained": True, "runs": [run], "gaps": []}
    assert list(proof_lines(proof)) == [
        "house, run r\\x1b: numbers 1 to 9, 1 row, 1 missing",
        words,
        "every missing number is explained",
    ]


def test_what_was_never_given_is_not_missing():
    never = {**MISSING, "first_seq": 4, "last_seq": 6, "cause": "never given", "since": None, "until": None}
    run = {"run": "r1", "first_seq": 1, "last_seq": 9, "rows": 6, "missing": [], "never_given": [never]}
    lines = list(proof_lines({"agent": "house", "explained": True, "runs": [run], "gaps": []}))
    assert lines[0] == "house, run r1: numbers 1 to 9, 6 rows, none missing, 3 never given"
    assert lines[1] == "  4 to 6 (3): never given, why"


def test_nothing_in_that_time():
    lines = list(proof_lines({"agent": "house", "explained": True, "runs": [], "gaps": []}))
    assert lines[0] == "house sent nothing in that time; --since all looks at everything"


def test_a_gap_of_one_series_names_it():
    gap = {"since": 1.0, "until": None, "cause": "lost to damage", "detail": "it was cut off"}
    proof = {"agent": "house", "explained": True, "runs": [], "gaps": [{**gap, "scope": "series", "name": "a/b"}]}
    line = list(proof_lines(proof))[1]
    assert line.startswith("  gap of a/b from ")
    assert line.endswith("until now: lost to damage (it was cut off)")
