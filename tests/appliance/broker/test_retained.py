import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.message import Message
from appliance.broker.retained import LEVEL_BYTES, OVERHEAD_BYTES, UNKNOWN, RetainedStore
from appliance.mqtt.topics import matches


def store(**limits):
    return RetainedStore(**{"max_messages": 100, "max_bytes": 1_000_000} | limits)


def kept(topic, payload=b"1", **fields):
    return Message(topic, payload, 1, True, **fields)


def test_the_last_message_stays():
    retained = store()
    retained.put(kept("a/b", b"1"), 0)
    retained.put(kept("a/b", b"22"), 0)
    assert len(retained) == 1
    assert retained.get("a/b", 0).payload == b"22"
    assert retained.size_bytes == OVERHEAD_BYTES + 3 + 2


def test_discarding_leaves_nothing_behind():
    retained = store()
    retained.put(kept("a/b/c"), 0)
    retained.put(kept("a/b"), 0)
    retained.discard("a/b/c")
    assert retained.topics("a/#") == ["a/b"]
    retained.discard("a/b")
    retained.discard("a/b")
    assert not retained._root.children
    assert (retained.size_bytes, retained.levels) == (0, 0)


def test_an_expired_message_is_gone():
    retained = store()
    retained.put(kept("a", expires_at=10.0), 0)
    assert retained.get("a", 9.9) is not None
    assert retained.get("a", 10.0) is None


def test_expired_messages_make_room():
    retained = store(max_messages=3)
    for topic in ("a", "b", "c"):
        retained.put(kept(topic, expires_at=10.0), 0)
    assert not retained.put(kept("d"), 9.9)
    retained.put(kept("a", expires_at=20.0), 9.9)
    retained.put(kept("b"), 9.9)
    assert retained.put(kept("d"), 10.0)
    assert sorted(retained.topics("#")) == ["a", "b", "d"]
    assert retained.put(kept("e"), 20.0)
    assert sorted(retained.topics("#")) == ["b", "d", "e"]
    retained.discard("e")
    assert len(retained._expiring) == 0


def test_the_number_of_messages_is_bounded_and_a_topic_that_is_there_may_change():
    retained = store(max_messages=2)
    assert retained.put(kept("a"), 0)
    assert retained.put(kept("b"), 0)
    assert not retained.put(kept("c"), 0)
    assert retained.put(kept("a", b"new"), 0)


def test_the_bytes_are_bounded():
    retained = store(max_bytes=OVERHEAD_BYTES + LEVEL_BYTES + 100)
    assert retained.put(kept("a", bytes(99)), 0)
    assert not retained.put(kept("a", bytes(100)), 0)
    assert retained.get("a", 0).payload == bytes(99)


def test_levels_count_once_and_are_asked_for_before_they_are_made():
    deep = "/".join("abcdefgh")
    size = OVERHEAD_BYTES + len(deep) + 1
    retained = store(max_bytes=2 * size + 2 + 10 * LEVEL_BYTES)
    assert retained.put(kept(deep), 0)
    assert retained.levels == 8
    assert not retained.put(kept("x/y/z"), 0)
    assert retained.levels == 8
    assert retained.put(kept(deep + "/i"), 0)
    assert retained.levels == 9
    assert retained.put(kept(deep + "/i", b"22"), 0)  # no new level, no other message
    retained.discard(deep)
    assert retained.levels == 9
    retained.discard(deep + "/i")
    assert retained.levels == 0
    assert retained.put(kept("x/y/z"), 0)


@pytest.mark.parametrize("levels", [1, 4, 64])
def test_what_is_counted_is_what_it_takes(levels):
    topics = ["/".join(f"{number}-{level}" for level in range(levels)) for number in range(500)]
    retained = store(max_messages=1_000, max_bytes=100_000_000)
    tracemalloc.start()
    try:
        for topic in topics:
            retained.put(kept("".join([*topic]), b"%d" % len(retained)), 0)
        real = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert real <= 2 * (retained.size_bytes + LEVEL_BYTES * retained.levels)


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
        retained.put(kept(topic), 0)
    assert sorted(retained.topics(topic_filter)) == expected


topics = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), min_size=1, max_size=4)


@given(st.lists(topics, unique=True, max_size=12), filters, st.booleans())
def test_the_store_finds_what_comparing_one_by_one_finds(names, levels, many):
    topic_filter = "/".join([*levels, "#"] if many else levels) or "+"
    retained = store()
    for name in names:
        retained.put(kept(name), 0)
    assert sorted(retained.topics(topic_filter)) == sorted(name for name in names if matches(topic_filter, name))


def test_it_is_known_whose_a_message_is_or_that_it_is_not_known():
    retained = store()
    retained.put(kept("a", client_id="one"), 0, "ann")
    retained.put(kept("b", client_id="two"), 0, None)
    retained.put(kept("c", client_id="three"), 0)
    assert [(message.topic, user) for message, user in retained.published()] == [("a", "ann"), ("b", None)]
    retained.attribute(
        {"one": "eve", "three": "bob", "two": None}, lambda message, user: (message.topic, user) == ("a", "eve")
    )
    assert [(message.topic, user) for message, user in retained.published()] == [("b", None), ("c", "bob")]
    assert [message.topic for message in retained.unattributed()] == ["a"]
    assert [retained.publisher(topic) for topic in "abcd"] == [UNKNOWN, None, "bob", UNKNOWN]
    retained.put(kept("c"), 0)
    assert [message.topic for message, _ in retained.published()] == ["b"]
