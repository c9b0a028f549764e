"""What the API says of the past."""

import asyncio
import time

import pytest
from keeper import Keeper, number, origin, retained
from webserver import page

from appliance.store.gaps import AGENT, AGENT_OFFLINE, BROKER_DOWN, HUB, GapNote, Gaps

AT = time.time() - 3600


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    keeper = Keeper(tmp_path_factory.mktemp("history") / "h.db", at=AT)
    keeper.write(*(retained(seq, "home/a/t", origin(seq)) for seq in (1, 2, 5)), apart_s=1.0)
    keeper.write(retained("ON", "home/b/door"), number("7", "home/never/t"))
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(
            [
                GapNote(HUB, "", BROKER_DOWN, keeper.now + 10, keeper.now + 20, "stopped"),
                GapNote(AGENT, "lone", AGENT_OFFLINE, keeper.now + 30, None),
            ],
            keeper.clock.tick,
        )
    keeper.stop()
    return keeper.path


def ask(tmp_path, database, *targets, furnish=lambda _: None):
    async def scenario():
        async with page(tmp_path, history=database) as served:
            furnish(served.local)
            return [await served.ask(target) for target in targets]

    return asyncio.run(scenario())


def test_the_last_gaps(tmp_path, database):
    every, last, before = ask(tmp_path, database, "/api/gaps", "/api/gaps?limit=1", "/api/gaps?since=2h&until=90m")
    assert [(one["cause"], one["detail"], one["until"] is None) for one in every.json] == [
        (AGENT_OFFLINE, "", True),
        (BROKER_DOWN, "stopped", False),
    ]
    assert [one["name"] for one in last.json] == ["lone"]
    assert before.json == []


def test_rows_and_charts_carry_their_gaps(tmp_path, database):
    rows, newest, chart, door = ask(
        tmp_path,
        database,
        "/api/history?topic=home/a/t&since=2h&raw=1",
        "/api/history?topic=home/a/t&since=2h&raw=1&limit=1",
        "/api/history?topic=home/a/t&since=2h",
        "/api/history?topic=home/b/door&since=2h",
    )
    for answer in (rows, newest, chart, door):
        assert [(one["cause"], one["since"] > AT) for one in answer.json["gaps"]] == [(BROKER_DOWN, True)]
    assert door.json["mean"] == [1, 1, None, 1, 1]


def test_a_proof(tmp_path, database):
    lost, waits, unreadable = (
        ask(tmp_path, database, "/api/prove?agent=house", furnish=furnish)[0].json
        for furnish in (
            lambda _: None,
            lambda local: local.publish("home/devices/house/health", b'{"waiting": 2, "more": 1}', retain=True),
            lambda local: local.publish("home/devices/house/health", b"[]", retain=True),
        )
    )
    assert lost["explained"] is unreadable["explained"] is False
    assert waits["explained"] is True
    (one,) = waits["runs"][0]["missing"]
    assert (one["first_seq"], one["last_seq"], one["cause"]) == (3, 4, "still with the agent")
    (later,) = ask(tmp_path, database, "/api/prove?agent=house&since=5m")
    assert later.json["runs"] == []


def test_a_moment(tmp_path, database):
    now, part, early = ask(
        tmp_path,
        database,
        "/api/moment",
        "/api/moment?filter=home/%2B/door&filter=none/%23",
        "/api/moment?at=2h&filter=%23",
    )
    assert [(one["topic"], one["payload"]) for one in now.json["values"]] == [("home/a/t", "5"), ("home/b/door", "ON")]
    assert [one["topic"] for one in part.json["values"]] == ["home/b/door"]
    assert now.json["lost"] == now.json["unrecorded"] == []
    assert early.json["values"] == []


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("/api/gaps?since=x", 400, "since: 'x' is not a time"),
        ("/api/gaps?limit=0", 400, "limit"),
        ("/api/prove", 400, "agent: the topic name is empty; name one"),
        ("/api/prove?agent=%2B", 400, "wildcard"),
        ("/api/prove?agent=none", 404, "'none' has sent nothing with a number"),
        ("/api/prove?agent=house&since=x", 400, "since"),
        ("/api/moment?at=x", 400, "at: 'x'"),
        ("/api/moment?at=9999-01-01", 400, "at is still to come"),
        ("/api/moment?filter=a%23", 400, "filter: a wildcard"),
    ],
)
def test_errors_say_in_one_line_what_to_do(tmp_path, database, target, status, says):
    (answer,) = ask(tmp_path, database, target)
    assert answer.status == status
    assert says in answer.json["error"]
