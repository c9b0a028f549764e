"""appliance export: a whole file or none."""

import argparse
import json
import time

import pytest
from keeper import Keeper, number
from processes import appliance, free_port, running

from appliance.cli import export
from appliance.exits import Exit
from appliance.store.gaps import BROKER_DOWN, HUB, GapNote, Gaps


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    keeper = Keeper(folder / "appliance.db", at=time.time() - 3600)
    keeper.write(number("20.50", "home/a/t"), number("ON", "home/hall/door"), number("21", "home/a/t"), apart_s=1.0)
    keeper.move()  # or a service would find rows that it has not staged
    keeper.stop()
    return folder


def exported(home, data_dir, *arguments):
    return appliance(home, "export", "--data", data_dir, *arguments)


def test_csv_and_json_lines(tmp_path, data_dir):
    done = exported(tmp_path, data_dir)
    head, *lines = done.stdout.splitlines()
    assert head == "topic,time,value,unit,quality,clock,agent,run,seq"
    assert [line.split(",")[2] for line in lines] == ["20.5", "21", "ON"]
    assert (done.stderr, done.returncode) == ("", Exit.OK)
    lines = exported(tmp_path, data_dir, "home/+/t", "--format", "jsonl", "--since", "2h").stdout.splitlines()
    assert [json.loads(line)["value"] for line in lines] == [20.5, 21]
    none = exported(tmp_path, data_dir, "--until", "2h")
    assert (none.stdout.count("\n"), none.returncode) == (1, Exit.NOTHING)
    assert "no readings of # in that time" in none.stderr
    assert exported(tmp_path, data_dir, "nothing/#", "--format", "jsonl").returncode == Exit.NOTHING
    (row,) = exported(tmp_path, data_dir, "home/+/door", "--every", "1d").stdout.splitlines()[1:]
    assert ",1.0,1.0,1.0,1.0,,1,ON," in row


def test_gaps(tmp_path, data_dir):
    none = exported(tmp_path, data_dir, "--gaps")
    assert (none.stdout, none.returncode) == ("since,until,cause,detail,scope,name\n", Exit.NOTHING)
    assert "no gaps of # in that time; --since reaches further back" in none.stderr
    keeper = Keeper(data_dir / "appliance.db", at=time.time() - 1800, now=4_000.0)
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write([GapNote(HUB, "", BROKER_DOWN, keeper.now, None)], keeper.clock.tick)
    keeper.stop()
    (gap,) = exported(
        tmp_path, data_dir, "home/a/#", "--gaps", "--format", "jsonl", "--since", "1h"
    ).stdout.splitlines()
    assert json.loads(gap)["cause"] == BROKER_DOWN
    assert json.loads(gap)["until"] is None
    both = exported(tmp_path, data_dir, "--gaps", "--every", "1h")
    assert both.returncode == Exit.USAGE
    assert "not allowed with argument --gaps" in both.stderr


def test_into_a_file_while_the_service_runs(tmp_path, data_dir):
    target = tmp_path / "out.csv"
    target.write_text("old")
    port = free_port()
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        done = exported(tmp_path, data_dir, "-o", target)
        assert done.returncode == Exit.DATA
        assert "out.csv is there already; name another file, or add --force" in done.stderr
        assert target.read_text() == "old"
        done = exported(tmp_path, data_dir, "-o", target, "--force")
        assert (done.stdout, done.stderr, done.returncode) == (f"{target} has 3 rows, 0.0 MB\n", "", Exit.OK)
        service.stop()
    assert target.read_text().count("\n") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "out.csv"]
    assert exported(tmp_path, data_dir, "-o", "/dev/null").returncode == Exit.OK


def test_a_file_that_cannot_be_made_or_filled(tmp_path, data_dir):
    done = exported(tmp_path, data_dir, "-o", tmp_path / "none" / "out.csv")
    assert done.returncode == Exit.DATA
    assert "cannot be written (No such file or directory); make its directory first" in done.stderr
    full = exported(tmp_path, data_dir, "-o", "/dev/full")
    assert full.returncode == Exit.DATA
    assert "free some space" in full.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--since", "9999-01-01"), Exit.USAGE, "is still to come"),
        (("a#",), Exit.USAGE, "TOPIC-FILTER: a wildcard is not alone"),
        (("--since", "1h", "--until", "2h"), Exit.USAGE, "swap them"),
        (("--since", "soon"), Exit.USAGE, "--since: 'soon'"),
        (("--every", "0s"), Exit.USAGE, "is no stretch of time"),
        (("--every", "x"), Exit.USAGE, "is not a time span"),
        (("--format", "parquet"), Exit.USAGE, "invalid choice"),
    ],
)
def test_what_cannot_be_asked(tmp_path, data_dir, arguments, code, complaint):
    done = exported(tmp_path, data_dir, *arguments)
    assert done.returncode == code
    assert complaint in done.stderr


def test_no_database(tmp_path):
    assert exported(tmp_path, tmp_path / "none").returncode == Exit.NOTHING
    (tmp_path / "appliance.db").write_bytes(b"no database" * 100)
    assert exported(tmp_path, tmp_path).returncode == Exit.DATA


def test_spans():
    assert export.span("1h30m") == 5400
    with pytest.raises(argparse.ArgumentTypeError):
        export.span("0m")
