"""`appliance pub`: messages to a broker."""

import argparse
from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import BinaryIO

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.reasoncodes import ReasonCode

from appliance.cli.client import connect, new_client, refused, shut
from appliance.exits import CommandError, Exit
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import check_topic_name

MAX_UNACKNOWLEDGED = 1_000


def publish(arguments: argparse.Namespace, stdin: BinaryIO) -> int:
    """Send every message and wait until the broker has it; CommandError."""
    try:
        check_topic_name(arguments.topic)
    except MqttError as error:
        raise CommandError(f"-t: {error}", Exit.USAGE) from None
    messages = payloads(arguments, stdin)
    client = new_client(arguments)
    answers: SimpleQueue[ReasonCode | None] = SimpleQueue()  # None: closed instead
    failures: deque[ReasonCode] = deque(maxlen=1)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(reason)
    client.on_disconnect = lambda *_: answers.put(None)
    client.on_publish = lambda _client, _data, _mid, reason, _properties: (
        failures.append(reason) if reason.is_failure else None
    )
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
        send(client, arguments, messages)
        if failures:
            raise refused(arguments, f"a message on {arguments.topic}", failures[0])
    finally:
        client.disconnect()  # or the loop would go on waiting for what was not acknowledged
        client.loop_stop()
    return Exit.OK


def send(client: Client, arguments: argparse.Namespace, messages: Iterator[bytes]) -> None:
    """Publish all; CommandError when the broker stays silent."""
    waiting: deque[MQTTMessageInfo] = deque()
    for payload in messages:
        try:
            waiting.append(client.publish(arguments.topic, payload, arguments.qos, arguments.retain))
        except ValueError as error:
            raise CommandError(f"the message cannot be sent: {error}", Exit.USAGE) from None
        if len(waiting) >= MAX_UNACKNOWLEDGED:
            settle(arguments, waiting.popleft())
    for info in waiting:
        settle(arguments, info)


def settle(arguments: argparse.Namespace, info: MQTTMessageInfo) -> None:
    """Wait until the broker has one message; CommandError."""
    try:
        info.wait_for_publish(arguments.timeout_s)
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
