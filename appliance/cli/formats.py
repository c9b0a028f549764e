"""How `appliance sub` prints a message: Mosquitto's formats."""

import argparse
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from paho.mqtt.client import MQTTMessage

from appliance.exits import CommandError, Exit

FIELD = re.compile(rb"%(.)|\\(.)", re.DOTALL)
ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"a": b"\a", b"e": b"\x1b", b"\\": b"\\"}
FIELDS = b"%tpxXlqrmIUjJ"


def check_format(text: str) -> None:
    """Raise CommandError unless every field of -F is known."""
    raw = text.encode(errors="surrogateescape")
    for field, escape in FIELD.findall(raw):
        if field and field not in FIELDS:
            raise CommandError(
                f"-F: %{field.decode(errors='replace')} is unknown; use one of %t %p %x %X %l %q %r %m %I %U %j %J %%",
                Exit.USAGE,
            )
        if escape and escape not in ESCAPES:
            raise CommandError(
                f"-F: \\{escape.decode(errors='replace')} is unknown; write \\\\ for a backslash", Exit.USAGE
            )
    if FIELD.sub(b"", raw).endswith((b"%", b"\\")):
        raise CommandError(f"-F ends with {text[-1]}; write it twice to print it", Exit.USAGE)


def rendered(message: MQTTMessage, arguments: argparse.Namespace, at: float, *, is_terminal: bool = False) -> bytes:
    """Give what is printed for a message that came at wall time `at`."""
    end = b"\n" if arguments.newline else b""
    if arguments.format is not None:
        raw = arguments.format.encode(errors="surrogateescape")
        line = FIELD.sub(lambda found: _field(found, message, at, is_terminal=is_terminal), raw)
    else:
        line = _payload(message, is_terminal=is_terminal)
        if arguments.verbose:
            line = message.topic.encode() + b" " + line
    return line + end


def _field(found: re.Match[bytes], message: MQTTMessage, at: float, *, is_terminal: bool) -> bytes:
    field, escape = found.groups()
    if escape:
        return ESCAPES[escape]
    if field == b"p":
        return _payload(message, is_terminal=is_terminal)
    say = TEXTS[field.decode()]
    return say(message, at).encode()


def _payload(message: MQTTMessage, *, is_terminal: bool) -> bytes:
    """Give the payload as it is, or on a terminal what cannot steer it."""
    if not is_terminal:
        return bytes(message.payload)
    text = message.payload.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text).encode()


def iso_time(at: float) -> str:
    """Local time with its zone, as Mosquitto writes it."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="microseconds")


def as_json(message: MQTTMessage, at: float, payload: Any) -> str:
    """Give Mosquitto's JSON of a message."""
    fields: dict[str, Any] = {
        "tst": iso_time(at),
        "topic": message.topic,
        "qos": message.qos,
        "retain": int(message.retain),
    }
    if message.qos:
        fields["mid"] = message.mid
    if pairs := getattr(message.properties, "UserProperty", None):
        fields["properties"] = {"user-properties": dict(pairs)}
    return json.dumps({**fields, "payloadlen": len(message.payload), "payload": payload}, ensure_ascii=False)


def _json_payload(message: MQTTMessage) -> Any:
    try:
        return json.loads(message.payload)
    except ValueError:
        return _text(message)


def _text(message: MQTTMessage) -> str:
    return message.payload.decode("utf-8", "backslashreplace")


TEXTS: dict[str, Callable[[MQTTMessage, float], str]] = {
    "%": lambda _message, _at: "%",
    "t": lambda message, _at: message.topic,
    "x": lambda message, _at: message.payload.hex(),
    "X": lambda message, _at: message.payload.hex().upper(),
    "l": lambda message, _at: str(len(message.payload)),
    "q": lambda message, _at: str(message.qos),
    "r": lambda message, _at: str(int(message.retain)),
    "m": lambda message, _at: str(message.mid),
    "I": lambda _message, at: iso_time(at),
    "U": lambda _message, at: f"{at:.6f}",
    "j": lambda message, at: as_json(message, at, _text(message)),
    "J": lambda message, at: as_json(message, at, _json_payload(message)),
}
