"""`appliance pub`: messages to a broker."""

import argparse
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.cli.client import connect, new_client, refused, shut
from appliance.exits import CommandError, Exit
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import check_topic_name

MAX_UNACKNOWLEDGED = 1_000
MAX_CLOSES = 3  # one may be the broker's restart
LOOK_S = 0.2


def publish(arguments: argparse.Namespace, stdin: BinaryIO) -> int:
    """Send every message and wait until the broker has it; CommandError."""
    try:
        check_topic_name(arguments.topic)
    except MqttError as error:
        raise CommandError(f"-t: {error}", Exit.USAGE) from None
    messages = payloads(arguments, stdin)
    client = new_client(arguments)
    answers: SimpleQueue[ReasonCode | None] = SimpleQueue()  # None: closed instead
    failures: deque[tuple[ReasonCode, str]] = deque(maxlen=1)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(reason)
    closes = Closes()

    def on_disconnect(*_: object) -> None:
        closes.in_a_row += 1
        answers.put(None)

    def on_publish(_client: Client, _data: Any, _mid: int, reason: ReasonCode, said: Properties | None) -> None:
        closes.in_a_row = 0
        if reason.is_failure:
            failures.append((reason, getattr(said, "ReasonString", "")))

    client.on_disconnect = on_disconnect
    client.on_publish = on_publish
    connect(client, arguments)
    client.loop_start()
    try:
        try:
            answer = answers.get(timeout=arguments.timeout_s)
        except Empty:
            raise late(arguments, "the connection") from None
        if answer is None:
            raise shut(arguments)
        if answer.is_failure:
            raise refused(arguments, "the connection", answer)
        send(client, arguments, messages, closes)
        if failures:
            reason, words = failures[0]
            raise refused(arguments, f"a message on {arguments.topic}", reason, words)
    finally:
        client.disconnect()  # or the loop would go on waiting for what was not acknowledged
        client.loop_stop()
    return Exit.OK


@dataclass
class Closes:
    """How often the broker closed the connection since it last acknowledged something."""

    in_a_row: int = 0


def send(client: Client, arguments: argparse.Namespace, messages: Iterator[bytes], closes: Closes) -> None:
    """Publish all; CommandError when the broker stays silent, or closes the connection again and again."""
    waiting: deque[MQTTMessageInfo] = deque()
    for payload in messages:
        try:
            waiting.append(client.publish(arguments.topic, payload, arguments.qos, arguments.retain))
        except ValueError as error:
            raise CommandError(f"the message cannot be sent: {error}", Exit.USAGE) from None
        if len(waiting) >= MAX_UNACKNOWLEDGED:
            settle(arguments, waiting.popleft(), closes)
    for info in waiting:
        settle(arguments, info, closes)


def settle(arguments: argparse.Namespace, info: MQTTMessageInfo, closes: Closes) -> None:
    """Wait until the broker has one message; CommandError."""
    ends = time.monotonic() + arguments.timeout_s
    try:
        while not info.is_published() and (left_s := ends - time.monotonic()) > 0:
            if closes.in_a_row >= MAX_CLOSES:
                raise CommandError(
                    f"{arguments.host}:{arguments.port} closes the connection instead of acknowledging the message; "
                    "its disk may be full: `appliance status` there says so, and -V mqttv5 gives its reason",
                    Exit.UNAVAILABLE,
                )
            info.wait_for_publish(min(left_s, LOOK_S))
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"the message could not be sent: {error}", Exit.UNAVAILABLE) from None
    if not info.is_published():
        raise late(arguments, "the message")


def payloads(arguments: argparse.Namespace, stdin: BinaryIO) -> Iterator[bytes]:
    """Give the payloads that the arguments ask for; CommandError."""
    if arguments.stdin_line:
        return (line.removesuffix(b"\n").removesuffix(b"\r") for line in stdin)
    if arguments.stdin_file:
        return iter((stdin.read(),))
    if arguments.null_message:
        return iter((b"",))
    if arguments.file is None:
        return iter((arguments.message.encode(errors="surrogateescape"),))
    try:
        return iter((arguments.file.read_bytes(),))
    except OSError as error:
        raise CommandError(
            f"{arguments.file} cannot be read ({error.strerror}); check its path", Exit.NOTHING
        ) from None


def late(arguments: argparse.Namespace, what: str) -> CommandError:
    """Say that nothing was heard in time."""
    return CommandError(
        f"{arguments.host}:{arguments.port} has not acknowledged {what} within {arguments.timeout_s:g} s; "
        "is it an MQTT broker, and is the message not too large for it?",
        Exit.TIMEOUT,
    )
