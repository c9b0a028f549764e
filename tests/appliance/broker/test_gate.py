import pytest

from appliance.broker.connection import Connection
from appliance.broker.gate import MOST_HELD_BYTES, Gate
from appliance.broker.stats import Stats
from appliance.mqtt.errors import QuotaExceeded


class Links:
    """The gate's links, and what stands on them."""

    def __init__(self):
        self.dirty = []
        self.gate = Gate(self.dirty, Stats())

    def take(self):
        """What was put on the links' output since the last call, link after link."""
        taken = []
        for connection in self.dirty:
            taken.extend((connection.peer, packet) for packet in connection.output)
            assert connection.backlog == sum(map(len, connection.output))
            connection.output.clear()
            connection.backlog = 0
            connection.dirty = False
        self.dirty.clear()
        return taken


def test_nothing_to_wait_for_goes_at_once():
    links = Links()
    gate = links.gate
    gate.acknowledge(Connection(None, "a", 0, 5), b"1")
    assert links.take() == [("a", b"1")]


def test_what_needs_a_commit_waits_for_it():
    links = Links()
    gate = links.gate
    link = Connection(None, "a", 0, 5)
    gate.acknowledge(link, b"1", group=1)
    gate.acknowledge(link, b"2", group=2)
    assert links.take() == []
    gate.committed(1)
    assert links.take() == [("a", b"1")]
    gate.committed(2)
    assert links.take() == [("a", b"2")]
    gate.acknowledge(link, b"3", group=2)
    assert links.take() == [("a", b"3")]


def test_later_acknowledgements_of_a_link_never_overtake_and_other_links_do_not_wait():
    links = Links()
    gate = links.gate
    one, other = Connection(None, "one", 0, 5), Connection(None, "other", 0, 5)
    gate.acknowledge(one, b"slow", group=7)
    gate.acknowledge(one, b"quick")
    gate.acknowledge(other, b"free")
    assert links.take() == [("other", b"free")]
    gate.committed(9)
    assert links.take() == [("one", b"slow"), ("one", b"quick")]


def test_a_lost_link_holds_nothing():
    links = Links()
    gate = links.gate
    link = Connection(None, "a", 0, 5)
    gate.acknowledge(link, b"1", group=1)
    gate.forget(link)
    gate.committed(1)
    assert links.take() == []
    assert not link.held


def test_a_message_stands_in_the_same_line_and_is_no_acknowledgement():
    links = Links()
    gate = links.gate
    link = Connection(None, "a", 0, 5)
    gate.send(link, b"\x34message", 1)
    gate.acknowledge(link, b"\x40ack")
    gate.send(link, b"\x62release", 0)
    assert links.take() == []
    assert (link.held_messages, link.held_pubacks, link.held_bytes) == (1, 1, 20)
    assert gate._stats.others_sent == 1
    gate.committed(1)
    assert links.take() == [("a", b"\x34message"), ("a", b"\x40ack"), ("a", b"\x62release")]
    assert (link.held_messages, link.held_pubacks, link.held_bytes) == (0, 0, 0)
    gate.send(link, b"\x34again", 1)
    assert links.take() == [("a", b"\x34again")]


def test_how_many_links_wait_and_how_many_a_commit_let_go():
    links = Links()
    gate = links.gate
    one, other, third = (Connection(None, name, 0, 5) for name in ("one", "other", "third"))
    for link, group in ((one, 1), (one, 2), (other, 2), (third, 3)):
        gate.acknowledge(link, b"1", group)
    assert (len(gate), gate.links(), gate.released) == (3, [one, other, third], 0)
    assert gate.committed(1) == [one]
    assert (len(gate), gate.released) == (3, 1)
    assert gate.committed(2) == [one, other]
    assert (len(gate), gate.released) == (1, 2)
    gate.forget(third)
    assert gate.committed(3) == []
    assert (len(gate), gate.released, gate.durable) == (0, 0, 3)


def test_what_waits_for_one_link_is_bounded_in_bytes():
    links = Links()
    link = Connection(None, "a", 0, 5)
    for _ in range(4):
        links.gate.acknowledge(link, bytes(MOST_HELD_BYTES // 4), 1)
    links.gate.send(link, b"\x34", 1)  # its sender has bounded it
    with pytest.raises(QuotaExceeded):
        links.gate.acknowledge(link, b"1", 1)


def test_a_message_that_is_barred_is_taken_out_and_what_stands_around_it_stays():
    links = Links()
    gate = links.gate
    link = Connection(None, "a", 0, 5)
    first, again, other = (
        b"\x34\x06\x00\x01x\x00\x07y", b"\x3c\x06\x00\x01x\x00\x08y", b"\x34\x06\x00\x01z\x00\x09y"
    )  # fmt: skip
    gate.send(link, first, 1)
    gate.acknowledge(link, b"\x50\x02\x00\x01", 1)
    gate.send(link, again, 1)
    gate.send(link, other, 1)
    assert gate.withdraw(link, lambda topic: topic == "x") == [(7, False), (8, True)]
    assert (link.held_messages, link.held_bytes) == (1, 12)
    gate.committed(1)
    assert [packet for _, packet in links.take()] == [b"\x50\x02\x00\x01", other]


def test_a_link_from_which_everything_was_taken_waits_no_more():
    links = Links()
    gate = links.gate
    link = Connection(None, "a", 0, 5)
    gate.send(link, b"\x34\x06\x00\x01x\x00\x07y", 1)
    gate.withdraw(link, lambda _topic: True)
    assert len(gate) == link.held_bytes == link.held_messages == 0
    gate.acknowledge(link, b"\x40\x02\x00\x01")
    assert len(links.take()) == 1
    assert gate.withdraw(link, lambda _topic: True) == []
