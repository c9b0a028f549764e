import pytest

from appliance.doctor.running import running_findings

GOOD = {"version": "1", "site": "home", "pid": 7, "clients_now": 1, "agents": {"house": "online"}, "store": None}


def judged(**more):
    return [str(finding) for finding in running_findings({**GOOD, **more}, version="1", site="home")]


def test_a_good_service_is_one_note():
    assert judged() == ["note: service: it runs, as process 7, with 1 client"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"version": "0"}, "note: service: version 0 runs, and 1 is installed; `sudo systemctl restart appliance`"),
        ({"site": "cabin"}, 'wrong: service: it runs as site "cabin", and the file says "home"; restart it'),
        ({"agents": {"attic": "offline"}}, "note: agent attic: it is offline; `appliance forget attic`"),
        ({"mdns": {"trouble": "no network", "announced": []}}, "wrong: mDNS: the hub is not announced: no network; "),
        ({"mdns": {"trouble": "", "announced": ["a", "b"]}}, "note: mDNS: announced as a, b"),
        (
            {"reload": {"count": 1, "problems": ["passwords:3: no hash; remove it"]}},
            "wrong: reload: what it held before stays in force: passwords:3: no hash; remove it",
        ),
        (
            {"reload": {"count": 1, "problems": [], "waiting": "a.toml was changed"}},
            "note: service: a.toml was changed; `sudo systemctl restart appliance`",
        ),
        ({"store": {"trouble": "the disk is full; free some space"}}, "wrong: database: the disk is full; free some"),
        ({"store": {"trouble": "odd"}}, "wrong: database: odd; it is tried again by itself"),
        ({"store": {"reserve": "no room for the reserve; make room"}}, "wrong: disk: no room for the reserve; make"),
        ({"store": {"damages": ["the database was damaged"]}}, "wrong: database: the database was damaged; delete"),
        ({"store": {"cut": {"text": "34 s may be missing"}}}, "note: database: 34 s may be missing"),
        ({"store": {"left_out": 2}}, "wrong: database: 2 messages could not be written; the log says why"),
        ({"history": {"beyond_max_series": 1}}, "wrong: history: 1 value of topics beyond history.max_series"),
        ({"history": {"not_allowed_to_publish": 3}}, "wrong: history: 3 values of topics that their agent may not"),
        (
            {"history": {"of_another_agent": 1}},
            "wrong: history: 1 value said to be of an agent that their device is not",
        ),
    ],
)
def test_each_trouble_is_one_line(more, words):
    _, found = judged(**more)
    assert found.startswith(words)
