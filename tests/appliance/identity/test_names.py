"""How others may call this computer."""

from ipaddress import ip_address

import pytest

from appliance.identity.names import LOOPBACK, Names, addresses, is_host_name, names_of

HUB = [ip_address(text) for text in ("192.168.1.5", "127.0.0.1", "::1", "fe80::1", "2001:db8::5", "169.254.3.4")]


def test_a_computer_is_called_by_its_name_alone_and_with_local():
    names = names_of("Hub.lan", HUB, ["house.example.org"])
    assert names.hosts == ("house.example.org", "hub", "hub.lan", "hub.local", "localhost")
    assert list(map(str, names.addresses)) == ["127.0.0.1", "::1", "192.168.1.5", "2001:db8::5"]


@pytest.mark.parametrize("hostname", ["", "localhost", "(none)", "höhle", "a" * 64])
def test_a_name_that_no_certificate_may_hold_is_left_out(hostname):
    assert names_of(hostname, []) == Names(("localhost",), LOOPBACK)


NAMES = [("hub", True), ("my_hub.lan", True), ("a-b", True), ("a..b", False), (".a", False), ("*", False), ("-", True)]


@pytest.mark.parametrize(("text", "good"), NAMES)
def test_a_host_name_is_letters_digits_and_signs(text, good):
    assert is_host_name(text) is good


def test_many_addresses_do_not_fill_a_certificate():
    many = [ip_address(number) for number in range(0x0A000001, 0x0A000200)]
    assert len(names_of("hub", many).addresses) == 102


def test_what_another_certificate_lacks_is_named():
    here, there = names_of("hub", HUB), names_of("hub", HUB[:3])
    assert here.missing_in(there) == ["2001:db8::5"]
    assert there.missing_in(here) == []
    assert names_of("attic", []).missing_in(there) == ["attic", "attic.local"]


def test_this_computers_own_addresses_are_found():
    assert ip_address("127.0.0.1") in addresses()
