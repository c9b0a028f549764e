import pytest

from appliance.broker.connection import Connection
from appliance.broker.links import Links
from appliance.settings import Limits


def link(peer):
    return Connection(object(), peer, 0, 5)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.168.1.7:50123", "192.168.1.7"),
        ("fd00::7:50123", "fd00::/64"),  # in which one computer has as many as it likes
        ("unix", "unix"),
    ],
)
def test_whom_a_link_counts_for(peer, source):
    assert link(peer).source == source


def test_all_together_are_bounded():
    links = Links(Limits(max_connections=2))
    first, second, third = (link(f"10.0.0.{number}:1") for number in range(3))
    assert links.take(first) is None
    assert links.take(second) is None
    assert links.take(third) == "too many connections"
    assert (len(links), list(links)) == (2, [first, second])
    links.discard(first)
    assert links.take(third) is None
    assert list(links) == [second, third]


def test_those_of_one_address_are_bounded():
    links = Links(Limits(max_connections_per_address=2))
    first, second, third = (link(f"10.0.0.1:{port}") for port in range(3))
    assert links.take(first) is None
    assert links.take(second) is None
    assert links.take(third) == "too many connections from one address"
    assert links.take(link("10.0.0.2:1")) is None
    links.discard(third)  # it was never in
    links.discard(first)
    links.discard(first)
    assert links.take(third) is None
    assert links.take(link("10.0.0.1:9")) == "too many connections from one address"


def test_those_of_one_ipv6_network_are_bounded():
    links = Links(Limits(max_connections_per_address=2))
    assert [links.take(link(f"2001:db8::1:{host:x}:{host:x}:5000")) for host in range(1, 4)] == [
        None,
        None,
        "too many connections from one address",
    ]
    assert links.take(link("2001:db8:0:1::1:5000")) is None


def test_one_host_leaves_room_for_its_neighbours_of_ipv6():
    links = Links(Limits(max_connections_per_address=5))
    wild = [link(f"[fe80::1%eth0]:{port}") for port in range(4)]
    assert [links.take(one) for one in wild] == [None] * 3 + ["too many connections from one address"]
    assert links.take(link("[fe80::2%eth0]:1")) is None
    assert links.take(link("[fe80::3%eth0]:1")) is None
    assert links.take(link("[fe80::4%eth0]:1")) == "too many connections from one address"  # of all its addresses
    links.discard(wild[0])
    assert links.take(link("[fe80::4%eth0]:1")) is None


def test_addresses_that_left_are_forgotten():
    links = Links(Limits())
    for number in range(1_000):
        connection = link(f"10.0.0.{number}:1" if number % 2 else f"fd00::{number:x}:1")
        links.take(connection)
        links.discard(connection)
    assert len(links) == len(links._of_address) == 0
