"""Who has to log in, what is remembered, and what wrong passwords cost."""

import asyncio
import contextlib
import socket
from base64 import b64encode

import pytest
from sockets import until
from webserver import is_closed, page
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from appliance.control import ControlClient
from appliance.features.web.login import Login, Verdict, Visitor, credentials
from appliance.features.web.server import Door

GOOD = ("ada", "pass:wörd")
WITH_RULES = ("kitchen", "right")
READER = ("tablet", "right")
SWITCHER = ("hass", "right")
BUSY = ("crowd", "right")
PEOPLE = {
    GOOD: Visitor("ada", lambda _: True, may_forget=lambda: True),
    READER: Visitor("tablet", lambda _: False, may_forget=lambda: False),
    SWITCHER: Visitor("hass", lambda topic: topic.endswith("/set"), may_forget=lambda: False),
    WITH_RULES: Verdict.HAS_RULES,
    BUSY: Verdict.BUSY,
}


def basic(username, password):
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


class Accounts:
    """Some users, and what was asked of them."""

    def __init__(self):
        self.asked = []

    async def verify(self, username, password, peer):
        self.asked.append((username, password, peer.rpartition(":")[0]))
        return PEOPLE.get((username, password), Verdict.WRONG)


def ask(tmp_path, scenario):
    """Run a scenario with a page whose door wants a password; gives the accounts."""
    accounts = Accounts()

    async def whole():
        async with page(tmp_path, control=True, doors=[Door("127.0.0.1", 0, verify=accounts.verify)]) as served:
            own, served.port = served.port, served.server.ports[0]
            await scenario(served, own)

    asyncio.run(whole())
    return accounts


def test_nothing_is_there_without_a_password(tmp_path):
    async def scenario(served, _):
        for target in ("/", "/api/rooms", "/api/status", "/healthz", "/nothing"):
            answer = await served.ask(target)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="appliance", charset="UTF-8"'
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.json == {"error": "log in with a user name and password of the accounts"}
        assert (await served.post({"topic": "a", "payload": "1"})).status == 401
        with pytest.raises(InvalidStatus) as caught:
            await served.watch()
        assert caught.value.response.status_code == 401

    assert ask(tmp_path, scenario).asked == []


def test_with_it_everything_is_there(tmp_path):
    async def scenario(served, _):
        headers = {"Authorization": basic(*GOOD)}
        for target in ("/", "/api/rooms", "/healthz"):
            assert (await served.ask(target, headers=headers)).status == 200
        assert (await served.post({"topic": "a", "payload": "1"}, **headers)).status == 200
        async with served.watch(additional_headers=headers) as live:
            assert await live.recv()

    assert ask(tmp_path, scenario).asked == [(*GOOD, "127.0.0.1")] * 5  # each time: a change counts at once


def test_wrong_ones_are_checked_each_time(tmp_path):
    async def scenario(served, _):
        for _ in range(3):
            answer = await served.ask("/", headers={"Authorization": basic("ada", "wrong")})
            assert (answer.status, answer.json["error"]) == (401, "user name or password is wrong")

    assert len(ask(tmp_path, scenario).asked) == 3


def test_a_user_with_rules_is_told_why_the_page_stays_shut_and_asked_who_else_there_is(tmp_path):
    async def scenario(served, _):
        answer = await served.ask("/", headers={"Authorization": basic(*WITH_RULES)})
        assert (answer.status, answer.json["error"]) == (
            401,
            "the page shows everything, and 'kitchen' may not read everything: log in as somebody who may",
        )
        assert answer.headers["www-authenticate"].startswith("Basic ")  # or the browser would keep the name

    ask(tmp_path, scenario)


ACTIONS = [
    (GOOD, {"topic": "home/hall/x", "payload": "1"}, 200, None),
    (SWITCHER, {"topic": "home/hall/lamp/set", "payload": "ON"}, 200, None),
    (
        SWITCHER,
        {"topic": "home/hall/lamp", "payload": "ON"},
        403,
        "'hass' may not publish to home/hall/lamp: log in as somebody who may, in a private window",
    ),
    (
        READER,
        {"topic": "home/hall/lamp/set", "payload": "ON"},
        403,
        "'tablet' may not publish to home/hall/lamp/set: log in as somebody who may, in a private window",
    ),
]


@pytest.mark.parametrize(("who", "body", "status", "error"), ACTIONS)
def test_who_sees_everything_acts_as_far_as_it_may_publish(tmp_path, who, body, status, error):
    async def scenario(served, _):
        headers = {"Authorization": basic(*who)}
        assert (await served.ask("/api/rooms", headers=headers)).status == 200
        async with served.watch(additional_headers=headers) as live:
            assert await live.recv()
        answer = await served.post(body, **headers)
        assert (answer.status, answer.json.get("error")) == (status, error)
        assert [message.topic for message in served.local.retained("#")] == []

    ask(tmp_path, scenario)


@pytest.mark.parametrize(("who", "status"), [(GOOD, 200), (SWITCHER, 403), (READER, 403)])
def test_who_may_publish_everything_may_forget(tmp_path, who, status):
    async def scenario(served, own):
        served.local.publish("home/devices/attic/availability", b"offline", retain=True)
        headers = {"Content-Type": "application/json", "Authorization": basic(*who)}
        answer = await served.ask("/api/forget", "POST", headers, b'{"agent": "attic"}')
        assert answer.status == status
        assert len(served.local.retained("home/devices/attic/availability")) == (status == 403)
        if status == 403:
            assert answer.json["error"] == f"'{who[0]}' may not forget devices: log in as an admin, in a private window"
            del headers["Authorization"]
            served.port = own  # on this computer nobody logs in
            assert (await served.ask("/api/forget", "POST", headers, b'{"agent": "attic"}')).status == 200

    ask(tmp_path, scenario)


def test_a_crowd_from_one_address_is_told_so(tmp_path):
    async def scenario(served, _):
        answer = await served.ask("/", headers={"Authorization": basic(*BUSY)})
        assert (answer.status, answer.json["error"]) == (
            503,
            "too many log in from there at once; try again in a moment",
        )

    ask(tmp_path, scenario)


def test_one_connection_is_nobody_s_for_ever(tmp_path):
    async def scenario(served, _):
        async with served.link() as (reader, writer):
            for who, status in ((GOOD, 200), (READER, 403), (GOOD, 200)):
                body = b'{"topic": "a", "payload": "1"}'
                head = (
                    f"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
                    f"Authorization: {basic(*who)}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert int(answer.split()[1]) == status
                size = next(int(line.split(b":")[1]) for line in answer.splitlines() if b"content-length" in line)
                await reader.readexactly(size)

    ask(tmp_path, scenario)


def test_this_computer_and_the_control_socket_need_none(tmp_path):
    async def scenario(served, own):
        served.port = own
        assert (await served.ask("/")).status == 200
        assert await asyncio.to_thread(ControlClient(tmp_path / "control.sock").get, "/api/status")

    assert ask(tmp_path, scenario).asked == []


def test_mqtt_says_who_it_is_in_its_connect(tmp_path):
    async def scenario(served, _):
        async with connect(f"ws://127.0.0.1:{served.port}/mqtt", subprotocols=["mqtt"], proxy=None) as client:
            assert client.subprotocol == "mqtt"

    assert ask(tmp_path, scenario).asked == []


HEADERS = [
    (b"Basic YWRhOnB3", ("ada", "pw")),
    (b"basic  YWRhOnB3 ", ("ada", "pw")),
    (b"Basic YWRhOg==", ("ada", "")),
    (b"Basic YWRhOmE6Yg==", ("ada", "a:b")),
    (b"Basic", None),
    (b"", None),
    (b"Bearer YWRhOnB3", None),
    (b"Basic YWRh", None),
    (b"Basic OnB3", None),
    (b"Basic !!!!", None),
    (b"Basic /////w==", None),
    (b"Basic YQA6Yg==", None),
    (b"Basic " + b64encode(b"a:" + b"b" * 3_000), None),
]


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_credentials(header, expected):
    assert credentials(header) == expected


def request(*values):
    headers = [(b"authorization", value.encode()) for value in values]
    return {"type": "http", "headers": headers, "client": ("::1", 9)}


class Asked:
    """A login without a server."""

    def __init__(self, accounts):
        self.passed = 0
        self.login = Login(self.app, accounts.verify)

    async def app(self, *_):
        self.passed += 1

    async def status(self, *values):
        said = []

        async def send(message):
            said.append(message)

        before = self.passed
        await self.login(request(*values), None, send)
        return 200 if self.passed > before else said[0]["status"]


def test_two_headers_are_none():
    assert asyncio.run(Asked(Accounts()).status(basic(*GOOD), basic(*GOOD))) == 401


# --- accounts that change ---


def test_what_is_open_is_cut_for_whom_it_concerns_alone(tmp_path):
    async def scenario(served, _):
        good, reader = ({"Authorization": basic(*one)} for one in (GOOD, READER))
        async with (
            served.watch(additional_headers=good) as ada,
            served.watch(additional_headers=reader) as one,
            served.watch(additional_headers=reader) as other,
        ):
            for live in (ada, one, other):
                await live.recv()
            served.server.forget({"tablet", "nobody"})
            for live in (one, other):
                with pytest.raises(ConnectionClosed):
                    await live.recv()
            served.local.publish("home/hall/temperature", b"20.5")
            assert "20.5" in await ada.recv()
            (login,) = served.server._logins
            await until(lambda: list(login._open) == ["ada"])
        await until(lambda: not login._open)

    ask(tmp_path, scenario)


def test_an_answer_is_cut_that_nobody_has_read_yet(tmp_path):
    async def scenario(served, _):
        for number in range(1_000):
            served.local.publish(f"home/hall/{number}/text", b"x" * 200 + b"%d" % number, retain=True)
        whole = len((await served.ask("/api/rooms", headers={"Authorization": basic(*GOOD)})).body)
        (login,) = served.server._logins
        await until(lambda: not login._open)
        async with served.link(limit=1_000) as (reader, writer), served.link(limit=1_000) as (other, its):
            connections = served.server._servers[1].server_state.connections
            await until(lambda: len(connections) == 2)
            for link in (writer, its, *(one.transport for one in connections)):  # which hold little of it
                link.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                link.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            for link, who in ((writer, READER), (its, GOOD)):
                head = f"GET /api/rooms HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: {basic(*who)}\r\n"
                link.write(f"{head}\r\n".encode())
            await until(lambda: sorted(login._open) == ["ada", "tablet"])
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"  # all of it is said, and most not sent
            served.server.forget({"tablet"})
            got = 0
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(1_000_000):
                    got += len(piece)
            assert got < whole // 2
            assert await other.readline() == b"HTTP/1.1 200 OK\r\n"
            head = await other.readuntil(b"\r\n\r\n")
            size = next(int(line.split(b":")[1]) for line in head.splitlines() if b"content-length" in line)
            assert len(await other.readexactly(size)) == size  # nobody else's is cut
            assert list(login._open) == ["ada"]
        await until(lambda: not login._open)

    ask(tmp_path, scenario)


def test_a_connection_is_known_until_it_ends_however_many_answers_it_had(tmp_path):
    async def scenario(served, _):
        (login,) = served.server._logins
        async with served.link() as (reader, writer):
            for _ in range(3):
                head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: {basic(*READER)}\r\n"
                writer.write(f"{head}\r\n".encode())
                await reader.readuntil(b"}")
                assert [len(ways) for ways in login._open.values()] == [1]
            served.server.forget({"tablet"})
            assert await is_closed(reader)
        await until(lambda: not login._open)

    ask(tmp_path, scenario)


def test_one_who_is_turned_away_is_not_remembered(tmp_path):
    async def scenario(served, _):
        with pytest.raises(InvalidStatus):
            await served.watch(additional_headers={"Authorization": basic(*WITH_RULES)})
        (login,) = served.server._logins
        assert not login._open
        served.server.forget({"kitchen"})

    ask(tmp_path, scenario)
