"""Reads tests/vectors/*.toml: wire bytes beside the packet that they are, or the error that they deserve.

A file is named for its packet. `[[good]]` and `[[bad]]` rows have a name, the protocol levels that they hold for, and
hex bytes in pieces, a comment beside each. Good rows have the packet's fields, strings standing for bytes too;
`shortest = false` marks bytes that we read but would write shorter. Bad rows have the error's class and words of it.
Bytes that went wrong once stand in regressions.toml, each row with the name of its `packet_type`. properties.toml is
another kind of table: every property, and every place to put it.
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import NamedTuple

from appliance.mqtt import errors, packets
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, Version
from appliance.mqtt.wire import encode_varint

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
            stem = row.get("packet_type", path.stem)
            for level in row["versions"]:
                yield stem, row, Version(level), bytes.fromhex("".join(row["bytes"]))


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


# Every property in every place


def _properties():
    return tomllib.loads((VECTORS / "properties.toml").read_text(encoding="utf-8"))


def _packet(place, *properties):
    block = b"".join(properties)
    body = bytes.fromhex(place["fields"]) + encode_varint(len(block)) + block + bytes.fromhex(place["rest"])
    return bytes((place["first"],)) + encode_varint(len(body)) + body


def _pairs():
    """Each place and each property: what stands before it there, its identifier, its value."""
    table = _properties()
    for place in table["place"]:
        for row in table["property"]:
            before = row.get("only_with") or place.get("always", "")
            if row["name"] == "authentication_method":
                before = ""
            yield place, row, bytes.fromhex(before), bytes((row["identifier"],)), bytes.fromhex(row["bytes"])


def _may_repeat(place, row):
    return row.get("repeats", False) or place["name"] in row.get("repeats_in", ())


def _property_value(row, times):
    value = row["value"]
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return _value(row["name"], value * times if isinstance(value, list) else value)


def good_properties():
    """Every property where it may stand, and twice where it may: the packet's properties are given, not the packet."""
    for place, row, before, identifier, value in _pairs():
        if place["name"] not in row["places"]:
            continue
        for times in (1, 2) if _may_repeat(place, row) else (1,):
            expected = {row["name"]: _property_value(row, times)}
            if before:
                expected["authentication_method"] = "m"
            name = f"{row['name']} in {place['name']}, {times} times"
            data = _packet(place, before, (identifier + value) * times)
            yield Good(name, Version.MQTT_5, data, Properties(**expected), shortest=True)


def bad_properties():
    """Every property where it may not stand, twice where it may once, cut short, and with values it cannot have."""
    for place, row, before, identifier, value in _pairs():
        where = f"{row['name']} in {place['name']}"
        whole = identifier + value

        def bad(what, error, *properties, where=where, place=place, before=before):
            return Bad(f"{where}: {what}", Version.MQTT_5, _packet(place, before, *properties), error, "")

        if place["name"] not in row["places"]:
            yield bad("misplaced", errors.MalformedPacket, whole)
            continue
        if not _may_repeat(place, row):
            yield bad("twice", errors.ProtocolError, whole, whole)
        for size in range(1, len(whole)):
            yield bad(f"{size} bytes of {len(whole)}", errors.MalformedPacket, whole[:size])
        for hexed, error in row.get("bad", ()):
            yield bad(hexed, getattr(errors, error), identifier, bytes.fromhex(hexed))


def unknown_properties():
    """Every identifier that stands for nothing, in every place."""
    table = _properties()
    known = {row["identifier"] for row in table["property"]}
    for place in table["place"]:
        always = bytes.fromhex(place.get("always", ""))
        for identifier in sorted(set(range(0x80)) - known):
            name = f"property 0x{identifier:02X} in {place['name']}"
            data = _packet(place, always, bytes((identifier, 0, 0, 0, 0)))
            yield Bad(name, Version.MQTT_5, data, errors.MalformedPacket, "there is no property")
