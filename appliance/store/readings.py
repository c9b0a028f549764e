"""What a message says, as readings: pure functions from topic, payload and properties to values with their origin.

Our agents send plain values with their provenance in MQTT 5 user properties. Everybody else is taken as they come:
plain numbers, words for on and off, events, and JSON whose leaves become series below the message's topic (Tasmota's
`tele/…/SENSOR`, Zigbee2MQTT's one object per device, Shelly's plain topics of the first generation and JSON of the
second).
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from math import inf, isfinite
from typing import NamedTuple

from appliance.mqtt.errors import MqttError
from appliance.mqtt.properties import decode_properties
from appliance.store.reading_rows import Stored, stored
from appliance.store.spelling import spellings
from appliance.store.templates import SEQ, TIME, Parts

NUMBER, BINARY, TEXT = "number", "binary", "text"

MAX_JSON_BYTES = 65_536
MAX_BACKLOG_BYTES = 1_048_576
MAX_DEPTH = 8
MAX_LEAVES = 256
MAX_TOPIC_CHARS = 512  # of a series: the message's topic and the path of a leaf
MAX_TEXT_CHARS = 64  # of an event or a state in words
MAX_NAME_CHARS = 64  # of an agent, a run, a quality
MAX_SEQ = 2**62  # the database counts to 2**63 - 1, and looks at the next number too
LARGEST = 1e308  # integers of JSON have no end
LAST_AT = 253_402_300_799  # end of the year 9999, the last that a time can be written in

# Levels where devices are spoken to: our own and Zigbee2MQTT's, Tasmota's, Shelly's and ESPHome's.
COMMAND_LEVELS = frozenset({"set", "get", "cmnd", "command"})
# What says how a home is wired rather than what is measured in it.
DESCRIPTIONS = ("homeassistant", "zigbee2mqtt/bridge", "tasmota/discovery")

ON_OFF = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0, "online": 1.0, "offline": 0.0}
NO_VALUE = frozenset({"", "nan", "none", "null", "unknown", "unavailable", "undefined", "inf", "-inf", "infinity"})
EVENT_KEYS = frozenset({"action", "event"})  # buttons: Zigbee2MQTT, Tasmota, Shelly
PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
USER_PROPERTY = 0x26  # MQTT 5 §3.3.2.3.7


class Origin(NamedTuple):
    """Where a reading comes from; the same one twice is the same reading twice."""

    agent: str
    run: str
    seq: int


class Value(NamedTuple):
    """One value for one series: a number (ON is 1, OFF is 0) or a text."""

    topic: str
    kind: str
    value: float | None
    text: str | None = None


class Frame(NamedTuple):
    """What the blocks of a run of readings say of all of them; origin: agent and run."""

    origin: tuple[str, str] | None = None
    quality: str | None = None
    clock: str | None = None


class Measured(NamedTuple):
    """What was measured at one moment; `at` is Unix seconds. None stands for what the publisher did not say."""

    at: float
    values: list[Value]
    quality: str | None = None
    clock: str | None = None
    origin: Origin | None = None


def is_recorded(topic: str, site: str) -> bool:
    """Whether the messages of a topic are history: states and events, not commands or descriptions."""
    levels = topic.split("/")
    if levels[0] == site and levels[1:2] == ["devices"]:
        return _is_backlog(levels)
    if any(topic == prefix or topic.startswith(f"{prefix}/") for prefix in DESCRIPTIONS):
        return False
    if any(level in COMMAND_LEVELS or level.startswith("$") for level in levels):
        return False
    return levels[-1] != "rpc" or levels[-2:-1] == ["events"]  # Shelly: calls to a device, but its events are states


def is_backlog(topic: str, site: str) -> bool:
    """Whether the messages of a topic hold readings of other topics, which an agent could not send in their time."""
    levels = topic.split("/")
    return levels[:2] == [site, "devices"] and _is_backlog(levels)


def bundled_topics(payload: bytes, site: str) -> set[str]:
    """Give the topics that a backlog holds readings of. Never raises, whatever the bytes."""
    return {topic for topic, _ in _entries(payload, site)}


def readings_of(topic: str, payload: bytes, properties: bytes, *, at: float, site: str) -> list[Measured]:
    """Take one message apart; nothing where it holds no reading. Never raises, whatever the bytes.

    `properties` is the MQTT 5 block without its length; `at` is when the message arrived, which stands where its
    publisher gave no time. A backlog gives one Measured per entry, any other message at most one.
    """
    said = _user_properties(properties)
    if is_backlog(topic, site):
        return list(_backlog(payload, agent=topic.split("/")[2], run=_name(said.get("run")), at=at, site=site))
    values = _values(topic, payload)
    if not values:
        return []
    origin = _origin(_name(said.get("agent")), _name(said.get("run")), said.get("seq"))
    measured_at = unix_time(said.get("time"))
    return [
        Measured(
            at=at if measured_at is None else measured_at,
            values=values,
            quality=_name(said.get("quality")),
            clock=_name(said.get("clock")),
            origin=origin,
        )
    ]


@lru_cache(maxsize=1_024)  # a home's values come again and again
def plain(payload: bytes) -> tuple[str, Stored, int] | None:
    """Kind, value as it is stored, and spellings of a payload that is one word or number; None of any other."""
    if len(payload) > MAX_TEXT_CHARS:
        return None
    found = _values("", payload) if payload.lstrip()[:1] not in (b"{", b"[") else []
    if not found:
        return None
    kind, value = found[0].kind, stored_value(found[0])
    return kind, value, spellings(payload, value, is_word=kind == BINARY)


def stored_value(value: Value) -> Stored:
    """Give the value as a row holds it."""
    return (value.text or "") if value.value is None else stored(value.value)


def frame_of(properties: bytes, parts: Parts) -> Frame | None:
    """Give what a block says that was taken apart at its sequence number and time, other than those.

    None where that is not certain to be the same for all blocks of this frame.
    """
    head, middle, tail = parts.frame
    before, between = head.removesuffix(SEQ), middle.removesuffix(TIME)
    said = _user_properties(properties)
    first, second = _user_properties(before), _user_properties(between)
    if said.get("seq") != str(parts.seq) or "time" not in said:
        return None
    if any(part and not _user_properties(part) for part in (before, between, tail)):
        return None
    if {"seq", "time"} & first.keys() or "time" in second:
        return None
    agent, run = _name(said.get("agent")), _name(said.get("run"))
    origin = None if agent is None or run is None else (agent, run)
    return Frame(origin, _name(said.get("quality")), _name(said.get("clock")))


def _is_backlog(levels: list[str]) -> bool:
    return len(levels) == 4 and levels[3] == "backlog" and levels[2] != ""


def _values(topic: str, payload: bytes) -> list[Value]:
    """Values of one payload, plain or JSON."""
    if len(payload) > MAX_JSON_BYTES or len(topic) > MAX_TOPIC_CHARS or not topic.isprintable():
        return []
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return []  # a picture, a firmware: not for us
    if text[:1] not in ("{", "["):
        value = _plain(topic, text)
        return [value] if value else []
    return list(_leaves(topic, _parse_json(text)))


def _plain(topic: str, text: str) -> Value | None:
    """Value of a payload that is one word or number."""
    if len(text) > MAX_TEXT_CHARS:
        return None
    if PLAIN_NUMBER.fullmatch(text):
        number = float(text)
        return Value(topic, NUMBER, number) if isfinite(number) else None
    word = text.lower()
    if word in ON_OFF:
        return Value(topic, BINARY, ON_OFF[word])
    if word in NO_VALUE or not text.isprintable():
        return None
    return Value(topic, TEXT, None, text)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)  # the standard one lets a NaN pass and keep its neighbours
    except (ValueError, RecursionError):
        return None


def _leaves(topic: str, root: object) -> Iterator[Value]:
    """Values of the leaves of a JSON object, each under the topic and its path; in the order they stand in."""
    found = 0
    waiting = [(topic, root, 0)]
    while waiting:
        path, node, depth = waiting.pop()
        if isinstance(node, dict | list):
            if depth < MAX_DEPTH:
                items = list(node.items() if isinstance(node, dict) else enumerate(node))[:MAX_LEAVES]
                waiting += [(f"{path}/{key}", child, depth + 1) for key, child in reversed(items)]
            continue
        value = _leaf(path, node)
        if value is None or len(path) > MAX_TOPIC_CHARS or not path.isprintable():
            continue
        yield value
        found += 1
        if found == MAX_LEAVES:
            return


def _leaf(path: str, leaf: object) -> Value | None:
    """Value of a JSON leaf: numbers, booleans, words for on and off, and the texts of events; no other text."""
    if isinstance(leaf, bool):
        return Value(path, BINARY, float(leaf))
    if isinstance(leaf, int | float):
        number = float(leaf) if -LARGEST < leaf < LARGEST else inf
        return Value(path, NUMBER, number) if isfinite(number) else None
    if isinstance(leaf, str) and (leaf.lower() in ON_OFF or path.rpartition("/")[2].lower() in EVENT_KEYS):
        return _plain(path, leaf)
    return None


def _backlog(payload: bytes, *, agent: str, run: str | None, at: float, site: str) -> Iterator[Measured]:
    """Take a backlog apart: readings that an agent could not send in their time, each with the time it was measured."""
    for topic, entry in _entries(payload, site):
        said = entry.get("value")
        value = _plain(topic, said.strip()) if isinstance(said, str) else _leaf(topic, said)
        if value is None:
            continue
        measured_at = unix_time(entry.get("time"))
        yield Measured(
            at=at if measured_at is None else measured_at,
            values=[value],
            quality=_name(entry.get("quality")),
            clock=_name(entry.get("clock")),
            origin=_origin(agent, run, entry.get("seq")),
        )


def _entries(payload: bytes, site: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Give the entries of a backlog that may be readings, with their topics."""
    if len(payload) > MAX_BACKLOG_BYTES:
        return
    try:
        entries = _parse_json(payload.decode())
    except UnicodeDecodeError:
        return
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        topic = entry.get("topic")
        # An agent speaks for its own site and for its readings only.
        if not isinstance(topic, str) or not topic.startswith(f"{site}/") or not is_recorded(topic, site):
            continue
        if topic.startswith(f"{site}/devices/") or len(topic) > MAX_TOPIC_CHARS or not topic.isprintable():
            continue
        yield topic, entry


def _user_properties(properties: bytes) -> dict[str, str]:
    """User properties by name, the first of each; empty where there are none or they make no sense."""
    said: dict[str, str] = {}
    start, end = 0, len(properties)
    try:
        while start < end:
            # Our agents send nothing but user properties, and those are read in place: it takes a third of the time.
            if properties[start] != USER_PROPERTY:
                return dict(reversed(decode_properties(properties).user_property))
            middle = start + 3 + (properties[start + 1] << 8 | properties[start + 2])
            stop = middle + 2 + (properties[middle] << 8 | properties[middle + 1])
            said.setdefault(properties[start + 3 : middle].decode(), properties[middle + 2 : stop].decode())
            start = stop
    except (IndexError, MqttError, ValueError):
        return {}
    return said if start == end else {}


def _origin(agent: str | None, run: str | None, seq: object) -> Origin | None:
    """Origin of a reading; None unless all three parts make sense."""
    if isinstance(seq, str) and seq.isascii() and seq.isdigit() and len(seq) < 20:
        seq = int(seq)
    if agent is None or run is None or not isinstance(seq, int) or isinstance(seq, bool):
        return None
    return Origin(agent, run, seq) if 0 <= seq <= MAX_SEQ else None


def _name(said: object) -> str | None:
    """Give back a short printable text, None for anything else."""
    if isinstance(said, str) and 0 < len(said) <= MAX_NAME_CHARS and said.isprintable():
        return said
    return None


def unix_time(said: object) -> float | None:
    """Unix seconds of an RFC 3339 time; None where it is missing, has no zone or is no time."""
    if not isinstance(said, str):
        return None
    try:
        moment = datetime.fromisoformat(said)
        at = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return at if moment.tzinfo is not None and 0 <= at <= LAST_AT else None
