from appliance.broker.connection import Connection
from appliance.broker.gate import Gate
from appliance.broker.stats import Stats


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
