import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.topictree import Grant, TopicTree, filter_bytes
from appliance.mqtt.topics import matches

MATCHES = [
    ("home/+/temperature", "home/attic/temperature", True),
    ("home/#", "home", True),  # the parent level too, §4.7.1.2
    ("home/+", "home/", True),  # an empty level is a level
    ("+", "/x", False),
    ("/+", "/x", True),
    ("+/+", "/x", True),
    ("#", "$SYS/uptime", False),  # [MQTT-4.7.2-1]
    ("+/uptime", "$SYS/uptime", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("home/$x/#", "home/$x/y", True),
    ("home/+/$x", "home/a/$x", True),
    ("A", "a", False),  # [MQTT-4.7.3-4]
]


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
def test_match(topic_filter, topic, expected):
    tree = TopicTree()
    tree.subscribe(topic_filter, "reader", Grant(1))
    assert list(tree.match(topic)) == ([("reader", Grant(1))] if expected else [])


def test_a_subscription_with_the_same_filter_is_replaced():
    tree = TopicTree()
    tree.subscribe("a/+", "reader", Grant(0))
    tree.subscribe("a/+", "reader", Grant(2))
    assert list(tree.match("a/b")) == [("reader", Grant(2))]


def test_overlapping_filters_come_several_times():
    tree = TopicTree()
    for topic_filter in ("a/b", "a/+", "#", "a/#", "+/b"):
        tree.subscribe(topic_filter, "reader", Grant(0))
    assert len(list(tree.match("a/b"))) == 5


def test_unsubscribing_leaves_nothing_behind():
    tree = TopicTree()
    tree.subscribe("a/b/c", "one", Grant(0))
    tree.subscribe("a/b", "two", Grant(0))
    tree.unsubscribe("a/b/c", "one")
    tree.unsubscribe("a/b/c", "one")
    tree.unsubscribe("x/y", "one")
    assert list(tree.match("a/b")) == [("two", Grant(0))]
    tree.unsubscribe("a/b", "two")
    assert not tree._root.children


def test_ten_thousand_levels_are_walked_without_recursion():
    tree = TopicTree()
    deep = "/".join("x" * 10_000)
    tree.subscribe(deep, "reader", Grant(0))
    assert [reader for reader, _ in tree.match(deep)] == ["reader"]
    tree.unsubscribe(deep, "reader")
    assert not tree._root.children


def test_it_knows_whether_any_filter_begins_so():
    tree = TopicTree()
    tree.subscribe("$SYS/a/#", "reader", Grant(0))
    assert tree.reaches("$SYS")
    assert not tree.reaches("a")
    tree.unsubscribe("$SYS/a/#", "reader")
    assert not tree.reaches("$SYS")


levels = st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), min_size=1, max_size=4)
filters = st.tuples(levels, st.booleans()).map(lambda made: "/".join([*made[0], "#"] if made[1] else made[0]))
names = levels.map(lambda made: "/".join("c" if level == "+" else level for level in made))


@given(st.lists(filters.filter(bool), max_size=12, unique=True), names.filter(bool))
def test_the_tree_finds_what_comparing_one_by_one_finds(topic_filters, topic):
    tree = TopicTree()
    for topic_filter in topic_filters:
        tree.subscribe(topic_filter, topic_filter, Grant(0))
    found = sorted(reader for reader, _ in tree.match(topic))
    assert found == sorted(topic_filter for topic_filter in topic_filters if matches(topic_filter, topic))


@pytest.mark.parametrize("levels", [1, 4, 64])
def test_what_is_counted_is_what_it_takes(levels):
    filters = ["/".join(f"{number}-{level}" for level in range(levels)) for number in range(500)]
    tree = TopicTree()
    tracemalloc.start()
    try:
        for topic_filter in filters:
            tree.subscribe(topic_filter, "reader", Grant(1))
        real = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert real <= 2 * sum(filter_bytes(topic_filter) for topic_filter in filters)
    for topic_filter in filters:
        tree.unsubscribe(topic_filter, "reader")
    assert not tree._root.children
