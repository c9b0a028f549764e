"""`sensors simulate`: plays houses against any broker. What it needs is imported when it is given."""

import argparse
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensors.output import cut_to_terminal, is_terminal, say

if TYPE_CHECKING:
    import logging

    from sensors.fleet import Count, Fleet, Wanted

MOST_DEVICES = 10_000
MOST_SENSORS = 1_000
EVERY_S = 1.0  # a line on a terminal is written over
RARELY_S = 10.0  # elsewhere each line stays
LEAST_INTERVAL_S = 0.1
LONGEST_INTERVAL_S = 604_800.0
MOST_REPEATS = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `run` takes."""
    parser.add_argument("--broker", type=_address, default=("127.0.0.1", None), metavar="HOST:PORT", help="MQTT broker")
    parser.add_argument("--site", default="home", metavar="SITE", help="first level of the topics (home)")
    parser.add_argument(
        "--devices", type=_count(MOST_DEVICES), default=1, metavar="N", help="houses, each an agent of its own (1)"
    )
    parser.add_argument("--sensors", type=_count(MOST_SENSORS), default=20, metavar="N", help="sensors a house (20)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--interval", type=_seconds, default=10.0, metavar="S", help="seconds between reads of a sensor (10)"
    )
    pace.add_argument("--rate", type=_rate, metavar="R", help="instead: readings a second of all that are read")
    parser.add_argument("--seconds", type=_rate, metavar="S", help="end after so long; without it, at Ctrl-C")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other houses (0)")
    parser.add_argument("--life", choices=("usual", "busy"), default="usual", help="busy: doors move every minute")
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="FAULT",
        help="what goes wrong, as in a configuration: checksum@5%%; may be given again",
    )
    parser.add_argument("--username", default="", metavar="NAME", help="user name, where the broker wants one")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="file whose first line is the password")
    parser.add_argument("--tls", action="store_true", help="encrypt; the usual port is 8883 then")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="authority of the broker's certificate, as PEM")
    parser.add_argument(
        "--cert-file", type=Path, metavar="FILE", help="our own certificate, where the broker wants one"
    )
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="its private key, unless in the same file")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the outboxes here; without it, nothing is kept")
    parser.add_argument(
        "--keep", action="store_true", help="leave what is retained with the broker at the end; else it is cleared"
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON at the end")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")


def run(arguments: argparse.Namespace) -> bool:
    """Play until the time is over or a signal comes; gives whether the broker has every reading.

    Raises ConfigError, OutboxError.
    """
    import logging  # noqa: PLC0415 as below

    from sensors.fleet import Fleet, Wanted, configs, readings_per_round  # noqa: PLC0415 --help need not wait for it
    from sensors.scratch import scratch  # noqa: PLC0415

    if not arguments.verbose:
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("sensors").addFilter(Once().passes)
    interval_s = arguments.interval
    if arguments.rate is not None:
        most = readings_per_round(arguments.sensors) * arguments.devices / LEAST_INTERVAL_S
        if arguments.rate > most:
            sys.stderr.write(f"so many sensors give {most:g} readings a second at most; more need more sensors\n")
        interval_s = min(LEAST_INTERVAL_S * max(most / arguments.rate, 1.0), LONGEST_INTERVAL_S)
        if interval_s == LONGEST_INTERVAL_S:
            sys.stderr.write("no sensor is read less often than once a week; fewer readings need fewer sensors\n")
    host, port = arguments.broker
    broker: dict[str, Any] = {"host": host, "username": arguments.username}
    if port is not None:
        broker["port"] = port
    if arguments.tls:
        broker["tls"] = True
    for key in ("password_file", "ca_file", "cert_file", "key_file"):
        if (path := getattr(arguments, key)) is not None:
            broker[key] = str(path.absolute())
    wanted = Wanted(
        site=arguments.site,
        devices=arguments.devices,
        sensors=arguments.sensors,
        interval_s=interval_s,
        seed=arguments.seed,
        life=arguments.life,
        faults=tuple(arguments.fault),
        broker=broker,
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with nullcontext(arguments.data) if arguments.data else scratch("sensors-simulate-") as data:
        fleet = Fleet(configs(wanted, data), keep=arguments.keep)
        try:
            _play(fleet, wanted, stopping, arguments.seconds, keep=arguments.keep)
        finally:
            fleet.stop()
    count = fleet.count()
    facts = {name: value for name, value in asdict(count).items() if name != "connected"}  # none is, by now
    say(json.dumps(facts) if arguments.json else _told(count))
    if left := fleet.left_behind:
        sys.stderr.write(
            f"the broker did not clear {left} topics; play again with as many devices and sensors, which clears them "
            f"at the end, or clear each house at the hub: appliance forget house-1\n"
        )
    if fleet.trouble:
        raise fleet.trouble[0]
    return not count.waiting and not count.dropped


def _play(fleet: "Fleet", wanted: "Wanted", stopping: threading.Event, seconds: float | None, *, keep: bool) -> None:
    """Show how far it is until the end."""
    terminal = is_terminal()
    shown = "from now on" if keep else "until then"
    sys.stderr.write(
        f"{wanted.devices} x {wanted.sensors} sensors play in the site {wanted.site}, each read every "
        f"{wanted.interval_s:g} s; Ctrl-C ends it. "
        f"The page of that site's hub shows them {shown}, its history keeps them\n"
    )
    started = time.monotonic()
    ends = math.inf if seconds is None else started + seconds
    fleet.start(stopping)
    while not stopping.is_set() and fleet.running and (left_s := ends - time.monotonic()) > 0:
        stopping.wait(min(EVERY_S if terminal else RARELY_S, left_s))
        count = fleet.count()
        line = f"{count.connected} of {count.devices} connected; {_told(count)}"
        sys.stderr.write(f"\r\x1b[K{cut_to_terminal(line)}" if terminal else f"{line}\n")
        sys.stderr.flush()
    if terminal:
        sys.stderr.write("\n")


def _told(count: "Count") -> str:
    dropped = f", {count.dropped} dropped" if count.dropped else ""
    return f"{count.made} readings, {count.acknowledged} acknowledged, {count.waiting} waiting{dropped}"


class Once:
    """Lets each line of the log pass once: what a thousand agents meet is said by the first."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def passes(self, record: "logging.LogRecord") -> bool:
        """Whether the line is new."""
        line = record.getMessage()
        if line in self._said or len(self._said) >= MOST_REPEATS:
            return False
        self._said.add(line)
        return True


def _address(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, colon, port = text, "", ""
    host = host.removeprefix("[").removesuffix("]")
    good = not colon or (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536)
    if not host or not good:
        raise argparse.ArgumentTypeError(f'"{text}" is no address; write HOST:PORT, as in hub.local:1883')
    return host, int(port) if port else None


def _count(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to {most}')
        return int(text)

    return count


def _seconds(text: str) -> float:
    number = _rate(text)
    if not LEAST_INTERVAL_S <= number <= LONGEST_INTERVAL_S:
        raise argparse.ArgumentTypeError(f'"{text}": from {LEAST_INTERVAL_S:g} s to a week can be waited')
    return number


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0')
    return number


def _fault(text: str) -> str:
    from sensors.house.faults import SHAPE, parse  # noqa: PLC0415

    try:
        parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write {SHAPE}") from None
    return text
