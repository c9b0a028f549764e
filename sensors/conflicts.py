"""What the sensors of one agent cannot all have: names, topics and hardware of others. Each raises ConfigError."""

from collections.abc import Iterator
from typing import Any

from appliance.config import Document
from sensors.sensor_table import SensorConfig


def refuse_namesakes(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse two sensors of one name."""
    seen: dict[str, int] = {}
    for number, sensor in enumerate(sensors):
        if sensor.name in seen:
            raise document.error(
                ("sensor", number, "name"),
                f'sensor {seen[sensor.name] + 1} is already called "{sensor.name}"',
                "give each sensor a name of its own",
            )
        seen[sensor.name] = number


def refuse_shared_topics(document: Document, site: str, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse two sensors of one topic; what only drivers know the agent refuses as it builds them."""
    owners: dict[str, str] = {}
    for number, sensor in enumerate(sensors):
        for topic in sensor.topics(site):
            if (owner := owners.setdefault(topic, sensor.name)) != sensor.name:
                raise document.error(
                    ("sensor", number, "label"),
                    f'{topic} already is a topic of sensor "{owner}"',
                    "give one of the two a label of its own",
                )


def refuse_lonely_interlocks(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse a group of one: somebody thinks that two outputs exclude each other, and they do not."""
    groups = [getattr(sensor.options, "interlock", None) for sensor in sensors]
    for number, group in enumerate(groups):
        if group is not None and groups.count(group) == 1:
            raise document.error(
                ("sensor", number, "interlock"),
                f'nobody else is in the group "{group}", so that it excludes nothing',
                "give the other outputs the same name of a group, or remove the key",
            )


def refuse_shared_hardware(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse two sensors of one pin, chip or 1-Wire device: two rooms would tell the same, or one of them nothing."""
    owners: dict[tuple[object, ...], str] = {}
    for number, sensor in enumerate(sensors):
        for key, what, device in _hardware(sensor):
            if device in owners:
                problem = f'{what} is that of sensor "{owners[device]}" already'
                raise document.error(("sensor", number, key), problem, f"give each sensor its own `{key}`")
            owners[device] = sensor.name


def _hardware(sensor: SensorConfig) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Give what only one sensor can have, as far as the file tells it: key, words and which one it is."""
    options: Any = sensor.options
    addresses = getattr(sensor.driver, "addresses", ())
    if (pin := getattr(options, "pin", None)) is not None:
        yield "pin", f"GPIO{pin}", ("pin", pin)
    if hasattr(options, "id"):
        yield "id", options.id or "the only thermometer on the bus", ("1-wire", options.id)
    if addresses and (address := options.address or (addresses[0] if len(addresses) == 1 else None)) is not None:
        key = "address" if len(addresses) > 1 else "bus"
        yield key, f"the chip at {address:#04x} of bus {options.bus}", (options.bus, address)
