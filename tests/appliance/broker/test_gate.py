from appliance.broker.connection import Connection
from appliance.broker.gate import Gate
from appliance.broker.stats import Stats


class Sent(list):
    """The links to flush; compared with what has been sent over them all, in that order."""

    def __init__(self):
        super().__init__()
        self._sent = []

    def __eq__(self, expected):
        return self.flushed() == expected

    __hash__ = None

    def __getitem__(self, index):
        return self.flushed()[index]

    def flushed(self):
        for connection in self:
            self._sent += [(connection.peer, packet) for packet in connection.output]
            connection.output.clear()
            connection.dirty = False
        self.clear()
        return self._sent


def made():
    sent = Sent()
    return Gate(sent, Stats()), sent


def test_nothing_to_wait_for_goes_at_once():
    gate, sent = made()
    gate.acknowledge(Connection(None, "a", 0, 5), b"1")
    assert sent == [("a", b"1")]


def test_what_needs_a_commit_waits_for_it():
    gate, sent = made()
    link = Connection(None, "a", 0, 5)
    gate.acknowledge(link, b"1", group=1)
    gate.acknowledge(link, b"2", group=2)
    assert sent == []
    gate.committed(1)
    assert sent == [("a", b"1")]
    gate.committed(2)
    assert sent == [("a", b"1"), ("a", b"2")]
    gate.acknowledge(link, b"3", group=2)
    assert sent[-1] == ("a", b"3")


def test_later_acknowledgements_of_a_link_never_overtake_and_other_links_do_not_wait():
    gate, sent = made()
    one, other = Connection(None, "one", 0, 5), Connection(None, "other", 0, 5)
    gate.acknowledge(one, b"slow", group=7)
    gate.acknowledge(one, b"quick")
    gate.acknowledge(other, b"free")
    assert sent == [("other", b"free")]
    gate.committed(9)
    assert sent == [("other", b"free"), ("one", b"slow"), ("one", b"quick")]


def test_a_lost_link_holds_nothing():
    gate, sent = made()
    link = Connection(None, "a", 0, 5)
    gate.acknowledge(link, b"1", group=1)
    gate.forget(link)
    gate.committed(1)
    assert sent == []
    assert not link.held
