"""What is announced, and when; by the real service in a network of its own, and with a network that fails at will."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.features import mdns
from appliance.features.mdns import Announcer, Offer, Standing, instance_names, standing
from appliance.hostname import local_name, mark, own_name, short_name
from appliance.interfaces import Computer, Interface
from appliance.settings import Listener

ROOT = Path(__file__).parents[3]
ETH0 = Interface("eth0", ("192.168.1.5", "fd00::5"))
WLAN0 = Interface("wlan0", ("192.168.2.5",))
LO = Interface("lo", ("127.0.0.1", "::1"))
HOUSE = Computer((ETH0, LO, WLAN0), (ETH0, WLAN0))
SECURE = Listener(address="0.0.0.0", certificate="server.pem")
PLAIN = Listener(address="0.0.0.0", plain=True)
PAGE = Listener(serve="web", address="::", certificate="server.pem")
FACTS = (("txtvers", "1"), ("version", "1.2"), ("tls", "1"), ("site", "home"))


def announced(*listeners, computer=HOUSE):
    return standing(listeners, computer, "home", "1.2")


@pytest.mark.parametrize(
    ("listener", "kind", "port", "addresses"),
    [
        (SECURE, "_secure-mqtt._tcp", 8883, ("192.168.1.5", "192.168.2.5")),
        (PLAIN, "_mqtt._tcp", 1883, ("192.168.1.5", "192.168.2.5")),
        (PAGE, "_https._tcp", 8443, ("192.168.1.5", "fd00::5", "192.168.2.5")),
        (Listener(serve="web", address="192.168.2.5", plain=True), "_http._tcp", 8080, ("192.168.2.5",)),
        (Listener(address="192.168.1.5", port=2883, certificate="x"), "_secure-mqtt._tcp", 2883, ("192.168.1.5",)),
    ],
)
def test_each_listener_has_its_name_in_the_registry(listener, kind, port, addresses):
    (offer,) = announced(listener).offers
    assert offer[:3] == (kind, port, addresses)


def test_the_record_says_version_tls_site_and_path():
    page, broker = announced(SECURE, PAGE).offers
    assert broker.facts == FACTS
    assert page.facts == (*FACTS, ("path", "/"))
    assert dict(announced(PLAIN).offers[0].facts)["tls"] == "0"


@pytest.mark.parametrize(
    "listener",
    [Listener(), Listener(address="::1"), Listener(path="/run/x.sock"), Listener(address="10.9.9.9", plain=True)],
)
def test_what_nobody_else_reaches_is_not_announced(listener):
    assert announced(listener) == Standing((), ())


def test_one_port_on_two_addresses_is_one_offer_on_both_interfaces():
    both = [Listener(address=address, certificate="x") for address in ("192.168.2.5", "192.168.1.5")]
    found = announced(*both)
    assert [offer.addresses for offer in found.offers] == [("192.168.1.5", "192.168.2.5")]
    assert found.interfaces == ("192.168.1.5", "192.168.2.5")
    assert announced(both[0]).interfaces == ("192.168.2.5",)


def test_where_there_is_only_ipv6_nobody_is_told():
    computer = Computer((ETH0,), (Interface("eth0", ("fd00::5",)),))
    assert announced(PAGE, computer=computer).interfaces == ()


def test_names_are_a_computers_own():
    offers = [Offer("_mqtt._tcp", port, (), ()) for port in (1883, 1884)] + [Offer("_http._tcp", 80, (), ())]
    name = f"home on {short_name()}-{mark()}"
    assert list(instance_names(offers, "home").values()) == [name, f"{name} port 1884", name]
    assert max(len(name) for name in instance_names(offers, "s" * 64).values()) <= mdns.LONGEST_NAME


class Network:
    """Stands in for zeroconf: what others say is in `taken` and `theirs`."""

    def __init__(self):
        self.registered = {}
        self.events = []
        self.theirs = []
        self.taken = set()
        self.trouble = None
        self.senders = ["a socket"]

    def install(self, monkeypatch):
        package = SimpleNamespace(DNSOutgoing=self.outgoing, DNSQuestion=lambda *asked: asked, ServiceInfo=self.info)
        monkeypatch.setitem(sys.modules, "zeroconf", package)
        monkeypatch.setitem(sys.modules, "zeroconf.asyncio", SimpleNamespace(AsyncZeroconf=self.open))

    def outgoing(self, _flags):
        return SimpleNamespace(add_question=lambda asked: self.events.append(("asks for", asked[0])))

    def info(self, kind, name, **more):
        return SimpleNamespace(type=kind, name=name, **more)

    def open(self, interfaces):
        if self.trouble is not None:
            raise self.trouble
        self.events.append(("opens on", *interfaces))

        async def start():
            pass

        core = SimpleNamespace(
            engine=SimpleNamespace(senders=self.senders),
            async_wait_for_start=start,
            async_send=lambda _asking: None,
            cache=SimpleNamespace(get_all_by_details=self.details),
        )
        return SimpleNamespace(zeroconf=core, async_register_service=self.register, async_close=self.close)

    def details(self, _name, _type, _class):
        return [SimpleNamespace(address=ip_address(text).packed) for text in self.theirs]

    async def register(self, info, *, allow_name_change):
        assert allow_name_change
        if info.name in self.taken:
            info.name = info.name.replace(f".{info.type}", f"-2.{info.type}")
        self.registered[info.name] = info
        return asyncio.sleep(0)

    async def close(self):
        self.events.append(("says goodbye",))
        self.registered.clear()


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(mdns, "ASK_S", 0.0)
    monkeypatch.setattr(mdns, "SETTLE_S", 0.0)
    monkeypatch.setattr(mdns, "RETRY_S", 0.0)
    network = Network()
    network.install(monkeypatch)
    return network


@asynccontextmanager
async def announcing(*listeners, computers=(HOUSE,)):
    """An announcer that sees these computers one after the other, the last one for ever."""
    left = list(computers)

    def look():
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    announcer = Announcer(listeners, site="home", version="1.2", look=look)
    announcer.start()
    try:
        yield announcer
    finally:
        await announcer.stop()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 what it waits for comes of turns of the loop
            await asyncio.sleep(0)


def test_it_is_announced_under_the_host_s_name_until_the_end(network):
    async def scenario():
        async with announcing(SECURE, PAGE) as announcer:
            await until(lambda: announcer.announced)
            assert {info.server for info in network.registered.values()} == {f"{local_name()}."}
            assert [info.port for info in network.registered.values()] == [8443, 8883]
            assert announcer.status()["trouble"] == ""
            assert f"home on {short_name()}-{mark()} (_https._tcp on port 8443)" in announcer.announced
        assert announcer.announced == ()

    asyncio.run(scenario())
    assert network.events[0] == ("opens on", "192.168.1.5", "192.168.2.5")
    assert network.events[-1] == ("says goodbye",)


def test_an_address_that_changes_is_announced_anew_and_an_equal_one_is_not(network):
    moved = Interface("eth0", ("192.168.1.77",))

    async def scenario():
        async with announcing(SECURE, computers=[HOUSE, HOUSE, Computer((moved,), (moved,))]) as announcer:
            for count in (1, 1, 2):
                await until(lambda: announcer.announced and not announcer._changed.is_set())
                assert sum(event[0] == "opens on" for event in network.events) == count
                announcer._changed.set()
            (info,) = network.registered.values()
            assert info.parsed_addresses == ["192.168.1.77"]

    asyncio.run(scenario())


def test_a_name_that_another_computer_has_is_left_to_it(network, caplog):
    network.theirs = ["192.168.1.5", "192.168.1.99"]  # of which one is ours

    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.announced)
            assert {info.server for info in network.registered.values()} == {f"{own_name()}."}
            assert announcer.host == own_name()

    asyncio.run(scenario())
    assert f"{local_name()} is also the computer at 192.168.1.99: this one is announced as {own_name()}" in caplog.text


def test_a_name_that_another_computer_takes_later_is_left_to_it_too(network):
    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.announced)
            network.theirs = ["192.168.1.99"]
            announcer._changed.set()
            await until(lambda: {info.server for info in network.registered.values()} == {f"{own_name()}."})

    asyncio.run(scenario())


def test_a_host_that_gets_another_name_is_announced_by_it(network, monkeypatch):
    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.announced)
            monkeypatch.setattr(mdns, "local_name", lambda: "attic.local")
            announcer._changed.set()
            await until(lambda: {info.server for info in network.registered.values()} == {"attic.local."})

    asyncio.run(scenario())


def test_a_copy_of_the_card_is_told(network, caplog):
    name = f"home on {short_name()}-{mark()}"
    network.taken = {f"{name}._secure-mqtt._tcp.local."}

    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.announced)
            assert announcer.announced == (f"{name}-2 (_secure-mqtt._tcp on port 8883)",)

    asyncio.run(scenario())
    assert f"another hub is announced as {name}: this one is {name}-2; is it a copy of the same card?" in caplog.text


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (OSError(99, "Cannot assign requested address"), "Cannot assign requested address"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_network_that_fails_is_told_once_and_tried_again(network, caplog, trouble, words):
    network.trouble = trouble

    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.trouble)
            assert words in announcer.status()["trouble"]
            await until(lambda: announcer._zeroconf is None)
            for _ in range(100):
                await asyncio.sleep(0)
            network.trouble = None
            await until(lambda: announcer.announced)
            assert announcer.trouble == ""

    asyncio.run(scenario())
    assert caplog.text.count("not announced by mDNS") == 1
    assert caplog.text.count(" announced by mDNS: home on ") == 1


@pytest.mark.parametrize("nowhere", [Computer((LO,), ()), OSError(1, "not permitted")])
def test_without_a_network_nothing_is_loaded(network, nowhere):
    async def scenario():
        async with announcing(SECURE, computers=[nowhere]) as announcer:
            await until(lambda: announcer.trouble)

    asyncio.run(scenario())
    assert network.events == []


def test_without_multicast_it_is_told(network):
    network.senders = []

    async def scenario():
        async with announcing(SECURE) as announcer:
            await until(lambda: announcer.trouble)
            assert announcer.trouble == "no interface takes multicast"

    asyncio.run(scenario())


def test_where_the_kernel_does_not_tell_of_changes_it_is_looked(network, monkeypatch):
    def refused():
        raise PermissionError

    monkeypatch.setattr(mdns, "Changes", refused)
    monkeypatch.setattr(mdns, "BLIND_S", 0.0)
    moved = Interface("eth0", ("192.168.1.77",))

    async def scenario():
        async with announcing(SECURE, computers=[HOUSE, Computer((moved,), (moved,))]) as announcer:
            await until(lambda: announcer.announced)
            await until(lambda: [info.parsed_addresses for info in network.registered.values()] == [["192.168.1.77"]])

    asyncio.run(scenario())


def test_the_real_service_in_a_network_of_its_own(tmp_path):
    """Found by an agent's own looking, followed when its address changes, and gone before its port is."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "tests/announced_house.py", tmp_path]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if "unshare:" in done.stderr:
        pytest.skip("namespaces are not to be had here")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["found"] == {
        "name": local_name(),
        "port": 8883,
        "addresses": ["10.77.0.1"],
        "site": "cabin",
    }
    assert told["moved"]["addresses"] == ["10.77.0.9"]
    assert told["gone"] == {"_https._tcp.local.": True, "_secure-mqtt._tcp.local.": True}  # and the port still answered
    assert "Traceback" not in told["log"]
