from contextlib import suppress
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plain_filters, topic_filters, topic_names

from appliance.mqtt.errors import MqttError, TopicFilterInvalid, TopicNameInvalid
from appliance.mqtt.topics import MAX_LEVELS, check_topic_filter, check_topic_name, matches, split_share
from appliance.settings import Limits

NAMES = [
    "a",
    "/",
    "//",
    " ",
    "home/kitchen/temperature",
    "/finance",
    "$SYS/uptime",
    "温度/台所",
    "a" * 65_535,
    "\ufeff",
    "a\nb",
]

BAD_NAMES = [
    ("", "empty"),  # [MQTT-4.7.3-1]
    ("a\0b", "U\\+0000"),  # [MQTT-4.7.3-2]
    ("home/+/temperature", "wildcard"),  # [MQTT-3.3.2-2]
    ("home/#", "wildcard"),
    ("a+", "wildcard"),
    ("a" * 65_536, "longer than 65535"),  # [MQTT-4.7.3-3]
    ("é" * 32_768, "longer than 65535"),
    ("/" * MAX_LEVELS, "more than 1024 levels"),
    ("/" * 65_535, "more than 1024 levels"),
    ("a\ud800", "surrogate"),
]

FILTERS = [
    "a",
    "/",
    "#",
    "+",
    "+/+",
    "/+",
    "+/",
    "sport/tennis/player1/#",
    "sport/+/player1",
    "+/tennis/#",
    "//#",
    "$SYS/#",
    "$share/group/home/#",
    "$share/group//",
    "$share/group/+",
    "$share",  # no group follows: a level like any other
    "$SHARE/+/x",
    "$shared/x",
    "/" * (MAX_LEVELS - 1),
]

BAD_FILTERS = [
    ("", "empty"),
    ("a\0", "U\\+0000"),
    ("sport/tennis#", "wildcard"),  # [MQTT-4.7.1-1]
    ("sport/tennis/#/ranking", "# is not the last level"),
    ("##", "wildcard"),
    ("#/", "# is not the last level"),
    ("a#/b", "# is not the last level"),
    ("sport+", "wildcard"),  # [MQTT-4.7.1-2]
    ("+a", "wildcard"),
    ("a+/b", "\\+ is not alone"),
    ("++/b", "\\+ is not alone"),
    ("+#", "wildcard"),
    ("$share/", "\\$share/<group>"),  # [MQTT-4.8.2-1]
    ("$share/group", "\\$share/<group>"),  # [MQTT-4.8.2-2]
    ("$share/group/", "\\$share/<group>"),
    ("$share//home", "\\$share/<group>"),
    ("$share/+/home", "share group"),
    ("$share/a#/home", "share group"),
    ("$share/group/a#", "wildcard"),
    ("/" * 65_535, "more than 1024 levels"),
    ("+/" * 32_000, "more than 1024 levels"),
    ("a" * 65_536, "longer than 65535"),
    ("#\ud800", "surrogate"),
]

MATCHES = [
    ("home/kitchen/temperature", "home/kitchen/temperature", True),
    ("home/kitchen/temperature", "home/kitchen/humidity", False),
    ("home/kitchen", "home/kitchen/temperature", False),
    ("home/kitchen/temperature", "home/kitchen", False),
    ("home/+/temperature", "home/attic/temperature", True),
    ("home/+/temperature", "home/attic/north/temperature", False),
    ("home/+", "home", False),
    ("home/+", "home/", True),  # an empty level is a level
    ("home/#", "home", True),  # the parent level too, §4.7.1.2
    ("home/#", "home/", True),
    ("home/#", "home/a/b/c", True),
    ("home/#", "homes/a", False),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("#", "a", True),
    ("#", "/", True),
    ("+", "a", True),
    ("+", "/a", False),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+/#", "a", True),
    ("+/+/#", "a", False),
    ("/", "/", True),
    ("/a", "a", False),  # [MQTT-4.7.3-4]: nothing is normalised
    ("a/", "a", False),
    ("A", "a", False),
    ("caf\u00e9", "cafe\u0301", False),
    ("#", "$SYS/uptime", False),  # [MQTT-4.7.2-1]
    ("+/uptime", "$SYS/uptime", False),
    ("+", "$SYS", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS/+", "$SYS/uptime", True),
    ("home/#", "home/$SYS", True),  # only the first character counts
    ("home/+", "home/$SYS", True),
    ("+/" * 60 + "x", "a/" * 60 + "y", False),
]


@pytest.mark.parametrize("topic", NAMES, ids=lambda topic: ascii(topic[:20]))
def test_name(topic):
    check_topic_name(topic)


@pytest.mark.parametrize(("topic", "says"), BAD_NAMES, ids=lambda text: ascii(text[:20]))
def test_bad_name(topic, says):
    with pytest.raises(TopicNameInvalid, match=says):
        check_topic_name(topic)


@pytest.mark.parametrize("topic_filter", FILTERS, ids=lambda text: ascii(text[:20]))
def test_filter(topic_filter):
    check_topic_filter(topic_filter)


@pytest.mark.parametrize(("topic_filter", "says"), BAD_FILTERS, ids=lambda text: ascii(text[:20]))
def test_bad_filter(topic_filter, says):
    with pytest.raises(TopicFilterInvalid, match=says) as caught:
        check_topic_filter(topic_filter)
    assert len(str(caught.value)) < 300  # a hostile filter does not fill the log
    assert str(caught.value).isascii()


def test_the_number_of_levels_is_the_callers():
    check_topic_name("a/b/c", max_levels=3)
    check_topic_filter("a/b/c", max_levels=3)
    with pytest.raises(TopicNameInvalid):
        check_topic_name("a/b/c/d", max_levels=3)
    with pytest.raises(TopicFilterInvalid):
        check_topic_filter("a/b/c/#", max_levels=3)


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
def test_matches(topic_filter, topic, expected):
    check_topic_filter(topic_filter)
    check_topic_name(topic)
    assert matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("topic_filter", "split"),
    [
        ("home/#", (None, "home/#")),
        ("$share/g/home/#", ("g", "home/#")),
        ("$share/g//home", ("g", "/home")),
        ("$share/a b/$SYS/#", ("a b", "$SYS/#")),
        ("$share", (None, "$share")),
        ("$Share/g/home", (None, "$Share/g/home")),  # case-sensitive
    ],
)
def test_split_share(topic_filter, split):
    assert split_share(topic_filter) == split


@given(topic_names, plain_filters(), topic_filters)
def test_what_the_strategies_make_is_valid(topic, plain, topic_filter):
    check_topic_name(topic)
    check_topic_filter(plain)
    check_topic_filter(topic_filter)


@given(topic_names)
def test_a_name_matches_itself_and_the_filters_made_of_it(topic):
    levels = topic.split("/")
    assert matches(topic, topic)
    assert matches(f"{topic}/#", topic)
    for i in range(len(levels)):
        hidden = topic.startswith("$") and i == 0
        assert matches("/".join([*levels[:i], "+", *levels[i + 1 :]]), topic) is not hidden
        assert matches("/".join([*levels[:i], "#"]), topic) is not hidden


def _matches_by_definition(wanted, levels):
    if not wanted:
        return not levels
    if wanted[0] == "#":
        return True
    return bool(levels) and wanted[0] in ("+", levels[0]) and _matches_by_definition(wanted[1:], levels[1:])


@given(plain_filters(), topic_names)
def test_matches_as_the_definition_does(topic_filter, topic):
    hidden = topic.startswith("$") and topic_filter.startswith(("+", "#"))
    expected = not hidden and _matches_by_definition(topic_filter.split("/"), topic.split("/"))
    assert matches(topic_filter, topic) is expected


@given(st.text(max_size=10) | st.text("ab/+#$", max_size=10))
def test_any_text_is_judged_and_no_other_error_escapes(text):
    for check in (check_topic_name, check_topic_filter):
        with suppress(MqttError):
            check(text)


def test_a_limit_on_levels_is_not_cut_short_here():
    highest = next(meta.le for meta in get_args(get_type_hints(Limits, include_extras=True)["max_topic_levels"])[1:])
    check_topic_filter("/" * (highest - 1))
    check_topic_name("/" * (highest - 1))
