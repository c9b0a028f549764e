import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.message import Message
from appliance.devices import Device, Measurement, encode_about
from appliance.features.web import house as house_module
from appliance.features.web.house import Changes, House, Snapshot, measured_at, parse_value, role_of
from appliance.mqtt.properties import Properties, encode_property_block

AT = 1_800_000_000.0
MEASURED = "2026-11-22T20:00:00Z"
MEASURED_AT = 1_795_377_600.0

PAYLOADS = [
    (b"21.4", 21.4),
    (b"-3", -3.0),
    (b".5", 0.5),
    (b"1e3", 1000.0),
    (b" 21.4\n", 21.4),
    (b"ON", True),
    (b"off", False),
    (b"true", True),
    (b"press", "press"),
    (b"long_press", "long_press"),
    ("Tür zu".encode(), "Tür zu"),
    (b"", None),  # a cleared topic
    (b"nan", None),
    (b"inf", None),
    (b"1e999", None),
    (b"None", None),
    (b"unavailable", None),
    (b'{"a":1}', None),  # a document, not a value
    (b"[1]", None),
    (b"\xff\x00", None),
    (b"line\nbreak", None),
    (b"x" * 257, None),
]

DEVICE = Device(
    agent="attic",
    site="home",
    name="Attic node",
    version="1.0",
    sensors=(
        Measurement(topic="home/attic/temperature", kind="temperature", unit="°C", name="Dachboden", interval_s=30.0),
        Measurement(
            topic="home/attic/relay",
            kind="relay",
            role="switch",
            command_topic="home/attic/relay/set",
            availability_topic="home/devices/attic/relay/availability",
        ),
    ),
)


def retained(topic, payload, properties=b""):
    return Message(topic, payload, 1, True, properties)


def live(topic, payload, properties=b""):
    return Message(topic, payload, 1, False, properties)


def said(**pairs):
    return encode_property_block(Properties(user_property=tuple(pairs.items())))


def by_topic(snapshot):
    return {value.topic: value for value in snapshot.values}


@pytest.mark.parametrize(("payload", "expected"), PAYLOADS)
def test_payload_as_a_person_reads_it(payload, expected):
    value = parse_value(payload)
    assert value == expected
    assert type(value) is type(expected)


@given(st.binary(max_size=300))
def test_any_payload_is_a_value_or_none_and_can_be_sent(payload):
    msgspec.json.encode(parse_value(payload))


ROLES = [(1.5, "sensor"), (True, "binary_sensor"), ("press", "event"), (None, "sensor")]


@pytest.mark.parametrize(("value", "role"), ROLES)
def test_role_of_a_value_nobody_described(value, role):
    assert role_of(value) == role


TIMES = [
    (live, {}, AT),  # heard now
    (retained, {}, None),  # from before: nobody knows when
    (retained, {"time": MEASURED}, MEASURED_AT),
    (live, {"time": MEASURED}, MEASURED_AT),
    (live, {"time": MEASURED, "clock": "unsynced"}, AT),
    (retained, {"time": MEASURED, "clock": "unsynced"}, None),
    (live, {"time": "yesterday"}, AT),
    (live, {"time": "2026-11-22T20:00:00"}, AT),  # without a zone it is not a time
    (retained, {"time": "2999-01-01T00:00:00Z"}, None),  # not yet
    (live, {"other": "x"}, AT),
]


@pytest.mark.parametrize(("make", "pairs", "expected"), TIMES)
def test_when_a_value_was_measured(make, pairs, expected):
    assert measured_at(make("home/a/b", b"1", said(**pairs) if pairs else b""), AT) == expected


def test_broken_properties_count_as_none():
    assert measured_at(live("home/a/b", b"1", b"\xff\xff"), AT) == AT


def test_a_room_needs_no_description():
    house = House("home")
    house.take(retained("home/kitchen/temperature", b"21.4"), AT)
    (value,) = house.snapshot(AT).values
    assert (value.room, value.kind, value.role, value.value, value.unit) == (
        "kitchen",
        "temperature",
        "sensor",
        21.4,
        None,
    )


def test_a_label_stands_between_room_and_measurement():
    house = House("home")
    house.take(retained("home/kitchen/fridge/temperature", b"4"), AT)
    assert house.snapshot(AT).values[0].label == "fridge"


def test_about_gives_names_units_and_the_switch_before_any_value():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    values = by_topic(house.snapshot(AT))
    assert values["home/attic/temperature"].unit == "°C"
    assert values["home/attic/temperature"].name == "Dachboden"
    assert values["home/attic/temperature"].value is None
    assert values["home/attic/relay"].command_topic == "home/attic/relay/set"
    assert values["home/attic/relay"].role == "switch"
    assert house.snapshot(AT).devices[0].name == "Attic node"


def test_no_about_makes_the_page_switch_something_else():
    house = House("home")
    sly = Measurement(topic="home/hall/lamp", kind="lamp", role="switch", command_topic="home/garage/door/set")
    house.take(
        retained("home/devices/attic/about", encode_about(Device(agent="attic", site="home", sensors=(sly,)))), AT
    )
    assert by_topic(house.snapshot(AT))["home/hall/lamp"].command_topic is None


NOT_SHOWN = [
    "home/kitchen/relay/set",
    "home/kitchen/availability",
    "home/devices/attic/health",
    "home/devices/attic/backlog",
    "home/hub/load",
    "home//temperature",
    "home/temperature",
    "other/kitchen/temperature",
    "$SYS/broker/uptime",
]


@pytest.mark.parametrize("topic", NOT_SHOWN)
def test_what_is_no_reading_is_not_shown(topic):
    house = House("home")
    house.take(live(topic, b"1"), AT)
    assert house.changes(AT) is None
    assert house.snapshot(AT).values == []


def test_changes_hold_what_is_new_and_only_once():
    house = House("home")
    house.take(retained("home/a/t", b"1"), AT)
    house.take(retained("home/b/t", b"1"), AT)
    house.snapshot(AT)
    house.take(live("home/a/t", b"2"), AT)
    changes = house.changes(AT)
    assert isinstance(changes, Changes)
    assert [(value.topic, value.value) for value in changes.values] == [("home/a/t", 2.0)]
    assert house.changes(AT) is None


def test_an_emptied_topic_is_gone():
    house = House("home")
    house.take(retained("home/a/t", b"1"), AT)
    house.snapshot(AT)
    house.take(live("home/a/t", b""), AT)
    assert house.changes(AT).gone == ["home/a/t"]
    assert house.snapshot(AT).values == []


def test_an_emptied_topic_that_an_agent_describes_stays_without_value():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    house.take(retained("home/attic/temperature", b"1"), AT)
    house.snapshot(AT)
    house.take(live("home/attic/temperature", b""), AT)
    changes = house.changes(AT)
    assert changes.gone == []
    assert changes.values[0].value is None


def test_emptied_and_filled_again_before_anyone_asked():
    house = House("home")
    house.take(retained("home/a/t", b"1"), AT)
    house.snapshot(AT)
    house.take(live("home/a/t", b""), AT)
    house.take(live("home/a/t", b"2"), AT)
    changes = house.changes(AT)
    assert changes.gone == []
    assert changes.values[0].value == 2.0


def test_a_device_goes_offline():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    house.take(retained("home/devices/attic/availability", b"online"), AT)
    assert house.snapshot(AT).devices[0].online is True
    house.take(live("home/devices/attic/availability", b"offline"), AT)
    assert [(device.agent, device.online) for device in house.changes(AT).devices] == [("attic", False)]
    house.take(live("home/devices/attic/availability", b"offline"), AT)
    assert house.changes(AT) is None


def test_a_single_sensor_fails_and_recovers():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    house.snapshot(AT)
    house.take(live("home/devices/attic/relay/availability", b"offline"), AT)
    assert [(value.topic, value.failing) for value in house.changes(AT).values] == [("home/attic/relay", True)]
    house.take(live("home/devices/attic/relay/availability", b"online"), AT)
    assert house.changes(AT).values[0].failing is False


def health(**sensors):
    said = {name: {"online": why is None, "ok": 1, "trouble": why or ""} for name, why in sensors.items()}
    return msgspec.json.encode({"uptime_s": 5, "sensors": said})


def test_why_a_sensor_fails_is_told_at_its_values_and_at_its_device():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    house.take(retained("home/devices/attic/health", health(relay=None, dht=None)), AT)
    assert house.snapshot(AT).devices[0].troubles == {}
    house.take(live("home/devices/attic/relay/availability", b"offline"), AT)
    house.take(live("home/devices/attic/health", health(relay="GPIO17 is taken", dht="no pulses")), AT)
    changes = house.changes(AT)
    assert [(value.topic, value.trouble) for value in changes.values] == [("home/attic/relay", "GPIO17 is taken")]
    assert changes.devices[0].troubles == {"dht": "no pulses", "relay": "GPIO17 is taken"}
    house.take(live("home/devices/attic/health", health(relay="GPIO17 is taken", dht="no pulses")), AT)
    assert house.changes(AT) is None
    house.take(live("home/devices/attic/health", b"{"), AT)
    assert house.changes(AT) is None
    house.take(live("home/devices/attic/health", b""), AT)
    changes = house.changes(AT)
    assert changes.devices[0].troubles == {}
    assert changes.values[0].trouble == ""


def test_health_of_nobody_who_is_known_makes_no_device():
    house = House("home")
    house.take(live("home/devices/x/health", health(a="broken")), AT)
    assert house.changes(AT) is None
    assert house.snapshot(AT).devices == []


def test_the_last_time_of_an_event_is_known_though_it_is_never_retained():
    bell = Measurement(topic="home/hall/bell", kind="button", role="event")
    house = House("home")
    house.take(retained("home/devices/d/about", encode_about(Device(agent="d", site="home", sensors=(bell,)))), AT)
    house.snapshot(AT)
    house.learn_times({"home/hall/bell": AT - 60, "home/other/x": AT})
    (value,) = house.changes(AT).values
    assert (value.topic, value.value, value.at) == ("home/hall/bell", None, AT - 60)


def test_a_new_description_sends_everything_anew():
    house = House("home")
    house.take(retained("home/a/t", b"1"), AT)
    house.snapshot(AT)
    house.take(live("home/devices/attic/about", encode_about(DEVICE)), AT)
    assert isinstance(house.changes(AT), Snapshot)
    house.take(live("home/devices/attic/about", encode_about(DEVICE)), AT)
    assert house.changes(AT) is None  # the same again


def test_a_forgotten_device_disappears():
    house = House("home")
    house.take(retained("home/devices/attic/about", encode_about(DEVICE)), AT)
    house.take(retained("home/devices/attic/availability", b"offline"), AT)
    house.take(live("home/devices/attic/about", b""), AT)
    house.take(live("home/devices/attic/availability", b""), AT)
    changes = house.changes(AT)
    assert isinstance(changes, Snapshot)
    assert changes.devices == []
    assert changes.values == []


def test_a_broken_description_changes_nothing():
    house = House("home")
    house.take(retained("home/devices/attic/about", b"{broken"), AT)
    assert house.changes(AT) is None


def test_times_are_learned_for_values_that_did_not_say():
    house = House("home")
    house.take(retained("home/a/t", b"1"), AT)
    house.take(live("home/b/t", b"1"), AT)
    house.snapshot(AT)
    house.learn_times({"home/a/t": 5.0, "home/b/t": 6.0, "home/c/t": 7.0})
    assert [(value.topic, value.at) for value in house.changes(AT).values] == [("home/a/t", 5.0)]


def test_topics_beyond_the_cap_are_counted_and_not_kept(monkeypatch):
    monkeypatch.setattr(house_module, "MAX_VALUES", 2)
    monkeypatch.setattr(house_module, "MAX_DEVICES", 2)
    house = House("home")
    for number in range(5):
        house.take(live(f"home/a/t{number}", b"1"), AT)
        house.take(live(f"home/devices/d{number}/availability", b"online"), AT)
        house.take(live(f"home/devices/d{number}/about", encode_about(Device(agent=f"d{number}", site="home"))), AT)
        house.take(live(f"home/devices/d{number}/s/availability", b"offline"), AT)
        house.take(live(f"home/devices/d{number}/health", health(s="broken")), AT)
    snapshot = house.snapshot(AT)
    assert len(snapshot.values) == 2
    assert snapshot.unshown == 2
    assert len(snapshot.devices) == 2
    assert len(house._failing) == 2
    assert len(house._troubles) == 2


topics = st.sampled_from(
    ["home/a/t", "home/b/t", "home/attic/relay", "home/devices/attic/about", "home/devices/attic/availability",
     "home/devices/attic/relay/availability", "home/devices/attic/health"]
)  # fmt: skip
payloads = st.sampled_from(
    [
        b"",
        b"1",
        b"ON",
        b"online",
        b"offline",
        encode_about(DEVICE),
        health(relay="taken"),
        health(relay="burnt", dht=""),
    ]
)


@given(st.lists(st.tuples(topics, payloads, st.booleans())))
def test_a_viewer_who_applies_all_changes_sees_the_same_as_one_who_comes_later(steps):
    house = House("home")
    seen_values = {}
    seen_devices = {}
    for topic, payload, look in steps:
        house.take(live(topic, payload), AT)
        if look or (topic, payload, look) == steps[-1]:
            change = house.changes(AT)
            if change is None:
                continue
            if isinstance(change, Snapshot):
                seen_values, seen_devices = {}, {}
            else:
                for gone in change.gone:
                    seen_values.pop(gone, None)
            seen_values |= by_topic(change)
            seen_devices |= {device.agent: device for device in change.devices}
    last = house.changes(AT)
    if last is None:
        whole = house.snapshot(AT)
        assert seen_values == by_topic(whole)
        assert seen_devices == {device.agent: device for device in whole.devices}
