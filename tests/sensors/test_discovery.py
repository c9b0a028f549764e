"""Brokers are found by real mDNS on the loopback interface; what is announced there is believed with care."""

import contextlib
import secrets
import sys
from types import SimpleNamespace

import pytest
from announcer import announced
from processes import eventually

from sensors.discovery import (
    MOST_ADDRESSES,
    PAGE,
    PLAIN,
    SECURE,
    DiscoveryError,
    Found,
    browse,
    choose,
    look,
    understood,
)


@pytest.fixture
def site():
    """A site that no other test on this computer has."""
    return f"s{secrets.token_hex(6)}"


def test_our_own_site_is_found_at_once_and_others_are_left_alone(site):
    ours, theirs = f"ours-{site}", f"theirs-{site}"
    with announced((SECURE, ours, 8884, site), (SECURE, theirs, 8885, f"{site}x"), (PLAIN, ours, 1884, site)):
        found, *others = look(SECURE, site, seconds=20.0, interface="127.0.0.1")  # it ends when ours has answered
        assert f"{theirs}.local" not in {other.name for other in others}
        assert found == Found(f"{ours}.local", 8884, ("127.0.0.1",), site)
        assert look(PLAIN, site, seconds=20.0, interface="127.0.0.1")[0].port == 1884


def test_one_that_names_no_site_is_found_too(site):
    with announced((PLAIN, f"old-{site}", 1885, "")):
        old = f"old-{site}.local"
        eventually(lambda: old in {one.name for one in look(PLAIN, site, interface="127.0.0.1")})


def test_of_pages_those_of_hubs_alone_count(site):
    """A printer has one too, and there may be many of them."""
    with announced((PAGE, f"printer-{site}", 443, ""), (PAGE, f"hub-{site}", 9443, site)):
        found = look(PAGE, site, seconds=20.0, interface="127.0.0.1")
        assert found == [Found(f"hub-{site}.local", 9443, ("127.0.0.1",), site)]
        assert look(PAGE, f"x{site}", seconds=1.0, interface="127.0.0.1") == []


def test_nobody_there_is_nothing_found(site):
    assert [one for one in look(SECURE, site, seconds=0.3, interface="127.0.0.1") if one.site == site] == []


def test_where_the_agent_was_started_does_not_matter(site, tmp_path, monkeypatch):
    (tmp_path / "argparse.py").write_text("raise SystemExit('a file of somebody else was run')")
    monkeypatch.chdir(tmp_path)
    assert look(SECURE, site, seconds=0.1, interface="127.0.0.1") == []


def test_an_interface_that_is_not_there_says_so(site):
    with pytest.raises(DiscoveryError, match=r"^looking for brokers by mDNS failed: .*; set broker.host$"):
        look(PLAIN, site, seconds=0.3, interface="192.0.2.77")


def test_our_site_comes_first_and_another_never():
    found = [Found("b", 1, ("::1",)), Found("c", 1, ("::1",), "home"), Found("a", 1, ("::1",)), Found("d", 1, (), "x")]
    assert [one.name for one in choose(found, "home")] == ["c", "a", "b"]


def test_what_is_announced_is_taken_apart_with_care():
    assert understood("Hub.local.", 8883, ["fe80::1%2", "192.168.1.5"], b"home") == Found(
        "hub.local", 8883, ("192.168.1.5", "fe80::1%2"), "home"
    )
    many = [f"10.0.0.{n}" for n in range(1, 30)]
    assert len(understood("hub.local.", 1, many, None).addresses) == MOST_ADDRESSES
    assert understood("hub.local.", 1, ["10.0.0.1"], b"\xff").site != "home"


@pytest.mark.parametrize(
    ("name", "port", "addresses"),
    [
        ("hub\nlocal.", 1, ["10.0.0.1"]),
        ("hüb.local.", 1, ["10.0.0.1"]),
        ("h" * 300, 1, ["10.0.0.1"]),
        ("", 1, ["10.0.0.1"]),
        (None, 1, ["10.0.0.1"]),
        ("hub.local.", 0, ["10.0.0.1"]),
        ("hub.local.", None, ["10.0.0.1"]),
        ("hub.local.", 1, []),
        ("hub.local.", 1, ["224.0.0.251", "0.0.0.0", "::"]),
    ],
)
def test_what_cannot_be_a_broker_is_left_out(name, port, addresses):
    assert understood(name, port, addresses, b"home") is None


class Network:
    """Stands in for zeroconf: two brokers answer at once."""

    InterfaceChoice = IPVersion = SimpleNamespace(All=None)

    def __init__(self):
        self.asked = []

    def Zeroconf(self, _interfaces):  # noqa: N802 its name
        return contextlib.nullcontext(self)

    def ServiceBrowser(self, _zeroconf, kind, *, listener):  # noqa: N802 its name
        for name in ("ours", "theirs"):
            listener.add_service(self, kind, name)
        return SimpleNamespace(cancel=lambda: None)

    def get_service_info(self, _kind, name, timeout):
        assert timeout > 0
        self.asked.append(name)
        return SimpleNamespace(
            server=f"{name}.local.",
            port=1883,
            parsed_scoped_addresses=lambda _version: ["192.168.1.5"],
            properties={b"site": name.encode()},
        )


def test_looking_ends_when_our_own_site_has_answered(monkeypatch):
    network = Network()
    monkeypatch.setitem(sys.modules, "zeroconf", network)
    assert browse(PLAIN, "ours", 0.5, "") == [Found("ours.local", 1883, ("192.168.1.5",), "ours")]
    assert network.asked == ["ours"]
