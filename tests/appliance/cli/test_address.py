"""URLs and TLS options as arguments."""

import pytest

from appliance.cli import build_parser
from appliance.exits import Exit


def parsed(line):
    return build_parser().parse_args(line.split())


URLS = [
    ("sub -L mqtt://pi/home/%23", ("tcp", False, "pi", 1883, None, None, ["home/#"])),
    ("sub -L mqtts://ada:p%40w@pi:99/a -t b", ("tcp", True, "pi", 99, "ada", "p@w", ["a", "b"])),
    ("sub -t b -L mqtts://ada@pi/a", ("tcp", True, "pi", 8883, "ada", None, ["b", "a"])),
    ("sub -L ws://pi -t a", ("websockets", False, "pi", 8080, None, None, ["a"])),
    ("sub -L wss://[::1]/mqtt -t a", ("websockets", True, "::1", 8443, None, None, ["a"])),
    ("pub -L mqtt://pi/a/b -m x", ("tcp", False, "pi", 1883, None, None, "a/b")),
    ("pub -L mqtt://pi -t a -m x", ("tcp", False, "pi", 1883, None, None, "a")),
    ("pub -L wss://pi -p 9 --cafile c -t a -m x", ("websockets", True, "pi", 9, None, None, "a")),
    ("pub -L ws://pi --cafile c -t a -m x", ("websockets", True, "pi", 8443, None, None, "a")),
]


@pytest.mark.parametrize(("line", "expected"), URLS)
def test_urls(line, expected):
    found = parsed(line)
    assert expected == (
        found.transport, found.tls, found.host, found.port, found.username, found.pw, found.topic
    )  # fmt: skip


def test_the_path_of_a_websocket():
    assert parsed("sub -L ws://pi/ -t a").ws_path == "/mqtt"
    assert parsed("sub -L ws://pi/other/ -t a").ws_path == "/other"


PORTS = [
    ("", False, 1883),
    ("--cafile c", True, 8883),
    ("--cafile c --cert c --key k", True, 8883),
    ("--cafile c -p 1883", True, 1883),
    ("-p 1883 --cafile c", True, 1883),
    ("-L mqtts://pi", True, 8883),
    ("-L mqtts://pi --cafile c", True, 8883),
    ("--insecure", False, 1883),
]


@pytest.mark.parametrize(("options", "tls", "port"), PORTS)
def test_the_usual_port_of_tls_is_another(options, tls, port):
    found = parsed(f"sub -t a {options}")
    assert (found.tls, found.port) == (tls, port)


BAD = [
    "http://pi/a",
    "mqtt:///a",
    "pi",
    "mqtt://pi:99999/a",
    "mqtt://pi:0/a",
    "mqtt://pi/a?b",
    "mqtt://[::1/a",
    "mqtt://pi",
]


@pytest.mark.parametrize("url", BAD)
def test_what_is_refused(url, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(f"sub -L {url}")
    assert ended.value.code == Exit.USAGE
    assert capsys.readouterr().err
