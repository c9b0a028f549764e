"""What messages say: our agents' plain values, and what Tasmota, Zigbee2MQTT and Shelly send."""

import json
from math import isfinite

import pytest
from groups import AT, provenance, user_property
from hypothesis import given
from hypothesis import strategies as st

from appliance.mqtt.wire import Writer
from appliance.store import spelling
from appliance.store.readings import (
    BINARY,
    MAX_LEAVES,
    NUMBER,
    TEXT,
    Frame,
    Origin,
    bundled_topics,
    frame_of,
    is_recorded,
    plain,
    readings_of,
)
from appliance.store.templates import apart

ARRIVED = 1_790_000_000.0


def user_properties(**pairs):
    writer = Writer()
    for pair in pairs.items():
        writer.byte(0x26)
        writer.pair(pair)
    return bytes(writer.buffer)


def read(topic, payload, properties=b""):
    if isinstance(payload, dict | list):
        payload = json.dumps(payload).encode()
    return readings_of(topic, payload, properties, at=ARRIVED, site="home")


def values(topic, payload):
    return {
        value.topic: value.text if value.kind == "text" else (value.kind, value.value)
        for measured in read(topic, payload)
        for value in measured.values
    }


RECORDED = [
    ("home/kitchen/temperature", True),
    ("home/kitchen/left/temperature", True),
    ("home/hall/doorbell", True),
    ("home/kitchen/relay", True),
    ("home/kitchen/relay/set", False),
    ("home/devices/house/about", False),
    ("home/devices/house/availability", False),
    ("home/devices/house/kitchen/availability", False),
    ("home/devices/house/health", False),
    ("home/devices", False),
    ("home/devices/house/backlog", True),
    ("home/devices/house/kitchen/backlog", False),
    ("home/devices/backlog", False),
    ("home/devices//backlog", False),
    ("cabin/devices/house/about", True),  # another site is a stranger's topic like any other
    ("$SYS/broker/uptime", False),
    ("homie/lamp/$state", False),
    ("homeassistant/device/house/config", False),
    ("homeassistant/status", False),
    ("homeassistants/temperature", True),
    ("tele/plug/SENSOR", True),
    ("stat/plug/POWER", True),
    ("cmnd/plug/POWER", False),
    ("plug/cmnd/POWER", False),  # FullTopic %topic%/%prefix%/
    ("tasmota/discovery/5CCF7F000001/config", False),
    ("zigbee2mqtt/bedroom/window", True),
    ("zigbee2mqtt/bedroom/window/set", False),
    ("zigbee2mqtt/bedroom/window/set/state", False),
    ("zigbee2mqtt/bedroom/window/get", False),
    ("zigbee2mqtt/bridge/devices", False),
    ("shellies/shelly1pm-ba1936/relay/0", True),
    ("shellies/shelly1pm-ba1936/relay/0/command", False),
    ("shellies/command", False),
    ("shellyplus1pm-7c87ce/status/switch:0", True),
    ("shellyplus1pm-7c87ce/events/rpc", True),
    ("shellyplus1pm-7c87ce/rpc", False),
    ("shellyplus1pm-7c87ce/command/switch:0", False),
    ("/", True),
    ("rpc", False),
]


@pytest.mark.parametrize(("topic", "expected"), RECORDED)
def test_is_recorded(topic, expected):
    assert is_recorded(topic, "home") is expected


PLAIN = [
    (b"21.4", ("number", 21.4)),
    (b"-7", ("number", -7.0)),
    (b"+.5", ("number", 0.5)),
    (b" 1013.25\n", ("number", 1013.25)),
    (b"6.02e23", ("number", 6.02e23)),
    (b"ON", ("binary", 1.0)),
    (b"off", ("binary", 0.0)),
    (b"true", ("binary", 1.0)),
    (b"Offline", ("binary", 0.0)),
    (b"press", "press"),
    ("geöffnet".encode(), "geöffnet"),
    (b"21.4 \xc2\xb0C", "21.4 °C"),
    (b"1_000", "1_000"),  # Python's number, nobody else's
    (b"", None),
    (b"nan", None),
    (b"-inf", None),
    (b"1e999", None),
    (b"None", None),
    (b"unavailable", None),
    (b"\xff\xd8\xff\xe0", None),
    (b"a\x00b", None),
    (b"x" * 65, None),
    (b"1" * 100_000, None),
]


@pytest.mark.parametrize(("payload", "expected"), PLAIN, ids=lambda row: str(row)[:20])
def test_plain_payloads(payload, expected):
    topic = "home/kitchen/temperature"
    assert values(topic, payload) == ({} if expected is None else {topic: expected})


JSON = [
    pytest.param(
        "tele/plug/SENSOR",
        {
            "Time": "2026-11-22T20:05:51",  # local, without a zone: says nothing
            "ENERGY": {"TotalStartTime": "2026-01-01T08:00:00", "Total": 3.185, "Power": [12, 0], "Voltage": 231},
            "AM2301": {"Temperature": 22.6, "Humidity": 32.4},
            "Switch1": "ON",
            "TempUnit": "C",
        },
        {
            "tele/plug/SENSOR/ENERGY/Total": ("number", 3.185),
            "tele/plug/SENSOR/ENERGY/Power/0": ("number", 12.0),
            "tele/plug/SENSOR/ENERGY/Power/1": ("number", 0.0),
            "tele/plug/SENSOR/ENERGY/Voltage": ("number", 231.0),
            "tele/plug/SENSOR/AM2301/Temperature": ("number", 22.6),
            "tele/plug/SENSOR/AM2301/Humidity": ("number", 32.4),
            "tele/plug/SENSOR/Switch1": ("binary", 1.0),
        },
        id="Tasmota SENSOR",
    ),
    pytest.param(
        "tele/plug/STATE",
        {
            "Time": "2026-11-22T20:05:51",
            "Uptime": "0T00:10:11",
            "UptimeSec": 611,
            "SleepMode": "Dynamic",
            "POWER": "OFF",
            "Wifi": {"AP": 1, "SSId": "attic", "Channel": 3, "RSSI": 44, "Signal": -78, "Downtime": "0T00:00:05"},
        },
        {
            "tele/plug/STATE/UptimeSec": ("number", 611.0),
            "tele/plug/STATE/POWER": ("binary", 0.0),
            "tele/plug/STATE/Wifi/AP": ("number", 1.0),
            "tele/plug/STATE/Wifi/Channel": ("number", 3.0),
            "tele/plug/STATE/Wifi/RSSI": ("number", 44.0),
            "tele/plug/STATE/Wifi/Signal": ("number", -78.0),
        },
        id="Tasmota STATE",
    ),
    pytest.param(
        "stat/plug/RESULT",
        {"Button1": {"Action": "SINGLE"}},
        {"stat/plug/RESULT/Button1/Action": "SINGLE"},
        id="Tasmota button",
    ),
    pytest.param(
        "zigbee2mqtt/bedroom/motion",
        {
            "battery": 97,
            "illuminance": 214,
            "last_seen": "2026-11-22T20:05:51+01:00",
            "linkquality": 83,
            "occupancy": True,
            "temperature": 19.9,
            "update": {"installed_version": -1, "latest_version": None, "state": None},
        },
        {
            "zigbee2mqtt/bedroom/motion/battery": ("number", 97.0),
            "zigbee2mqtt/bedroom/motion/illuminance": ("number", 214.0),
            "zigbee2mqtt/bedroom/motion/linkquality": ("number", 83.0),
            "zigbee2mqtt/bedroom/motion/occupancy": ("binary", 1.0),
            "zigbee2mqtt/bedroom/motion/temperature": ("number", 19.9),
            "zigbee2mqtt/bedroom/motion/update/installed_version": ("number", -1.0),
        },
        id="Zigbee2MQTT motion",
    ),
    pytest.param(
        "zigbee2mqtt/desk lamp",
        {"state": "ON", "brightness": 215, "color": {"x": 0.46, "y": 0.41}, "color_mode": "color_temp"},
        {
            "zigbee2mqtt/desk lamp/state": ("binary", 1.0),
            "zigbee2mqtt/desk lamp/brightness": ("number", 215.0),
            "zigbee2mqtt/desk lamp/color/x": ("number", 0.46),
            "zigbee2mqtt/desk lamp/color/y": ("number", 0.41),
        },
        id="Zigbee2MQTT lamp",
    ),
    pytest.param(
        "zigbee2mqtt/switch",
        {"action": "single", "linkquality": 120},
        {"zigbee2mqtt/switch/action": "single", "zigbee2mqtt/switch/linkquality": ("number", 120.0)},
        id="Zigbee2MQTT button",
    ),
    pytest.param("zigbee2mqtt/switch", {"action": ""}, {}, id="Zigbee2MQTT button let go"),
    pytest.param(
        "zigbee2mqtt/switch/availability",
        {"state": "online"},
        {"zigbee2mqtt/switch/availability/state": ("binary", 1.0)},
        id="Zigbee2MQTT availability",
    ),
    pytest.param(
        "shellies/shelly1pm-ba1936/relay/0",
        b"on",
        {"shellies/shelly1pm-ba1936/relay/0": ("binary", 1.0)},
        id="Shelly 1",
    ),
    pytest.param(
        "shellies/shelly1pm-ba1936/relay/0",
        b"overpower",
        {"shellies/shelly1pm-ba1936/relay/0": "overpower"},
        id="Shelly 1 trips",
    ),
    pytest.param(
        "shellies/shelly1pm-ba1936/relay/0/power",
        b"41.27",
        {"shellies/shelly1pm-ba1936/relay/0/power": ("number", 41.27)},
        id="Shelly 1 power",
    ),
    pytest.param(
        "shellies/shellyix3-aabbcc/input_event/0",
        {"event": "SS", "event_cnt": 7},
        {
            "shellies/shellyix3-aabbcc/input_event/0/event": "SS",
            "shellies/shellyix3-aabbcc/input_event/0/event_cnt": ("number", 7.0),
        },
        id="Shelly 1 button",
    ),
    pytest.param(
        "shellyplus1pm-7c87ce/status/switch:0",
        {
            "id": 0,
            "source": "MQTT",
            "output": False,
            "apower": 8.9,
            "voltage": 237.5,
            "aenergy": {"total": 6.53, "by_minute": [45.1, 47.0, 88.3], "minute_ts": 1790000000},
            "temperature": {"tC": 23.5, "tF": 74.4},
        },
        {
            "shellyplus1pm-7c87ce/status/switch:0/id": ("number", 0.0),
            "shellyplus1pm-7c87ce/status/switch:0/output": ("binary", 0.0),
            "shellyplus1pm-7c87ce/status/switch:0/apower": ("number", 8.9),
            "shellyplus1pm-7c87ce/status/switch:0/voltage": ("number", 237.5),
            "shellyplus1pm-7c87ce/status/switch:0/aenergy/total": ("number", 6.53),
            "shellyplus1pm-7c87ce/status/switch:0/aenergy/by_minute/0": ("number", 45.1),
            "shellyplus1pm-7c87ce/status/switch:0/aenergy/by_minute/1": ("number", 47.0),
            "shellyplus1pm-7c87ce/status/switch:0/aenergy/by_minute/2": ("number", 88.3),
            "shellyplus1pm-7c87ce/status/switch:0/aenergy/minute_ts": ("number", 1790000000.0),
            "shellyplus1pm-7c87ce/status/switch:0/temperature/tC": ("number", 23.5),
            "shellyplus1pm-7c87ce/status/switch:0/temperature/tF": ("number", 74.4),
        },
        id="Shelly 2 status",
    ),
    pytest.param(
        "shellyplusht-b8d61a/events/rpc",
        {
            "src": "shellyplusht-b8d61a",
            "dst": "shellyplusht-b8d61a/events",
            "method": "NotifyStatus",
            "params": {"ts": 1790000000.62, "humidity:0": {"id": 0, "rh": 42.2}, "cloud": {"connected": False}},
        },
        {
            "shellyplusht-b8d61a/events/rpc/params/ts": ("number", 1790000000.62),
            "shellyplusht-b8d61a/events/rpc/params/humidity:0/id": ("number", 0.0),
            "shellyplusht-b8d61a/events/rpc/params/humidity:0/rh": ("number", 42.2),
            "shellyplusht-b8d61a/events/rpc/params/cloud/connected": ("binary", 0.0),
        },
        id="Shelly 2 notification",
    ),
    pytest.param("attic/node", b'{"t": NaN, "h": 41, "p": 1e999}', {"attic/node/h": ("number", 41.0)}, id="not finite"),
    pytest.param(
        "attic/node", [1, [2]], {"attic/node/0": ("number", 1.0), "attic/node/1/0": ("number", 2.0)}, id="array"
    ),
    pytest.param("attic/node", b'{"t": 21.4', {}, id="cut short"),
    pytest.param("attic/node", b"[" * 60_000, {}, id="deeper than any parser"),
    pytest.param("attic/node", b'{"a":' * 9 + b"1" + b"}" * 9, {}, id="deeper than we look"),
    pytest.param("attic/node", {"big": 10**400, "line\nbreak": 1, "\x00": 2}, {}, id="names and numbers nobody has"),
    pytest.param("attic/node", b'{"\\ud800": 1, "t": 2}', {"attic/node/t": ("number", 2.0)}, id="half a surrogate"),
    pytest.param("attic/node", {"t": "x" * 66_000, "h": 1}, {}, id="longer than a reading"),
]


@pytest.mark.parametrize(("topic", "payload", "expected"), JSON)
def test_foreign_payloads(topic, payload, expected):
    assert values(topic, payload) == expected


def test_leaves_are_counted():
    assert len(values("attic/node", {str(n): n for n in range(MAX_LEAVES + 10)})) == MAX_LEAVES
    rows = [[n] * 20 for n in range(MAX_LEAVES)]
    assert len(values("attic/node", rows)) == MAX_LEAVES


def test_a_foreign_reading_has_the_time_of_its_arrival_and_no_origin():
    (measured,) = read("attic/node", b"1")
    assert measured.at == ARRIVED
    assert measured.origin is measured.quality is measured.clock is None


PROVENANCE = {
    "agent": "house",
    "run": "r1",
    "seq": "12",
    "time": "2026-11-22T20:05:51.125Z",
    "quality": "ok",
    "clock": "synced",
}


def test_provenance_of_an_agent():
    (measured,) = read("home/kitchen/temperature", b"21.4", user_properties(**PROVENANCE))
    assert measured.at == 1795377951.125
    assert measured.origin == Origin("house", "r1", 12)
    assert (measured.quality, measured.clock) == ("ok", "synced")


ODD_PROVENANCE = [
    ({"seq": "-1"}, "origin"),
    ({"seq": "1.5"}, "origin"),
    ({"seq": "٣"}, "origin"),
    ({"seq": str(2**62 + 1)}, "origin"),
    ({"seq": "9" * 5000}, "origin"),
    ({"run": ""}, "origin"),
    ({"agent": "x" * 65}, "origin"),
    ({"time": "yesterday"}, "time"),
    ({"time": "2026-11-22T20:05:51"}, "time"),  # no zone
    ({"time": "0001-01-01T00:00:00+23:59"}, "time"),
    ({"time": "1969-12-31T23:59:59Z"}, "time"),
]


@pytest.mark.parametrize(("change", "unusable"), ODD_PROVENANCE, ids=str)
def test_odd_provenance_costs_itself_and_never_the_value(change, unusable):
    (measured,) = read("home/kitchen/temperature", b"21.4", user_properties(**{**PROVENANCE, **change}))
    assert measured.values[0].value == 21.4
    assert (measured.origin is None) is (unusable == "origin")
    assert (measured.at == ARRIVED) is (unusable == "time")


def test_other_properties_stand_beside_the_user_properties():
    content_type = b"\x03\x00\x0aapplication"[: 3 + 10]
    (measured,) = read("home/kitchen/temperature", b"1", content_type + user_properties(**PROVENANCE))
    assert measured.origin == Origin("house", "r1", 12)


def test_of_several_user_properties_of_one_name_the_first_counts():
    (measured,) = read("home/kitchen/temperature", b"1", user_properties(**PROVENANCE) + user_properties(seq="99"))
    assert measured.origin == Origin("house", "r1", 12)


@pytest.mark.parametrize("cut", range(1, len(user_properties(seq="1", run="r1"))))
def test_properties_that_end_too_soon_make_no_sense(cut):
    block = user_properties(agent="house") + user_properties(seq="1", run="r1")[:-cut]
    (measured,) = read("home/kitchen/temperature", b"1", block)
    assert measured.origin is None


ENTRY = {"topic": "home/kitchen/temperature", "value": 21.4, "time": "2026-11-22T20:05:51Z", "seq": 7}


def backlog(*entries, **said):
    said = {"run": "r1", **said}
    return read("home/devices/house/backlog", list(entries), user_properties(**said))


def test_a_backlog_is_many_readings_of_the_agent_in_its_topic():
    first, second, third = backlog(
        ENTRY,
        {**ENTRY, "topic": "home/hall/door", "value": "ON", "seq": 8, "quality": "suspect", "clock": "unsynced"},
        {**ENTRY, "topic": "home/hall/doorbell", "value": "press", "seq": 9, "time": "later"},
        agent="somebody-else",
    )
    assert first.at == 1795377951.0
    assert first.origin == Origin("house", "r1", 7)
    assert first.values[0][:3] == ("home/kitchen/temperature", "number", 21.4)
    assert second.values[0][:3] == ("home/hall/door", "binary", 1.0)
    assert (second.quality, second.clock) == ("suspect", "unsynced")
    assert third.values[0].text == "press"
    assert third.at == ARRIVED


BAD_ENTRIES = [
    7,
    {"topic": 7, "value": 1},
    {"topic": "home/kitchen/temperature"},
    {"topic": "home/kitchen/temperature", "value": None},
    {"topic": "home/kitchen/temperature", "value": {"nested": 1}},
    {"topic": "home/kitchen/temperature", "value": "nan"},
    {"topic": "home/kitchen/relay/set", "value": "ON"},
    {"topic": "home/devices/house/backlog", "value": 1},
    {"topic": "cabin/kitchen/temperature", "value": 1},
    {"topic": "home/kitchen/temp\nerature", "value": 1},
    {"topic": "home/" + "x" * 600, "value": 1},
]


@pytest.mark.parametrize("entry", BAD_ENTRIES, ids=str)
def test_one_bad_entry_costs_itself_and_not_the_others(entry):
    assert [measured.origin.seq for measured in backlog(entry, ENTRY)] == [7]


def test_a_backlog_without_a_run_still_counts():
    (measured,) = read("home/devices/house/backlog", [ENTRY])
    assert measured.origin is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[", b"[" * 2_000_000])
def test_no_backlog(payload):
    assert read("home/devices/house/backlog", payload) == []


@given(
    topic=st.sampled_from(["home/kitchen/temperature", "home/devices/house/backlog", "x", "", "a\nb", "\u200b"]),
    payload=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    properties=st.one_of(
        st.binary(max_size=60),
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(PROVENANCE, st.text(st.characters(codec="utf-8"), max_size=12))
        ).map(lambda pairs: user_properties(**pairs)),
    ),
)
def test_any_bytes_give_only_what_the_database_can_hold(topic, payload, properties):
    for measured in readings_of(topic, payload, properties, at=ARRIVED, site="home"):
        assert isfinite(measured.at)
        assert measured.values
        for value in measured.values:
            assert value.topic.isprintable()
            assert (value.text is None) is (value.kind != "text")
            assert (value.value is not None) is (value.kind != "text")
            assert value.value is None or isfinite(value.value)
        if measured.origin is not None:
            assert 0 <= measured.origin.seq <= 2**62


@given(st.text(), st.text(max_size=5))
def test_any_topic_can_be_judged(topic, site):
    assert is_recorded(topic, site) in (True, False)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.4", (NUMBER, 21400, spelling.PLAIN | spelling.FLOAT | 1 << spelling.FIXED)),
        (b" 7\n", (NUMBER, 7000, spelling.OTHER)),
        (b"0.0001", (NUMBER, 0.0001, spelling.PLAIN | spelling.FLOAT | 1 << spelling.FIXED + 3)),
        (b"ON", (BINARY, 1000, spelling.ON_OFF)),
        (b"single", (TEXT, "single", spelling.PLAIN)),
        (b"nan", None),
        (b" [1]", None),
        (b"{}", None),
        (b"\xff", None),
        (b"1" * 65, None),
    ],
)
def test_a_plain_payload_as_it_is_stored(payload, expected):
    assert plain(payload) == expected


def test_what_all_blocks_of_an_agent_say():
    block = provenance(7, AT)
    assert frame_of(block, apart(block)) == Frame(("house", "0a1b2c3d4e5f"), "ok", "synced")
    block = user_property("seq", "7") + user_property("time", "2026-11-22T20:05:51.125Z")
    assert frame_of(block, apart(block)) == Frame()


TIME = user_property("time", "2026-11-22T20:05:51.125Z")
SLY = [
    user_property("a", user_property("seq", "7").decode() + "b") + TIME,
    user_property("seq", "7") + user_property("a", TIME.decode() + "b"),
    TIME + user_property("seq", "7") + TIME,
    provenance(7, AT)[:-1],
]


@pytest.mark.parametrize("block", SLY)
def test_blocks_that_may_differ_in_more_than_number_and_time(block):
    assert apart(block) is not None
    assert frame_of(block, apart(block)) is None


def test_the_topics_of_a_backlog_are_those_that_it_may_bring_readings_of():
    topics = ["home/attic/x", "home/attic/x", "home/hall/y", "other/hall/y", "home/devices/house/x", "home/hall/y/set"]
    payload = json.dumps([*({"topic": topic, "value": 1} for topic in topics), {"topic": 1}, "home/a/b"]).encode()
    assert bundled_topics(payload, "home") == {"home/attic/x", "home/hall/y"}
    for bad in (b"", b"{}", b"\xff", b"[", b"[" * 100_000):
        assert bundled_topics(bad, "home") == set()
