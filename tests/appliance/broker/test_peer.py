import pytest

from appliance.broker.peer import is_this_computer, source

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
