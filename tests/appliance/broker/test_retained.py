import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.message import Message
from appliance.broker.retained import OVERHEAD_BYTES, RetainedStore
from appliance.mqtt.topics import matches


def store(**limits):
    return RetainedStore(**{"max_messages": 100, "max_bytes": 1_000_000} | limits)


def kept(topic, payload=b"1", **fields):
    return Message(topic, payload, 1, True, **fields)


def test_the_last_message_stays():
    retained = store()
    retained.put(kept("a/b", b"1"))
    retained.put(kept("a/b", b"22"))
    assert len(retained) == 1
    assert retained.get("a/b", 0).payload == b"22"
    assert retained.size_bytes == OVERHEAD_BYTES + 3 + 2


def test_discarding_leaves_nothing_behind():
    retained = store()
    retained.put(kept("a/b/c"))
    retained.put(kept("a/b"))
    retained.discard("a/b/c")
    assert retained.topics("a/#") == ["a/b"]
    retained.discard("a/b")
    retained.discard("a/b")
    assert not retained._root.children
    assert retained.size_bytes == 0


def test_an_expired_message_is_gone():
    retained = store()
    retained.put(kept("a", expires_at=10.0))
    assert retained.get("a", 9.9) is not None
    assert retained.get("a", 10.0) is None
    assert len(retained) == 0


def test_the_number_of_messages_is_bounded_and_a_topic_that_is_there_may_change():
    retained = store(max_messages=2)
    assert retained.put(kept("a"))
    assert retained.put(kept("b"))
    assert not retained.put(kept("c"))
    assert retained.put(kept("a", b"new"))


def test_the_bytes_are_bounded():
    retained = store(max_bytes=OVERHEAD_BYTES + 100)
    assert retained.put(kept("a", bytes(99)))
    assert not retained.put(kept("a", bytes(100)))
    assert retained.get("a", 0).payload == bytes(99)


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("#", ["a", "a/b", "a/b/c", "x/b"]),
        ("+/b", ["a/b", "x/b"]),
        ("a/#", ["a", "a/b", "a/b/c"]),
        ("+/#", ["a", "a/b", "a/b/c", "x/b"]),
        ("$SYS/+", ["$SYS/up"]),
        ("+/up", []),
        ("a/b", ["a/b"]),
        ("a/c", []),
    ],
)
def test_topics_by_filter(topic_filter, expected):
    retained = store()
    for topic in ("a", "a/b", "a/b/c", "x/b", "$SYS/up"):
        retained.put(kept(topic))
    assert sorted(retained.topics(topic_filter)) == expected


topics = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), min_size=1, max_size=4)


@given(st.lists(topics, unique=True, max_size=12), filters, st.booleans())
def test_the_store_finds_what_comparing_one_by_one_finds(names, levels, many):
    topic_filter = "/".join([*levels, "#"] if many else levels) or "+"
    retained = store()
    for name in names:
        retained.put(kept(name))
    assert sorted(retained.topics(topic_filter)) == sorted(name for name in names if matches(topic_filter, name))
