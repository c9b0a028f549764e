"""Reads tests/vectors/*.toml: wire bytes beside the packet that they are, or the error that they deserve.

A file is named for its packet. `[[good]]` and `[[bad]]` rows have a name, the protocol levels that they hold for, and
hex bytes in pieces, a comment beside each. Good rows have the packet's fields, strings standing for bytes too;
`shortest = false` marks bytes that we read but would write shorter. Bad rows have the error's class and words of it.
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import NamedTuple

from appliance.mqtt import errors, packets
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, Version

VECTORS = Path(__file__).parent / "vectors"
KINDS = {kind.__name__.lower(): kind for kind in packets.Packet.__args__}


class Good(NamedTuple):
    name: str
    version: Version
    data: bytes
    packet: packets.Packet
    shortest: bool


class Bad(NamedTuple):
    name: str
    version: Version
    data: bytes
    error: type[errors.MqttError]
    says: str


def _value(name, value):
    match name, value:
        case "properties", dict():
            return _build(Properties, value)
        case "will", dict():
            return _build(packets.Will, value)
        case "subscriptions", list():
            return tuple(_build(packets.Subscription, one) for one in value)
        case "qos", int():
            return QoS(value)
        case "payload" | "password" | "correlation_data" | "authentication_data", str():
            return value.encode()
        case "user_property", list():
            return tuple(map(tuple, value))
        case _, list():
            return tuple(value)
    return value


def _build(kind, table):
    names = {field.name for field in dataclasses.fields(kind)}
    assert set(table) <= names, f"{kind.__name__} has no {set(table) - names}"
    return kind(**{name: _value(name, value) for name, value in table.items()})


def _rows(section):
    for path in sorted(VECTORS.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8")).get(section, []):
            for level in row["versions"]:
                yield path.stem, row, Version(level), bytes.fromhex("".join(row["bytes"]))


def good():
    for stem, row, version, data in _rows("good"):
        table = row.get("packet", {}) | ({"version": version} if stem == "connect" else {})
        yield Good(
            f"{stem}: {row['name']} ({version.name})",
            version,
            data,
            _build(KINDS[stem], table),
            row.get("shortest", True),
        )


def bad():
    for stem, row, version, data in _rows("bad"):
        error = getattr(errors, row["error"])
        yield Bad(f"{stem}: {row['name']} ({version.name})", version, data, error, row["says"])
