"""Who has to log in, what is remembered, and what wrong passwords cost."""

import asyncio
from base64 import b64encode

import pytest
from webserver import page
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from appliance.control import ControlClient
from appliance.features.web import login
from appliance.features.web.login import Login, Verdict, credentials
from appliance.features.web.server import Door

GOOD = ("ada", "pass:wörd")
WITH_RULES = ("kitchen", "right")


def basic(username, password):
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


class Accounts:
    """One user without rules and one with them, and a count of the questions."""

    def __init__(self, wait=None):
        self.asked = []
        self.wait = wait

    async def verify(self, username, password, peer):
        self.asked.append((username, password, peer.rpartition(":")[0]))
        if self.wait is not None:
            await self.wait.wait()
        return {GOOD: Verdict.WELCOME, WITH_RULES: Verdict.HAS_RULES}.get((username, password), Verdict.WRONG)


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


def test_with_it_everything_is_there_and_it_is_checked_once(tmp_path):
    async def scenario(served, _):
        headers = {"Authorization": basic(*GOOD)}
        for target in ("/", "/api/rooms", "/healthz"):
            assert (await served.ask(target, headers=headers)).status == 200
        assert (await served.post({"topic": "a", "payload": "1"}, **headers)).status == 200
        async with served.watch(additional_headers=headers) as live:
            assert await live.recv()

    assert ask(tmp_path, scenario).asked == [(*GOOD, "127.0.0.1")]


def test_wrong_ones_are_checked_each_time(tmp_path):
    async def scenario(served, _):
        for _ in range(3):
            answer = await served.ask("/", headers={"Authorization": basic("ada", "wrong")})
            assert (answer.status, answer.json["error"]) == (401, "user name or password is wrong")

    assert len(ask(tmp_path, scenario).asked) == 3


def test_a_user_with_rules_is_told_why_the_page_stays_shut(tmp_path):
    async def scenario(served, _):
        answer = await served.ask("/", headers={"Authorization": basic(*WITH_RULES)})
        assert (answer.status, answer.json["error"]) == (
            403,
            "the page shows everything, and 'kitchen' may not read everything: log in as a user without rules",
        )
        assert "www-authenticate" not in answer.headers

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
    """A login without a server, and its clock."""

    def __init__(self, accounts):
        self.now = 0.0
        self.passed = 0
        self.login = Login(self.app, accounts.verify, clock=lambda: self.now)

    async def app(self, *_):
        self.passed += 1

    async def status(self, *values):
        said = []

        async def send(message):
            said.append(message)

        before = self.passed
        await self.login(request(*values), None, send)
        return 200 if self.passed > before else said[0]["status"]


def test_what_was_good_is_checked_again_after_some_minutes():
    async def scenario():
        accounts = Accounts()
        asked = Asked(accounts)
        for now in (0.0, 1.0, login.REMEMBERED_S - 1, login.REMEMBERED_S + 1):
            asked.now = now
            assert await asked.status(basic(*GOOD)) == 200
        assert accounts.asked == [(*GOOD, "[::1]")] * 2
        asked.login.forget()
        assert await asked.status(basic(*GOOD)) == 200
        assert len(accounts.asked) == 3

    asyncio.run(scenario())


def test_few_are_remembered():
    async def scenario():
        class Anybody(Accounts):
            async def verify(self, *_):
                return Verdict.WELCOME

        asked = Asked(Anybody())
        for number in range(200):
            assert await asked.status(basic(f"u{number}", "x")) == 200
        assert len(asked.login._good_until) == login.MAX_REMEMBERED
        assert not any(b"u199" in digest for digest in asked.login._good_until)

    asyncio.run(scenario())


def test_two_headers_are_none():
    assert asyncio.run(Asked(Accounts()).status(basic(*GOOD), basic(*GOOD))) == 401


def test_a_crowd_is_turned_away_at_once():
    async def scenario():
        accounts = Accounts(asyncio.Event())
        asked = Asked(accounts)
        waiting = [asyncio.create_task(asked.status(basic("ada", f"{number}"))) for number in range(login.MAX_CHECKS)]
        await asyncio.sleep(0)
        assert await asked.status(basic("ada", "more")) == 503
        accounts.wait.set()
        assert await asyncio.gather(*waiting) == [401] * login.MAX_CHECKS

    asyncio.run(scenario())
