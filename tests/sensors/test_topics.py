import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.topics import AgentTopics, check_level, command_of, command_topic, legal_level, payload_of, state_topic

LEVELS = [
    ("kitchen", None),
    ("living_room-2", None),
    ("", "is empty"),
    ("Kitchen", "may hold only"),
    ("küche", "may hold only"),
    ("a/b", "may hold only"),
    ("+", "may hold only"),
    ("kitchen\n", "may hold only"),
    ("devices", "is reserved"),
    ("hub", "is reserved"),
    ("set", "is reserved"),
    ("availability", "is reserved"),
    ("homeassistant", "is reserved"),
    ("x" * 64, None),
    ("x" * 65, "has 65 characters"),
]


@pytest.mark.parametrize(("level", "problem"), LEVELS)
def test_check_level(level, problem):
    if problem is None:
        check_level(level)
    else:
        with pytest.raises(ValueError, match=problem):
            check_level(level)


HOST_NAMES = [
    ("raspberrypi", "raspberrypi"),
    ("Kitchen-Pi.local", "kitchen-pi-local"),
    ("Küche", "k-che"),
    ("日本", "agent"),
    ("hub", "agent"),
    ("", "agent"),
    ("--", "agent"),
]


@pytest.mark.parametrize(("name", "level"), HOST_NAMES)
def test_host_name_becomes_a_level(name, level):
    assert legal_level(name, "agent") == level


@given(st.text(max_size=200))
def test_any_name_becomes_a_legal_level(name):
    check_level(legal_level(name, "agent"))


def test_topics_of_a_reading():
    assert state_topic("home", "kitchen", None, "temperature") == "home/kitchen/temperature"
    assert state_topic("home", "kitchen", "fridge", "temperature") == "home/kitchen/fridge/temperature"
    assert command_topic("home/kitchen/relay") == "home/kitchen/relay/set"


def test_topics_of_an_agent():
    topics = AgentTopics("home", "house")
    assert topics.availability == "home/devices/house/availability"
    assert topics.about == "home/devices/house/about"
    assert topics.backlog == "home/devices/house/backlog"
    assert topics.health == "home/devices/house/health"
    assert topics.sensor_availability("door") == "home/devices/house/door/availability"


PAYLOADS = [
    (21.4, None, "21.4"),
    (21.0, None, "21"),
    (21.04, 1, "21.0"),
    (-0.04, 1, "0.0"),
    (-0.0, None, "0"),
    (-3.25, 2, "-3.25"),
    (0.1 + 0.2, None, "0.3"),
    (16_777_216_000.0, None, "16777216000"),
    (7, 0, "7"),
    (True, None, "ON"),
    (False, 1, "OFF"),
    ("press", None, "press"),
]


@pytest.mark.parametrize(("value", "decimals", "payload"), PAYLOADS)
def test_payload(value, decimals, payload):
    assert payload_of(value, decimals) == payload


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_a_payload(value):
    with pytest.raises(ValueError, match="is no reading"):
        payload_of(value, 1)


@given(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.integers(0, 6))
def test_number_payload_reads_back(value, decimals):
    read = float(payload_of(value, decimals))
    assert read == pytest.approx(value, rel=1e-11, abs=0 if decimals is None else 10**-decimals)


COMMANDS = [
    (b"ON", None, True),
    (b"OFF", True, False),
    (b"off", None, False),
    (b" ON\n", None, True),
    (b"TOGGLE", True, False),
    (b"TOGGLE", False, True),
]


@pytest.mark.parametrize(("payload", "present", "on"), COMMANDS)
def test_command(payload, present, on):
    assert command_of(payload, present) is on


@pytest.mark.parametrize("payload", [b"", b"1", b"on please", b"\xff\xfe", b"ON" * 100, b"ON" + b" " * 40 + b"please"])
def test_unknown_command_is_refused(payload):
    with pytest.raises(ValueError, match="is no command"):
        command_of(payload, True)


def test_toggle_needs_the_present_state():
    with pytest.raises(ValueError, match="present state is not known"):
        command_of(b"TOGGLE", None)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"1", '"1" is no command; '),
        (b"", "an empty message is no command; "),
        (b"on!\n", '"on!\N{REPLACEMENT CHARACTER}" is no command; '),
        (b"x" * 40, f'"{"x" * 32}…" is no command; '),
    ],
)
def test_a_command_is_shown_as_it_was_typed(payload, words):
    with pytest.raises(ValueError, match="is no command") as refused:
        command_of(payload, present=True)
    assert str(refused.value).startswith(words)
