"""Arguments of sub and pub are those of Mosquitto's clients."""

import argparse

import pytest

from appliance.cli import build_parser, mqtt
from appliance.exits import CommandError, Exit


def parsed(line):
    return build_parser().parse_args(line.split())


def test_the_host_is_h_and_help_is_spelled_out():
    arguments = parsed("sub -h pi -p 1884 -t a -t b/# -v -q 1 -C 5 -W 1.5 -i me -u ada -P secret -V mqttv5 -k 10")
    assert (arguments.host, arguments.port, arguments.topic, arguments.verbose) == ("pi", 1884, ["a", "b/#"], True)
    assert (arguments.qos, arguments.count, arguments.timeout_s, arguments.id) == (1, 5, 1.5, "me")
    assert (arguments.username, arguments.pw, arguments.protocol_version, arguments.keepalive) == (
        "ada",
        "secret",
        "mqttv5",
        10,
    )


def test_defaults():
    arguments = parsed("pub -t a -m x")
    assert (arguments.host, arguments.port, arguments.qos, arguments.retain) == ("localhost", 1883, 0, False)
    assert arguments.protocol_version == "mqttv311"


def test_filters_may_stand_without_an_option():
    assert parsed("sub --at 2h home/# a/+ -v").topic == ["home/#", "a/+"]
    assert parsed("sub -v -t a b").topic == ["a", "b"]
    assert parsed("sub home/#").topic == ["home/#"]


def test_long_names_of_mosquitto():
    arguments = parsed(
        "pub --host h --port 1 --topic a --message m --qos 2 --retain --id i --username u --pw p --keepalive 9"
    )
    assert (arguments.host, arguments.message, arguments.retain) == ("h", "m", True)


@pytest.mark.parametrize(
    "line",
    [
        "sub",  # no topic
        "pub -t a",  # no payload
        "pub -t a -m x -n",  # two payloads
        "sub -t a -q 3",
        "sub -t a -p 0",
        "sub -t a -V mqttv4",
        "sub -t a -C 0",
        "sub -t a -C 1.5",
        "sub -t a -W never",
        "sub -t a -k 1",
        "sub -t a -R --retained-only",
    ],
)
def test_what_is_refused(line, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(line)
    assert ended.value.code == Exit.USAGE
    assert capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "1e10"])
def test_what_is_not_above_0(text):
    with pytest.raises(argparse.ArgumentTypeError):
        mqtt.positive(text)


def test_a_kept_session_needs_a_name():
    with pytest.raises(CommandError, match="add -i ID"):
        mqtt.sub_command(parsed("sub -t a -c"))
