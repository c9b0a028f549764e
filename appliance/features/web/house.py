"""The house as the page shows it: messages go in, rooms with their values and devices come out. No I/O, no clock."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

from appliance.broker.message import Message
from appliance.devices import (
    ABOUT,
    AVAILABILITY,
    HEALTH,
    OFFLINE,
    ONLINE,
    Device,
    Measurement,
    Role,
    as_told,
    decode_health,
    device_topic,
)
from appliance.mqtt.errors import MqttError
from appliance.mqtt.properties import decode_properties

MAX_VALUES: Final = 5_000  # topics on one page; no person reads more, and a publisher of random topics ends here
MAX_DEVICES: Final = 1_000
MAX_TROUBLES: Final = 100  # failing sensors of one device, and characters of what is said of each
MAX_TROUBLE: Final = 300
MAX_VALUE_BYTES: Final = 256  # what a person reads at a glance; longer payloads are documents
FUTURE_S: Final = 5.0  # a publisher's clock may run ahead of ours by so much

DEVICES: Final = "devices"
NOT_VALUES: Final = frozenset({"set", "get", AVAILABILITY})
NOT_ROOMS: Final = frozenset({DEVICES, "hub"})
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
NO_VALUE: Final = frozenset({"", "nan", "-nan", "inf", "-inf", "infinity", "none", "null", "unknown", "unavailable"})
DOCUMENT: Final = ("{", "[", "<")
SWITCH_WORDS: Final = {"on": True, "off": False, "true": True, "false": False}


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One value on the page. `value` is a number, on or off, or the text of an event; None while unknown."""

    topic: str
    room: str
    label: str | None  # what tells two sensors of one kind apart
    kind: str
    name: str
    role: Role
    unit: str | None
    value: float | bool | str | None
    at: float | None  # when measured, else when heard; Unix seconds; None when nobody knows
    agent: str | None
    failing: bool  # its agent says that this sensor cannot be read, and perhaps why
    trouble: str
    command_topic: str | None
    interval_s: float | None


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. `online` is None as long as it has not said."""

    agent: str
    name: str
    online: bool | None
    sensors: int
    version: str
    model: str | None
    troubles: dict[str, str]  # failing sensors, and why; empty texts where the agent does not say


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot", tag_field="type"):
    """Everything the page shows, at the server's time `at`; `unshown` counts topics beyond the cap."""

    at: float
    site: str
    devices: list[DeviceState]
    values: list[Value]
    unshown: int


class Changes(msgspec.Struct, frozen=True, kw_only=True, tag="changes", tag_field="type"):
    """What is different since the last snapshot or changes; `gone` are topics that have no value any more."""

    at: float
    devices: list[DeviceState]
    values: list[Value]
    gone: list[str]


@dataclass(slots=True)
class Heard:
    """The last value of one topic."""

    value: float | bool | str
    at: float | None


class House:
    """What has been heard of one site. `take` collects, `changes` gives what is new since it was last asked."""

    def __init__(self, site: str, read: Callable[[Message], Device] = as_told) -> None:
        """`read` gives what an `about` says; ValueError."""
        self._site = site
        self._read = read
        self._devices: dict[str, Device] = {}
        self._online: dict[str, bool] = {}
        self._failing: set[str] = set()  # availability topics of single sensors
        self._troubles: dict[str, dict[str, str]] = {}  # of each agent: sensor -> why it is failing
        self._times: Mapping[str, float] = {}
        self._heard: dict[str, Heard] = {}
        self._sensors: dict[str, tuple[Device, Measurement]] = {}
        self._sensors_of: dict[str, list[str]] = {}  # availability topic of a sensor -> its values
        self._unshown: set[str] = set()
        self._changed: set[str] = set()
        self._changed_devices: set[str] = set()
        self._gone: set[str] = set()
        self._rebuilt = False

    def take(self, message: Message, at: float) -> None:
        """Learn from one message, heard at wall time `at`."""
        levels = message.topic.split("/")
        if levels[0] != self._site or len(levels) < 3 or "" in levels:
            return
        if levels[1] == DEVICES:
            self._take_device(message, levels)
        elif levels[1] not in NOT_ROOMS and levels[-1] not in NOT_VALUES:
            self._take_value(message, at)

    def learn_times(self, times: Mapping[str, float]) -> None:
        """Fill in when values were measured, where the message itself did not say."""
        self._times = times
        for topic, heard in self._heard.items():
            if heard.at is None and topic in times:
                heard.at = times[topic]
                self._changed.add(topic)
        # What is never retained was not heard, but there is a last time.
        self._changed.update(topic for topic in self._sensors if topic in times and topic not in self._heard)

    def snapshot(self, at: float) -> Snapshot:
        """Everything; the changes so far are in it."""
        self._settle()
        topics = self._heard.keys() | self._sensors.keys()
        return Snapshot(
            at=at,
            site=self._site,
            devices=[self._device(agent) for agent in sorted(self._devices.keys() | self._online.keys())],
            values=[self._value(topic) for topic in sorted(topics)],
            unshown=len(self._unshown),
        )

    def changes(self, at: float) -> Snapshot | Changes | None:
        """What is new; a whole snapshot when devices have been described anew; None when nothing is."""
        if self._rebuilt:
            return self.snapshot(at)
        if not (self._changed or self._changed_devices or self._gone):
            return None
        changes = Changes(
            at=at,
            devices=[self._device(agent) for agent in sorted(self._changed_devices)],
            values=[self._value(topic) for topic in sorted(self._changed)],
            gone=sorted(self._gone),
        )
        self._settle()
        return changes

    def _settle(self) -> None:
        self._changed.clear()
        self._changed_devices.clear()
        self._gone.clear()
        self._rebuilt = False

    def _take_device(self, message: Message, levels: list[str]) -> None:
        match levels[2:]:
            case [agent, leaf] if leaf == ABOUT:
                self._take_about(agent, message)
            case [agent, leaf] if leaf == AVAILABILITY:
                self._take_availability(agent, message.payload)
            case [agent, leaf] if leaf == HEALTH:
                self._take_health(agent, message.payload)
            case [_, _, leaf] if leaf == AVAILABILITY:
                self._take_sensor_availability(message)

    def _take_about(self, agent: str, message: Message) -> None:
        try:
            device = self._read(message) if message.payload else None
        except ValueError:
            return  # not one of our agents; its values are still shown by their topics
        if device == self._devices.get(agent) or (device and self._is_full_for(agent)):
            return
        if device is None:
            del self._devices[agent]
        else:
            self._devices[agent] = device
        self._sensors = {
            sensor.topic: (known, sensor) for known in self._devices.values() for sensor in known.sensors[:MAX_VALUES]
        }
        self._sensors_of = {}
        for topic, (_, sensor) in self._sensors.items():
            if sensor.availability_topic is not None:
                self._sensors_of.setdefault(sensor.availability_topic, []).append(topic)
        self._rebuilt = True

    def _take_availability(self, agent: str, payload: bytes) -> None:
        online = {ONLINE: True, OFFLINE: False}.get(payload)
        if online == self._online.get(agent) or (online is not None and self._is_full_for(agent)):
            return
        if online is None:
            del self._online[agent]
        else:
            self._online[agent] = online
        if agent in self._devices or agent in self._online:
            self._changed_devices.add(agent)
        else:
            self._rebuilt = True

    def _take_health(self, agent: str, payload: bytes) -> None:
        if agent not in self._troubles and len(self._troubles) >= MAX_DEVICES:
            return
        try:
            said = decode_health(payload) if payload else {}
        except ValueError:
            return
        failing = sorted((name, sensor.trouble) for name, sensor in said.items() if sensor.online is False)
        troubles = {name: why[:MAX_TROUBLE] for name, why in failing[:MAX_TROUBLES]}
        before = self._troubles.get(agent, {})
        if troubles == before:
            return
        self._troubles[agent] = troubles
        if agent in self._devices or agent in self._online:
            self._changed_devices.add(agent)
        for name in {name for name in troubles.keys() | before.keys() if troubles.get(name) != before.get(name)}:
            topic = device_topic(self._site, agent, f"{name}/{AVAILABILITY}")
            self._changed.update(self._sensors_of.get(topic, ()))

    def _take_sensor_availability(self, message: Message) -> None:
        topic = message.topic
        if message.payload == OFFLINE and len(self._failing) < MAX_VALUES:
            self._failing.add(topic)
        else:
            self._failing.discard(topic)
        self._changed.update(self._sensors_of.get(topic, ()))

    def _take_value(self, message: Message, at: float) -> None:
        topic = message.topic
        value = parse_value(message.payload)
        if value is None:
            self._unshown.discard(topic)
            if self._heard.pop(topic, None) is None:
                return
            if topic in self._sensors:
                self._changed.add(topic)
            else:
                self._changed.discard(topic)
                self._gone.add(topic)
            return
        if topic not in self._heard and len(self._heard) >= MAX_VALUES:
            if len(self._unshown) < MAX_VALUES:
                self._unshown.add(topic)
            return
        self._heard[topic] = Heard(value, measured_at(message, at))
        self._gone.discard(topic)
        self._changed.add(topic)

    def _is_full_for(self, agent: str) -> bool:
        known = self._devices.keys() | self._online.keys()
        return agent not in known and len(known) >= MAX_DEVICES

    def _device(self, agent: str) -> DeviceState:
        device = self._devices.get(agent)
        return DeviceState(
            agent=agent,
            name=(device and device.name) or agent,
            online=self._online.get(agent),
            sensors=len(device.sensors) if device else 0,
            version=device.version if device else "",
            model=device.model if device else None,
            troubles=self._troubles.get(agent, {}),
        )

    def _value(self, topic: str) -> Value:
        device, sensor = self._sensors.get(topic, (None, None))
        heard = self._heard.get(topic)
        levels = topic.split("/")
        failing = bool(sensor and sensor.availability_topic in self._failing)
        return Value(
            topic=topic,
            room=levels[1] if len(levels) > 2 else "",
            label="/".join(levels[2:-1]) or None,
            kind=sensor.kind if sensor else levels[-1],
            name=sensor.name if sensor else "",
            role=sensor.role if sensor else role_of(heard.value if heard else None),
            unit=sensor.unit if sensor else None,
            value=heard.value if heard else None,
            at=heard.at if heard else self._times.get(topic),
            agent=device.agent if device else None,
            failing=failing,
            trouble=self._trouble(device, sensor) if failing else "",
            # Only the value's own: who switches here may switch more than whoever wrote the about.
            command_topic=sensor.command_topic if sensor and sensor.command_topic == f"{topic}/set" else None,
            interval_s=sensor.interval_s if sensor else None,
        )

    def _trouble(self, device: Device | None, sensor: Measurement | None) -> str:
        if device is None or sensor is None or sensor.availability_topic is None:
            return ""
        return self._troubles.get(device.agent, {}).get(sensor.availability_topic.split("/")[-2], "")


def parse_value(payload: bytes) -> float | bool | str | None:
    """Give what a person reads in a payload: a finite number, on or off, a short text; None for anything else."""
    if not payload or len(payload) > MAX_VALUE_BYTES:
        return None
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return None
    switch = SWITCH_WORDS.get(text.lower())
    if switch is not None:
        return switch
    if NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    if not text.isprintable() or text[:1] in DOCUMENT or text.lower() in NO_VALUE:
        return None
    return text


def role_of(value: float | bool | str | None) -> Literal["sensor", "binary_sensor", "event"]:  # noqa: FBT001
    """Role of a value that no agent has described."""
    if isinstance(value, bool):
        return "binary_sensor"
    return "event" if isinstance(value, str) else "sensor"


def measured_at(message: Message, at: float) -> float | None:
    """When the value was measured: as its publisher says, else `at` when it is new, else nobody knows."""
    heard_at = None if message.retain else at
    if not message.properties:
        return heard_at
    try:
        said = dict(reversed(decode_properties(message.properties).user_property))
        if said.get("clock") == "unsynced":  # its clock has not been set since it started
            return heard_at
        moment = datetime.fromisoformat(said["time"])
    except (MqttError, KeyError, ValueError):
        return heard_at
    if moment.tzinfo is None:
        return heard_at
    return min(moment.timestamp(), at) if moment.timestamp() < at + FUTURE_S else heard_at
