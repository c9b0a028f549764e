"""Which interfaces are the network's. What the kernel tells of changes is tried in a network namespace: test_mdns."""

import select

import pytest

from appliance.interfaces import Changes, Interface, look, sorted_out

FLAGS = {"lo": "0x9", "eth0": "0x1003", "wlan0": "0x1002", "wg0": "0x90", "tun0": "0x1091", "docker0": "0x1003"}
IF_INET6 = """\
fd000000000000000000000000000001 02 40 00 80     eth0
fd00000000000000000000000000abcd 02 40 00 01     eth0
"""


@pytest.fixture
def root(tmp_path):
    for name, flags in FLAGS.items():
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "flags").write_text(flags + "\n")
    (tmp_path / "proc/self/net").mkdir(parents=True)
    (tmp_path / "proc/self/net/if_inet6").write_text(IF_INET6)
    return tmp_path


def test_outer_is_what_is_up_and_reaches_many(root):
    found = {name: [f"192.168.{number}.1"] for number, name in enumerate([*FLAGS, "vethab12", "eth1"])}
    computer = sorted_out(found, root)
    assert {one.name for one in computer.every} == set(found)
    assert [one.name for one in computer.outer] == ["eth0", "eth1"]  # of eth1 nothing is told


def test_without_sys_only_loopback_is_known_by_its_name(tmp_path):
    computer = sorted_out({"lo": ["127.0.0.1"], "eth0": ["10.0.0.1"]}, tmp_path)
    assert [one.name for one in computer.outer] == ["eth0"]


def test_addresses_that_pass_are_left_out(root):
    told = ["fd00::1", "fd00::abcd", "fe80::1", "192.168.1.10", "192.168.1.9", "169.254.7.7"]
    (eth0,) = sorted_out({"eth0": told}, root).every
    assert eth0 == Interface("eth0", ("169.254.7.7", "192.168.1.9", "192.168.1.10", "fd00::1"))
    assert sorted_out({"eth0": ["fe80::1"]}, root).outer == ()


def test_this_computer_has_loopback():
    computer = look()
    assert "127.0.0.1" in {address for one in computer.every for address in one.addresses}
    assert not {"127.0.0.1", "::1"} & {address for one in computer.outer for address in one.addresses}


def test_nothing_is_heard_while_nothing_changes():
    changes = Changes()
    try:
        assert select.select([changes], [], [], 0)[0] == []
        changes.take()
    finally:
        changes.close()
