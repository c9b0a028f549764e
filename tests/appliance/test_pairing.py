"""Pairing as the service does it: which account comes of it, and whose it was."""

import asyncio
import re

import pytest
from msgspec.structs import replace
from pairing_hub import TOPICS, PairingHub, turned

from appliance.auth.passwords import hashed, is_right
from appliance.pake import typed
from appliance.settings import Accounts, Listener, Settings
from sensors.pairing import PairingError


@pytest.fixture
def hub(tmp_path):
    return PairingHub(tmp_path / "hub")


def test_an_agent_gets_an_account_of_its_own(hub):
    async def scenario():
        key, code = await hub.opened()
        assert hub.pairing.is_open()
        grant = await hub.visited(code)
        told = hub.pairing.told(key, 0)
        assert (told["state"], told["left_s"], told["tries_left"]) == ("paired", 0.0, 5)
        assert told["notes"][-1].startswith("attic may publish home/attic/temperature, home/attic/humidity and ")
        assert hub.pairing.told(key, 2)["notes"] == told["notes"][2:]
        assert not hub.pairing.is_open()
        return grant

    grant = asyncio.run(scenario())
    account = hub.accounts()["attic"]
    assert (account.role, account.site, account.agent, account.by) == ("device", "home", "attic", "pairing")
    assert account.publish == TOPICS
    assert account.subscribe == ()
    assert account.made.endswith("Z")
    assert is_right(account.password, grant.secret.encode())
    assert (grant.username, grant.port, grant.names) == ("attic", 18_883, ("localhost", "127.0.0.1", "::1"))
    assert grant.ca == hub.authority.ca.read_text()
    assert grant.secret not in hub.managed.read_text()
    assert hub.reloads == 1
    assert set(hub.accounts()) == {"admin", "attic"}


def test_a_known_agent_gets_a_new_secret_and_the_old_one_ends(hub):
    async def scenario():
        _, code = await hub.opened()
        first = await hub.visited(code)
        key, code = await hub.opened()
        second = await hub.visited(code, topics=TOPICS[:1])
        return first, second, hub.pairing.told(key, 0)["notes"]

    first, second, notes = asyncio.run(scenario())
    account = hub.accounts()["attic"]
    assert is_right(account.password, second.secret.encode())
    assert not is_right(account.password, first.secret.encode())
    assert account.publish == TOPICS[:1]
    assert "attic was known: its old secret is worth nothing from now on" in notes
    assert hub.reloads == 2


def test_an_account_of_the_inventory_is_the_same_agents(hub):
    read = ("home/kitchen/temperature", "home/hall/+/set")
    hub.add("attic-pi", agent="attic", publish=("home/attic/temperature",), subscribe=read, by="inventory")

    async def scenario():
        _, code = await hub.opened()
        return await hub.visited(code)

    assert asyncio.run(scenario()).username == "attic-pi"
    assert set(hub.accounts()) == {"admin", "attic-pi"}
    account = hub.accounts()["attic-pi"]
    assert (account.by, account.publish) == ("pairing", TOPICS)
    assert account.subscribe == read  # which no agent asks for: the inventory said so


REFUSED = {
    "topics of another device": ({}, "home/attic/humidity belongs to the device loft"),
    "another site": ({"site": "school"}, "this hub is that of site home"),
    "what is no reading": ({"topics": ("home/devices/loft/about",)}, "no topic of a reading"),
    "somebody between": ({"shown": b"another"}, "somebody stands between the two"),
    "a pattern": ({"topics": ("home/#",)}, "no topic of a reading"),
    "the administrator's name": ({"agent": "admin", "topics": ()}, "admin is the name of another account"),
    "a name of the password file": ({"agent": "ann", "topics": ()}, "ann is the name of another account"),
    "topics of a device by hand": ({"topics": ("home/cellar/x",)}, "home/cellar/x belongs to the device ann; .*rules"),
    "topics of its user name": ({"topics": ("home/ann/x",)}, "home/ann/x belongs to the device ann"),
    "an agent by hand": ({"agent": "cellar", "topics": ()}, "ann speaks for the agent cellar"),
}
RULES = """
[[rule]]
user = "ann"
role = "device"
agent = "cellar"
publish = ["home/cellar/x", "home/%u/x"]

[[rule]]
everybody = true
publish = ["home/attic/temperature"]
"""


@pytest.mark.parametrize("why", REFUSED)
def test_what_an_agent_cannot_have_is_refused_by_name(tmp_path, why):
    how, words = REFUSED[why]
    by_hand = tmp_path / "passwords"
    by_hand.write_text(f"ann:{hashed(b'x')}\n")
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    hub = PairingHub(tmp_path / "hub", password_file=str(by_hand), rules_file=str(rules))
    hub.add("loft", agent="loft", publish=("home/attic/humidity",))
    before = hub.managed.read_text()

    async def scenario():
        key, code = await hub.opened()
        with pytest.raises(PairingError, match=words):
            await hub.visited(code, **how)
        assert re.search(words, hub.pairing.told(key, 0)["notes"][-1])
        assert hub.pairing.is_open()

    asyncio.run(scenario())
    assert hub.managed.read_text() == before
    assert hub.reloads == 0


def test_wrong_codes_are_told_to_both(hub):
    async def scenario():
        key, code = await hub.opened()
        other = typed(code)[1:] + typed(code)[:1]
        why = await turned(hub.visited(other))
        assert (why.status, str(why)) == (403, "the code is wrong; 4 tries are left")
        told = hub.pairing.told(key, 0)
        assert told["tries_left"] == 4
        assert told["notes"] == ["attic came from 192.168.1.9", "attic from 192.168.1.9 had a wrong code"]
        await hub.visited(code)

    asyncio.run(scenario())


def test_the_log_keeps_who_came_and_no_secret(hub, caplog):
    async def scenario():
        key, code = await hub.opened()
        await turned(hub.visited("ACDEFGHJ"))
        grant = await hub.visited(code)
        hub.pairing.told(key, 0)
        return code, grant

    code, grant = asyncio.run(scenario())
    said = [record.message for record in caplog.records if record.name == "appliance.pairing"]
    assert said == [
        "pairing is open for 5 minutes",
        "pairing: attic came from 192.168.1.9",
        "pairing: attic from 192.168.1.9 had a wrong code",
        "pairing: attic came from 192.168.1.9",
        "pairing: attic from 192.168.1.9 had the code",
        "pairing: attic may publish home/attic/temperature, home/attic/humidity and home/devices/attic/#",
    ]
    for secret in (code, typed(code), grant.secret):
        assert secret not in caplog.text


def test_a_file_that_cannot_be_written_grants_nothing(hub):
    async def scenario():
        key, code = await hub.opened()
        hub.managed.write_text("{")
        why = await turned(hub.visited(code))
        assert why.status == 503
        assert "could not be made" in hub.pairing.told(key, 0)["notes"][-1]
        assert hub.pairing.is_open()

    asyncio.run(scenario())
    assert hub.reloads == 0


def test_a_fault_of_ours_ends_the_run_and_not_the_window(hub):
    async def broken():
        raise RuntimeError("a bug")

    async def scenario():
        key, code = await hub.opened()
        working, hub.pairing._reload = hub.pairing._reload, broken
        with pytest.raises(RuntimeError, match="a bug"):
            await hub.visited(code)
        assert "could not be made" in hub.pairing.told(key, 0)["notes"][-1]
        hub.pairing._reload = working
        await hub.visited(code)
        assert hub.pairing.told(key, 0)["state"] == "paired"

    asyncio.run(scenario())


def test_one_window_at_a_time(hub):
    async def scenario():
        key, _ = await hub.opened()
        assert (await turned(hub.pairing.open(5.0))).status == 409
        hub.pairing.close(key)
        assert hub.pairing.told(key, 0)["state"] == "closed"
        _, code = await hub.opened()
        await hub.visited(code)

    asyncio.run(scenario())


def test_who_has_an_account_when_it_is_closed_is_let_in_and_so_it_is_told(hub, monkeypatch):
    async def scenario():
        key, code = await hub.opened()
        said = []

        async def slow():
            """As with many retained messages: there is time to press Ctrl-C."""
            said.append(hub.pairing.close(key))

        monkeypatch.setattr(hub.pairing, "_reload", slow)
        grant = await hub.visited(code)
        return grant, said, hub.pairing.told(key, 0)

    grant, said, told = asyncio.run(scenario())
    assert is_right(hub.accounts()["attic"].password, grant.secret.encode())
    assert said == ["closed on the hub; attic was let in"]
    assert told["state"] == "paired"
    assert told["notes"][-1].startswith("attic may publish ")


def test_who_is_at_the_last_step_when_it_is_closed_is_not_let_in(hub, monkeypatch):
    async def scenario():
        key, code = await hub.opened()
        loop = asyncio.get_running_loop()

        def slow(secret):
            """As on a small computer: there is time to press Ctrl-C."""
            asyncio.run_coroutine_threadsafe(closed(), loop).result()
            return hashed(secret)

        async def closed():
            hub.pairing.close(key)

        monkeypatch.setattr("appliance.pairing.hashed", slow)
        with pytest.raises(PairingError, match="the hub refuses: pairing was closed on the hub"):
            await hub.visited(code)
        return hub.pairing.told(key, 0)

    told = asyncio.run(scenario())
    assert told["state"] == "closed"
    assert set(hub.accounts()) == {"admin"}
    assert hub.reloads == 0


def test_agents_are_sent_where_they_can_connect(hub):
    """Not to what serves this computer alone, nor to what asks for a certificate that they do not have."""
    files = {key: getattr(hub.settings.listener[0], key) for key in ("certificate", "key")}
    hub.pairing._settings = replace(
        hub.settings,
        listener=(
            Listener(port=2_001, **files),
            Listener(address="0.0.0.0", port=2_002, client_ca="x", require_client_certificate=True, **files),
            Listener(address="0.0.0.0", port=2_003),
            Listener(address="0.0.0.0", port=2_004, **files),
            Listener(serve="web", port=2_005, **files),
            Listener(serve="web", address="0.0.0.0", port=2_006, **files),
        ),
    )

    async def scenario():
        told = await hub.pairing.open(5.0)
        return told["where"], (await hub.visited(told["code"])).port

    assert asyncio.run(scenario()) == ("localhost:2006", 2_004)


def test_only_who_opened_it_closes_it(hub):
    async def scenario():
        await hub.opened()
        for call in (hub.pairing.close, lambda key: hub.pairing.told(key, 0)):
            for key in ("", "x" * 32, "\udcff"):
                with pytest.raises(Exception, match="there is no such window"):
                    call(key)
        assert hub.pairing.is_open()

    asyncio.run(scenario())


def test_nobody_comes_while_there_is_no_window(hub):
    async def scenario():
        assert not hub.pairing.is_open()
        for call in (hub.pairing.hello(b"{}", "x"), hub.pairing.prove(b"{}"), hub.pairing.ask(b"{}", bytes)):
            assert (await turned(call)).status == 404

    asyncio.run(scenario())


@pytest.mark.parametrize("minutes", [0.0, -1.0, 61.0, float("nan")])
def test_a_window_has_bounds(hub, minutes):
    assert asyncio.run(turned(hub.pairing.open(minutes))).status == 400


def test_a_window_ends_by_its_own_clock(tmp_path):
    now = [0.0]
    hub = PairingHub(tmp_path / "hub", clock=lambda: now[0])

    async def scenario():
        key, code = await hub.opened(0.1)
        now[0] = 6.0
        assert (await turned(hub.visited(code))).status == 404
        assert hub.pairing.told(key, 0)["notes"] == ["the time is over; nobody came who had the code"]

    asyncio.run(scenario())


def without(hub, **change):
    """The hub with other settings."""
    fields = {"accounts": hub.settings.accounts, "listener": hub.settings.listener, **change}
    hub.pairing._settings = Settings(**fields)
    return hub


def test_what_is_missing_is_said_before_a_code_is_shown(hub):
    web, mqtt = hub.settings.listener
    plain = Listener(serve="web", address="127.0.0.1")
    bad = Listener(serve="mqtt", address="127.0.0.1", certificate=str(hub.authority.folder / "none.pem"))
    for change, words in (
        ({"accounts": Accounts()}, "set accounts.managed_file first"),
        ({"listener": (plain, mqtt)}, 'add a [[listener]] with serve = "web"'),
        ({"listener": (web,)}, 'add a [[listener]] with serve = "mqtt"'),
        ({"listener": (web, bad)}, "none.pem cannot be read"),
    ):
        why = asyncio.run(turned(without(hub, **change).pairing.open(5.0)))
        assert words in str(why)
        assert why.status == 409


def test_a_code_is_shown_with_the_way_to_it(hub):
    told = asyncio.run(hub.pairing.open(5.0))
    assert told["where"] == "localhost"
    assert len(told["code"]) == 9
    assert told["state"] == "open"
    assert 299 <= told["left_s"] <= 300


@pytest.mark.parametrize(
    ("announced", "where"), [("hub-1a2b.local", "hub-1a2b.local"), ("", "hub.local"), ("x", "hub.local")]
)
def test_agents_are_sent_to_the_name_under_which_it_is_announced(hub, announced, where):
    """Another than the host's own where another computer has that; what the certificate lacks leads nowhere."""
    hub.authority.issue("server", "hub", "hub.local", "hub-1a2b.local")
    hub.announced = announced
    assert asyncio.run(hub.pairing.open(5.0))["where"] == where
