import asyncio
import threading
import time

import pytest
from sockets import until
from webserver import page, record

from appliance.features.web import api, asked
from appliance.features.web.api import Readers
from appliance.store.database import StoreError
from appliance.store.gap_reader import GapReader
from appliance.store.gaps import BROKER_DOWN, HUB, GapNote
from appliance.store.tier_reader import TierReader

NOW = time.time()
READINGS = [
    *(("home/a/temperature", NOW - 1000 + second, second / 100) for second in range(0, 1000, 10)),
    ("home/a/door", NOW - 7200, True),
    ("home/a/door", NOW - 600, False),
]


@pytest.fixture(autouse=True)
def _a_slow_disk_is_waited_for(monkeypatch):
    monkeypatch.setattr(api, "GAPS_WAIT_S", 30.0)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return record(tmp_path_factory.mktemp("history") / "h.db", READINGS)


def one(tmp_path, target, **options):
    async def scenario():
        async with page(tmp_path, **options) as served:
            return await served.ask(target)

    return asyncio.run(scenario())


def test_the_status_sums_up_gaps_and_asks_for_them_every_few_seconds(tmp_path, monkeypatch):
    path = record(tmp_path / "h.db", READINGS, [(GapNote(HUB, "", BROKER_DOWN, None, None), NOW - 60, None)])
    asked = []
    news = GapReader.news
    monkeypatch.setattr(GapReader, "news", lambda reader, at: asked.append(at) or news(reader, at))

    async def scenario():
        async with page(tmp_path, history=path, status=lambda: {"clients": 3}) as served:
            for _ in range(3):
                gaps = (await served.ask("/api/status")).json["gaps"]
                assert (gaps["day"], gaps["lasting"], gaps["newest"]["cause"]) == (1, 1, BROKER_DOWN)
            assert len(asked) == 1
        async with page(tmp_path, status=lambda: {"clients": 3}) as served:
            assert (await served.ask("/api/status")).json == {"clients": 3}  # nothing is recorded

    asyncio.run(scenario())


def test_a_status_waits_only_so_long_for_the_disk(tmp_path, database, monkeypatch):
    monkeypatch.setattr(api, "GAPS_WAIT_S", 0.01)
    held = threading.Event()
    monkeypatch.setattr(GapReader, "news", lambda _reader, _at: held.wait(5))

    async def scenario():
        async with page(tmp_path, history=database, status=lambda: {"clients": 3}) as served:
            assert (await served.ask("/api/status")).json == {"clients": 3}
            held.set()

    asyncio.run(scenario())


def test_rooms(tmp_path, database):
    async def scenario():
        async with page(tmp_path, history=database) as served:
            served.local.publish("home/a/temperature", b"21.5", retain=True)
            answer = await served.ask("/api/rooms")
            assert answer.status == 200
            (value,) = answer.json["values"]
            assert (value["room"], value["value"]) == ("a", 21.5)
            assert value["at"] == pytest.approx(NOW - 10, abs=0.01)

    asyncio.run(scenario())


def test_status_topics_and_health(tmp_path, database):
    async def scenario():
        async with page(tmp_path, history=database, status=lambda: {"clients": 3}) as served:
            told = {"day": 0, "lasting": 0, "newest": None, "clock_unset": False}
            assert (await served.ask("/api/status")).json == {"clients": 3, "gaps": told}
            topics = (await served.ask("/api/topics")).json
            assert [(series["topic"], series["kind"]) for series in topics] == [
                ("home/a/door", "binary"),
                ("home/a/temperature", "number"),
            ]
            assert (await served.ask("/healthz")).status == 200
            assert (await served.ask("/readyz")).json == {"ready": True}

    asyncio.run(scenario())


def test_a_chart_has_no_more_points_than_asked_for(tmp_path, database):
    columns = one(tmp_path, "/api/history?topic=home/a/temperature&since=1h&points=20", history=database).json
    assert 0 < len(columns["at"]) <= 20
    assert len(columns["at"]) == len(columns["min"]) == len(columns["mean"]) == len(columns["max"])
    assert columns["kind"] == "number"


def test_a_door_is_drawn_from_what_held_before(tmp_path, database):
    columns = one(tmp_path, "/api/history?topic=home/a/door&since=1h", history=database).json
    assert columns["mean"] == [1, 0, 0]
    assert columns["at"][0] == columns["since"]
    assert columns["at"][-1] == columns["until"]


def test_a_door_that_never_rests_comes_in_buckets(tmp_path, database, monkeypatch):
    monkeypatch.setattr(api, "MAX_STEPS", 0)
    columns = one(tmp_path, "/api/history?topic=home/a/door&since=1h&points=10", history=database).json
    assert columns["mean"] == [0]


def test_rows(tmp_path, database):
    answer = one(tmp_path, "/api/history?topic=home/a/temperature&since=1h&raw=1&limit=3", history=database).json
    assert [row["value"] for row in answer["rows"]] == [9.7, 9.8, 9.9]
    assert answer["rows"][0]["quality"] == "ok"


def test_what_a_period_comes_to(tmp_path, database):
    answer = one(tmp_path, "/api/history?topic=home/a/temperature&since=1h&every=1d", history=database).json
    assert (answer["every"], answer["kind"]) == ("1d", "number")
    assert sum(row["count"] for row in answer["rows"]) == 100
    assert max(row["max"] for row in answer["rows"]) == 9.9
    limited = one(tmp_path, "/api/history?topic=home/a/temperature&since=1h&every=1m&limit=2", history=database).json
    assert len(limited["rows"]) == 2


TIMES = ["since=2026-11-22T20:00:00%2B01:00", "since=2026-11-22T20:00:00+01:00", "since=2026-11-22%2020:00", "since=7d"]


@pytest.mark.parametrize("query", TIMES)
def test_ways_to_write_a_time(tmp_path, database, query):
    answer = one(tmp_path, f"/api/history?topic=home/a/door&until=2999-01-01T00:00:00Z&{query}", history=database)
    assert answer.status == 200


REFUSED = [
    ("/api/history", 400, "topic is missing"),
    ("/api/history?topic=none", 404, "has no history"),
    ("/api/history?topic=home/a/door&since=yesterday", 400, "since: 'yesterday' is not a time"),
    ("/api/history?topic=home/a/door&until=never", 400, "until"),
    ("/api/history?topic=home/a/door&since=now", 400, "swap"),
    ("/api/history?topic=home/a/door&points=0", 400, "points"),
    ("/api/history?topic=home/a/door&points=99999999999", 400, "points"),
    ("/api/history?topic=home/a/door&points=x", 400, "points"),
    ("/api/history?topic=home/a/door&raw=1&limit=-1", 400, "limit"),
    ("/api/history?topic=home/a/door&every=5m", 400, "every is '5m'; write 1m, 1h, 1d"),
    ("/api/history?topic=home/a/door&every=1h&limit=0", 400, "limit"),
    ("/api/history?topic=none&every=1h", 404, "has no history"),
    ("/api/none", 404, "nothing here"),
    ("/api/publish", 405, "use POST"),
]


@pytest.mark.parametrize(("target", "status", "says"), REFUSED)
def test_errors_say_in_one_line_what_to_do(tmp_path, database, target, status, says):
    answer = one(tmp_path, target, history=database)
    assert answer.status == status
    assert says in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_without_history(tmp_path):
    answer = one(tmp_path, "/api/topics")
    assert answer.status == 404
    assert "history.enabled" in answer.json["error"]


def test_a_broken_database_is_explained(tmp_path):
    (tmp_path / "h.db").write_bytes(b"not a database" * 100)
    for target in ("/api/topics", "/readyz"):
        answer = one(tmp_path, target, history=tmp_path / "h.db")
        assert answer.status == 503
        assert str(tmp_path / "h.db") in answer.json["error"]
    assert one(tmp_path, "/api/rooms", history=tmp_path / "h.db").status == 200


def test_our_own_fault_gives_no_traceback(tmp_path, caplog):
    def status():
        raise ZeroDivisionError("a secret")

    answer = one(tmp_path, "/api/status", status=status)
    assert answer.status == 500
    assert "secret" not in answer.json["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "a secret" in caplog.text


def test_publish(tmp_path):
    async def scenario():
        async with page(tmp_path) as served:
            got = []
            stop = served.local.subscribe("home/#", got.append)
            answer = await served.post({"topic": "home/hall/relay/set", "payload": "ON"})
            assert answer.status == 200
            assert (await served.post({"topic": "home/a/b", "payload": "ü", "retain": True, "qos": 0})).status == 200
            assert [(m.topic, m.payload, m.qos) for m in got] == [
                ("home/hall/relay/set", b"ON", 1),
                ("home/a/b", "ü".encode(), 0),
            ]
            assert [m.topic for m in served.local.retained("home/#")] == ["home/a/b"]
            stop()

    asyncio.run(scenario())


NOT_PUBLISHED = [
    ({"topic": "home/#", "payload": "x"}, {}, 400, "wildcard"),
    ({"topic": "", "payload": "x"}, {}, 400, "topic"),
    ({"topic": "$SYS/x", "payload": "x"}, {}, 400, "belong to the broker"),
    ({"topic": "a"}, {}, 400, "payload"),
    ({"topic": "a", "payload": "x", "qos": 3}, {}, 400, "qos"),
    ({"topic": "a", "payload": "x", "retained": True}, {}, 400, "retained"),
    ({"topic": "a", "payload": "x" * 65_537}, {}, 400, "payload"),
    ({"topic": "a", "payload": "x" * 200_000}, {}, 413, "send less"),
    ({"topic": "a", "payload": "x"}, {"Content-Type": "text/plain"}, 415, "application/json"),
    ({"topic": "a", "payload": "x"}, {"Origin": "http://evil.example"}, 403, "another site"),
    ({"topic": "a", "payload": "x"}, {"Origin": "null"}, 403, "another site"),
    ({"topic": "a", "payload": "x"}, {"Host": "evil.example"}, 421, "not this computer"),
]


@pytest.mark.parametrize(("body", "headers", "status", "says"), NOT_PUBLISHED)
def test_what_is_not_published(tmp_path, body, headers, status, says):
    async def scenario():
        async with page(tmp_path) as served:
            got = []
            stop = served.local.subscribe("#", got.append)
            answer = await served.post(body, **headers)
            assert answer.status == status
            assert says in answer.json["error"]
            assert got == []
            stop()

    asyncio.run(scenario())


def test_a_body_that_trickles_or_ends_early(tmp_path, monkeypatch):
    monkeypatch.setattr(asked, "BODY_TIMEOUT_S", 0.01)

    async def scenario():
        async with page(tmp_path) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(
                f"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            assert b" 408 " in await reader.readline()
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_every_answer_carries_the_security_headers(tmp_path):
    for target in ("/", "/none", "/api/status", "/healthz"):
        headers = one(tmp_path, target).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_questions_to_the_database_are_bounded_and_end_with_the_service(database, monkeypatch):
    monkeypatch.setattr(api, "MAX_WAITING", 1)

    async def scenario():
        readers = Readers(TierReader(database))
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(history):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return history.rows("none", 0, 0, 1)

        asked = asyncio.create_task(readers.ask(slow))
        await until(lambda: readers._asked)
        with pytest.raises(api.HTTPException) as refused:
            await readers.ask(slow)
        assert refused.value.status_code == 503
        readers.refuse()
        with pytest.raises(api.HTTPException, match="stopping"):
            await asked
        with pytest.raises(api.HTTPException, match="stopping"):
            await readers.ask(slow)
        release.set()
        await readers.close()
        assert not any(thread.is_alive() for thread in readers._threads._threads)

    asyncio.run(scenario())


def test_trouble_of_the_store_reaches_the_asker(tmp_path):
    async def scenario():
        readers = Readers(TierReader(tmp_path / "none.db"))
        with pytest.raises(StoreError):
            await readers.ask(lambda history: history.topics())
        await readers.close()
        none = Readers(None)
        assert await none.times() == {}
        await none.close()

    asyncio.run(scenario())
