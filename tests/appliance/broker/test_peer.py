import pytest

from appliance.broker.peer import address_of, is_this_computer, network, shares, source

PEERS = [
    ("127.0.0.1:51234", True, "127.0.0.1"),
    ("127.8.8.8:1", True, "127.8.8.8"),
    ("192.168.1.20:51234", False, "192.168.1.20"),
    ("::1:51234", True, "::1"),
    ("[::1]:51234", True, "::1"),
    ("::ffff:127.0.0.1:51234", True, "127.0.0.1"),
    ("::ffff:192.168.1.20:51234", False, "192.168.1.20"),
    ("[2001:db8:1:2:3:4:5:6]:51234", False, "2001:db8:1:2::/64"),
    ("2001:db8:1:2::9:51234", False, "2001:db8:1:2::/64"),
    ("fe80::1%eth0:51234", False, "fe80::/64"),
    ("unix", True, "unix"),
    ("unix:1000", True, "unix"),
    ("?", False, "unix"),
    ("", False, "unix"),
    ("localhost.example:1", False, "unix"),
]


@pytest.mark.parametrize(("peer", "here", "blamed"), PEERS)
def test_peers(peer, here, blamed):
    assert is_this_computer(peer) is here
    assert source(peer) == blamed


def test_whom_to_hold_to_account():
    assert shares("192.168.1.20:1", 9) == {"192.168.1.20": 9}
    assert shares("::1:1", 9) == {"::1": 9}
    assert shares("unix:1000", 9) == {"unix": 9}
    assert shares("[fe80::1%eth0]:1", 9) == {"fe80::1": 5, "fe80::/64": 9}
    assert shares("fe80::1:1", 1) == {"fe80::1": 1, "fe80::/64": 1}


def test_an_address_alone_is_that_of_one_host():
    assert address_of("[fe80::1%eth0]:51234") == address_of("fe80:0::1%eth0:2") == "fe80::1"
    assert address_of("::ffff:192.168.1.20:51234") == network("192.168.1.20") == "192.168.1.20"
    assert address_of("unix:1000") == network("unix") == "unix"
    assert network("fe80::1") == network("fe80::2") == "fe80::/64"
    assert network("::1") == "::1"
