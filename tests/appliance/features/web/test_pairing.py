"""Pairing over HTTP: open to agents without an account while a window is open, to browsers never."""

import asyncio
import json

import pytest
from pairing_hub import TOPICS, PairingHub, ask, in_thread
from webserver import page

from appliance import pake
from appliance.control import ControlClient, ControlRefused
from appliance.features.web import asked
from appliance.pake import Request, typed
from sensors.pairing import Visit

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def hub(tmp_path):
    return PairingHub(tmp_path / "hub")


def new_visit(code, certificate=bytes(32)):
    request = Request(topics=TOPICS, certificate=certificate)
    return Visit(typed(code), site="home", agent="attic", request=request)


def hello():
    return new_visit("ACDE-FGHJ").hello()


def said(answer):
    return answer[0], json.loads(answer[2])["error"]


def test_an_agent_comes_without_an_account_by_whatever_name(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            _, code = await hub.opened()
            visit = new_visit(code, hub.shown())

            def run():
                port, headers = served.door, {**JSON, "Host": "any.name.at.all"}
                _, told, welcome = ask(port, pake.HELLO, visit.hello(), headers=headers)
                assert told["x-content-type-options"] == "nosniff"
                assert told["cache-control"] == "no-store"
                _, _, proven = ask(port, pake.PROVE, visit.proof(welcome), headers=headers)
                return visit.grant(ask(port, pake.ASK, visit.ask(proven), headers=headers)[2])

            return await in_thread(run)

    assert asyncio.run(scenario()).username == "attic"
    assert hub.reloads == 1


def test_nothing_is_there_while_no_window_is_open(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            for path in (pake.HELLO, pake.PROVE, pake.ASK, "/pair/", "/pair/other"):
                answer = await in_thread(ask, served.door, path, hello())
                assert said(answer) == (404, "pairing is not open; run `appliance pair` on the hub")
                assert answer[1]["connection"] == "close"
            key, _ = await hub.opened()
            assert (await in_thread(ask, served.door, pake.HELLO, hello()))[0] == 200
            hub.pairing.close(key)
            assert (await in_thread(ask, served.door, pake.PROVE, b"{}"))[0] == 404

    asyncio.run(scenario())


ELSEWHERE = [
    (pake.HELLO, "GET", {}),
    (pake.HELLO, "PUT", {}),
    (pake.HELLO, "OPTIONS", {}),
    ("/pair/", "POST", {}),
    ("/pair/hello/", "POST", {}),
    (pake.HELLO, "POST", {"Origin": "https://127.0.0.1"}),
    (pake.HELLO, "POST", {"Origin": "null"}),
    (pake.HELLO, "POST", {"Sec-Fetch-Site": "same-origin"}),
    (pake.HELLO, "POST", {"Cookie": "a=b"}),
]


@pytest.mark.parametrize(("path", "method", "headers"), ELSEWHERE)
def test_only_what_an_agent_sends_is_heard(hub, tmp_path, path, method, headers):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            key, _ = await hub.opened()
            answer = await in_thread(ask, served.door, path, hello(), method, headers)
            assert answer[0] == 404
            assert hub.pairing.told(key, 0)["notes"] == []

    asyncio.run(scenario())


def test_a_window_opens_nothing_else(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            await hub.opened()
            for path in ("/", "/api/status", "/pair", "/pairs/hello", "/api/pairing/told", "//pair/hello"):
                assert (await in_thread(ask, served.door, path, b"", "GET"))[0] == 401, path
            assert (await in_thread(ask, served.door, "/", b"", "GET", {"Host": "other.name"}))[0] == 421

    asyncio.run(scenario())


def test_messages_have_a_bound_in_bytes_and_time(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(asked, "BODY_TIMEOUT_S", 0.2)

    async def scenario():
        async with hub.serving(tmp_path) as served:
            key, _ = await hub.opened()
            answer = await in_thread(ask, served.door, pake.HELLO, b"x" * (pake.MAX_BODY_BYTES + 1))
            assert said(answer) == (413, f"the body is longer than {pake.MAX_BODY_BYTES} bytes; send less")
            answer = await in_thread(ask, served.door, pake.ASK, b"x" * (pake.MAX_ASK_BYTES + 1))
            assert answer[0] == 413
            answer = await in_thread(ask, served.door, pake.HELLO, b"{", "POST", {"Content-Length": "9"})
            assert answer[0] == 408
            assert hub.pairing.told(key, 0)["notes"] == []

    asyncio.run(scenario())


def test_garbage_is_answered_in_one_line(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            await hub.opened()
            for body in (b"", b"{}", b"\xff\xfe", b"[" * 2_000):
                status, words = said(await in_thread(ask, served.door, pake.HELLO, body))
                assert status == 400
                assert "no message of pairing" in words

    asyncio.run(scenario())


def test_the_person_at_the_hub_asks_over_the_control_socket_alone(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            control = ControlClient(tmp_path / "control.sock")
            for path, body in (("open", {"minutes": 5}), ("told", {"key": "x"}), ("close", {"key": "x"})):
                refused = await served.ask(f"/api/pairing/{path}", "POST", JSON, json.dumps(body).encode())
                assert (refused.status, "on the hub alone" in refused.json["error"]) == (403, True)
            opened = await in_thread(control.post, "/api/pairing/open", {"minutes": 5})
            key = {"key": opened["key"]}
            with pytest.raises(ControlRefused, match="open already"):
                await in_thread(control.post, "/api/pairing/open", {})
            await hub.visited(opened["code"])
            told = await in_thread(control.post, "/api/pairing/told", key)
            assert told["state"] == "paired"
            assert await in_thread(control.post, "/api/pairing/close", key) == {"closed": told["notes"][-1]}
            with pytest.raises(ControlRefused, match="no such window"):
                await in_thread(control.post, "/api/pairing/told", {"key": "x"})
            with pytest.raises(ControlRefused, match="minutes"):
                await in_thread(control.post, "/api/pairing/open", {"minutes": "x"})

    asyncio.run(scenario())


def test_a_service_without_such_accounts_says_what_to_set(tmp_path):
    async def scenario():
        async with page(tmp_path, control=True):
            control = ControlClient(tmp_path / "control.sock")
            with pytest.raises(ControlRefused, match=r"set accounts\.managed_file first"):
                await in_thread(control.post, "/api/pairing/open", {})

    asyncio.run(scenario())


def test_a_page_without_encryption_pairs_nobody(hub, tmp_path):
    async def scenario():
        async with page(tmp_path, pairing=hub.pairing) as served:
            await hub.opened()
            answer = await served.ask(pake.HELLO, "POST", JSON, hello())
            assert answer.status == 404

    asyncio.run(scenario())
