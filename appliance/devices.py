"""What an agent says about itself: the retained `about` message and its two directions.

An agent publishes one `about` on `<site>/devices/<agent>/about`; the page, the history and discovery read it.
"""

from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from appliance.encoding import from_json, to_json

AVAILABILITY = "availability"
ABOUT = "about"
HEALTH = "health"
ONLINE = b"online"
OFFLINE = b"offline"

Role = Literal["sensor", "binary_sensor", "switch", "event"]


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reading that an agent publishes, or one actuator that it obeys."""

    topic: Annotated[str, Meta(description="Topic of the reading or of the actuator's state.")]
    kind: Annotated[str, Meta(description="What is measured: temperature, humidity, motion, door, relay …")]
    name: Annotated[str, Meta(description="For people, any language.")] = ""
    role: Annotated[Role, Meta(description="A number, ON or OFF, something to switch, or a passing event.")] = "sensor"
    unit: Annotated[str | None, Meta(description="Unit of a number, such as °C; none for ON and OFF.")] = None
    interval_s: Annotated[float | None, Meta(description="Seconds between readings; none where an edge decides.")] = (
        None
    )
    command_topic: Annotated[str | None, Meta(description="Where an actuator takes ON and OFF.")] = None
    availability_topic: Annotated[str | None, Meta(description="`offline` while this sensor alone is failing.")] = None
    model: str | None = None
    serial_number: str | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent and everything it reads or switches."""

    agent: Annotated[str, Meta(description="Level of the agent below <site>/devices/.")]
    site: str
    name: Annotated[str, Meta(description="For people, any language.")] = ""
    version: str = ""
    model: str | None = None
    serial_number: str | None = None
    sensors: tuple[Measurement, ...] = ()


class SensorHealth(msgspec.Struct, frozen=True):
    """One sensor's part of a `health` message; `trouble` is for people, `cause` a word or two."""

    online: bool | None = None
    cause: str = ""
    trouble: str = ""


class _Health(msgspec.Struct, frozen=True):
    sensors: dict[str, SensorHealth] = {}


def device_topic(site: str, agent: str, leaf: str) -> str:
    """Topic of what an agent says about itself."""
    return f"{site}/devices/{agent}/{leaf}"


def encode_about(device: Device) -> bytes:
    """Give the payload of the device's `about` topic."""
    return to_json(device)


def decode_about(payload: bytes) -> Device:
    """Read an `about` payload; ValueError says what is wrong with it. Unknown keys are a newer agent's and pass."""
    try:
        return from_json(payload, Device)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an about message: {error}") from error


def narrowed(device: Device, takes: Callable[[str], bool], agent: str = "") -> Device:
    """Give it with those sensors alone whose topic is taken, and as another agent's where one is named."""
    sensors = tuple(sensor for sensor in device.sensors if takes(sensor.topic))
    return replace(device, agent=agent or device.agent, sensors=sensors)


class Carrier(Protocol):
    """A message."""

    payload: bytes


def as_told(message: Carrier) -> Device:
    """Read an `about` as it is, whoever has published it; ValueError as above."""
    return decode_about(message.payload)


def decode_health(payload: bytes) -> dict[str, SensorHealth]:
    """Read of a `health` payload how each configured sensor does; ValueError says what is wrong with it."""
    try:
        return from_json(payload, _Health).sensors
    except msgspec.DecodeError as error:
        raise ValueError(f"not a health message: {error}") from error
