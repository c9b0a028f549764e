"""`appliance sub` and `pub`: a client for any broker, with the flags of Mosquitto's clients."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.cli.address import UsualPort, add_address
from appliance.cli.ask import add_place
from appliance.cli.commands import Commands
from appliance.exits import CommandError, Exit

VERSIONS = {"31": 3, "mqttv31": 3, "311": 4, "mqttv311": 4, "5": 5, "mqttv5": 5}


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's commands."""
    sub = _add(commands, "sub", "print messages as they arrive")
    topic = sub.add_argument("-t", "--topic", action="append", required=True, metavar="FILTER", help="repeatable")
    add_address(sub, topic)
    sub.add_argument("filters", nargs="*", action=Filters, topic=topic, metavar="FILTER", help="likewise, without -t")
    sub.add_argument("-T", "--filter-out", action="append", default=[], metavar="FILTER", help="leave these topics out")
    sub.add_argument("-v", "--verbose", action="store_true", help="topic before each payload")
    sub.add_argument(
        "-F",
        "--format",
        metavar="TEXT",
        help="%%t topic, %%p payload, %%x payload in hex, %%l its length, "
        "%%q QoS, %%r retained, %%I time, %%U Unix time, %%j JSON, %%J JSON with a JSON payload, %%%% percent",
    )
    sub.add_argument("-N", dest="newline", action="store_false", help="no line end after each message")
    sub.add_argument("-C", dest="count", type=count, metavar="N", help="end after N messages")
    sub.add_argument("-W", dest="timeout_s", type=positive, metavar="SECONDS", help="end then, with exit code 27")
    only = sub.add_mutually_exclusive_group()
    only.add_argument("-R", dest="stale", action="store_false", help="no retained messages")
    only.add_argument("--retained-only", action="store_true", help="end at the first message that is not retained")
    sub.add_argument(
        "--remove-retained",
        action="store_true",
        help="delete each retained message that comes, also with -R; what -T leaves out stays",
    )
    sub.add_argument("-c", "--disable-clean-session", action="store_true", help="keep the session; needs -i")
    sub.add_argument(
        "--at",
        action=Moment,
        topic=topic,
        metavar="WHEN",
        help="the retained messages of then, as far as their topics are recorded, from the history of this computer: "
        "2h ago, a time; what holds several values in JSON is shown as these, each under its path",
    )
    add_place(sub, "with --at: ")
    sub.set_defaults(command=sub_command)

    pub = _add(commands, "pub", "publish a message")
    add_address(pub, pub.add_argument("-t", "--topic", required=True, metavar="TOPIC"))
    pub.add_argument("-r", "--retain", action="store_true", help="the broker keeps it for later subscribers")
    payload = pub.add_mutually_exclusive_group(required=True)
    payload.add_argument("-m", "--message", metavar="TEXT")
    payload.add_argument("-f", "--file", type=Path, metavar="FILE", help="send what stands in a file")
    payload.add_argument("-n", "--null-message", action="store_true", help="empty; with -r it deletes a retained one")
    payload.add_argument("-s", "--stdin-file", action="store_true", help="send all of standard input as one message")
    payload.add_argument("-l", "--stdin-line", action="store_true", help="send each line of standard input")
    pub.add_argument(
        "-W",
        dest="timeout_s",
        type=positive,
        default=30.0,
        metavar="SECONDS",
        help="longest wait for the broker's acknowledgement (default 30); then exit code 27",
    )
    pub.set_defaults(command=pub_command)


def _add(commands: "Commands[argparse.ArgumentParser]", name: str, help_text: str) -> argparse.ArgumentParser:
    """Add a command with what both have; -h is the host there, so help is --help."""
    parser = commands.add_parser(name, help=help_text, add_help=False, allow_abbrev=False)
    parser.add_argument("--help", action="help", help="show this and end")
    parser.add_argument("-h", "--host", default="localhost", help="broker (default localhost)")
    parser.add_argument(
        "-p",
        "--port",
        type=port,
        default=UsualPort(1883),
        metavar="N",
        help="its TCP port (default 1883; with TLS 8883)",
    )
    parser.add_argument("-i", "--id", default="", metavar="ID", help="client id (default: the broker makes one)")
    parser.add_argument("-u", "--username", metavar="NAME")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("-P", "--pw", metavar="PASSWORD", help="others may see it in the list of processes")
    secret.add_argument(
        "--pw-file",
        type=Path,
        metavar="FILE",
        help="file whose first line is the password; a plain name is a systemd credential of the service",
    )
    parser.add_argument(
        "-V",
        "--protocol-version",
        default="mqttv311",
        choices=VERSIONS,
        metavar="VERSION",
        help="mqttv31, mqttv311 (default) or mqttv5",
    )
    parser.add_argument("-k", "--keepalive", type=keep_alive, default=60, metavar="SECONDS", help="(default 60)")
    parser.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=0, help="(default 0)")
    return parser


class Topics(argparse.Action):
    """Takes what says which topics are meant, so that -t may be left out."""

    def __init__(self, *, topic: argparse.Action, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Put it down."""
        if self.take(namespace, values):
            self._topic.required = False

    def take(self, namespace: argparse.Namespace, values: str | Sequence[Any] | None) -> bool:
        """Put it down; False where nothing was said."""
        raise NotImplementedError


class Filters(Topics):
    """Topic filters that stand without an option, beside those of -t."""

    def take(self, namespace: argparse.Namespace, values: str | Sequence[Any] | None) -> bool:
        """Put them down."""
        if not values:
            return False
        namespace.topic = [*(namespace.topic or []), *values]
        return True


class Moment(Topics):
    """A time of the past, where every topic is meant unless some are named."""

    def take(self, namespace: argparse.Namespace, values: str | Sequence[Any] | None) -> bool:
        """Put it down."""
        namespace.at = values
        return True


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' will not do; give a number above 0")
    return number


def count(text: str) -> int:
    """Read how many messages."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"'{text}' will not do; give a whole number from 1")
    return int(text)


def port(text: str) -> int:
    """Read a port number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"'{text}' is no port; give a number from 1 to 65535")
    return int(text)


def keep_alive(text: str) -> int:
    """Read a keep-alive time; paho's pings need some seconds."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 5 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"'{text}' will not do; give a number from 5 to 65535")
    return int(text)


def sub_command(arguments: argparse.Namespace) -> int:
    """Print messages until enough have come, or what was retained at a time."""
    if arguments.at is not None:
        from appliance.cli.moment import show_moment  # noqa: PLC0415 commands import what they need

        if arguments.remove_retained:
            raise CommandError("--remove-retained deletes what is retained now; leave --at out", Exit.USAGE)
        return show_moment(arguments)
    from appliance.cli.subscriber import Subscriber  # noqa: PLC0415 paho and json load when they are needed

    if arguments.disable_clean_session and not arguments.id:
        raise CommandError("-c keeps a session, which needs a name: add -i ID", Exit.USAGE)
    return Subscriber(arguments).run()


def pub_command(arguments: argparse.Namespace) -> int:
    """Publish, and wait until the broker has taken it."""
    from appliance.cli.publisher import publish  # noqa: PLC0415 likewise

    return publish(arguments, sys.stdin.buffer)
