"""What sub prints for a message."""

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
from paho.mqtt.client import MQTTMessage

from appliance.cli.formats import check_format, iso_time, rendered
from appliance.exits import CommandError

AT = 1_000_000_000.25


def message(payload=b"21.4", *, topic=b"home/kitchen/temperature", qos=1, retain=True, pairs=None):
    made = MQTTMessage(mid=7, topic=topic)
    made.payload, made.qos, made.retain = payload, qos, retain
    made.properties = SimpleNamespace(UserProperty=pairs) if pairs else None
    return made


def arguments(text=None, *, verbose=False, newline=True):
    return Namespace(format=text, verbose=verbose, newline=newline)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ({}, b"21.4\n"),
        ({"newline": False}, b"21.4"),
        ({"verbose": True}, b"home/kitchen/temperature 21.4\n"),
        ({"text": "%t=%p"}, b"home/kitchen/temperature=21.4\n"),
        ({"text": "%x %X %l %q %r %m"}, b"32312e34 32312E34 4 1 1 7\n"),
        ({"text": "100 %% \\\\ \\t°", "newline": False}, "100 % \\ \t°".encode()),
        ({"text": "%U"}, b"1000000000.250000\n"),
        ({"text": "%I"}, iso_time(AT).encode() + b"\n"),
        ({"text": ""}, b"\n"),
    ],
)
def test_formats(options, printed):
    assert rendered(message(), arguments(**options), AT) == printed


def test_payloads_leave_as_they_came():
    raw = bytes(range(256))
    assert rendered(message(raw), arguments(newline=False), AT) == raw


def test_on_a_terminal_a_payload_cannot_steer_it():
    printed = rendered(message(b"\x1b[2J\xff ok\n"), arguments(), AT, is_terminal=True)
    assert printed == b"\\x1b[2J\\xff ok\n\n"
    assert b"\x1b" not in rendered(message(b"\x1b"), arguments("%p"), AT, is_terminal=True)


def test_json():
    (line,) = rendered(message(pairs=[("agent", "house"), ("seq", "5")]), arguments("%j"), AT).splitlines()
    assert json.loads(line) == {
        "tst": iso_time(AT),
        "topic": "home/kitchen/temperature",
        "qos": 1,
        "retain": 1,
        "mid": 7,
        "properties": {"user-properties": {"agent": "house", "seq": "5"}},
        "payloadlen": 4,
        "payload": "21.4",
    }


@pytest.mark.parametrize(
    ("payload", "expected"), [(b'{"a": [1]}', {"a": [1]}), (b"21.4", 21.4), (b"press", "press"), (b"\xff", "\\xff")]
)
def test_json_with_a_json_payload(payload, expected):
    printed = json.loads(rendered(message(payload, qos=0), arguments("%J"), AT))
    assert printed["payload"] == expected
    assert "mid" not in printed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("%z", "%z is unknown"),
        ("\\q", "\\q is unknown"),
        ("50%", "ends with %"),
        ("a\\", "ends with"),
        ("%é", "is unknown"),
    ],
)
def test_formats_that_are_none(text, complaint):
    with pytest.raises(CommandError) as caught:
        check_format(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["%t %p %x %X %l %q %r %m %I %U %j %J %%", "\\n\\t\\\\", "", "°"])
def test_formats_that_are_known(text):
    check_format(text)
    rendered(message(), arguments(text), AT)
