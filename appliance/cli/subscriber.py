"""`appliance sub`: messages to standard output."""

import argparse
import sys
import time
from collections.abc import Sequence
from threading import Timer
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from appliance.cli.client import connect, new_client, refused, shut
from appliance.cli.formats import check_format, rendered
from appliance.cli.terminal import complain, writing
from appliance.exits import CommandError, Exit
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import check_topic_filter, matches

UNSPECIFIED = 0x80  # all that a SUBACK of MQTT 3.1.1 says of a refusal, §3.9.3
NOT_GRANTED = "not authorized, or not allowed"


class Subscriber:
    """One run of the command; paho's callbacks run in the thread of `run`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._clean = not arguments.disable_clean_session
        self._says_why = arguments.protocol_version in {"5", "mqttv5"}
        self._client = new_client(arguments, clean=self._clean)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._removing: dict[int, str] = {}  # packet id -> topic whose retained message is being deleted
        self._not_removed = False
        self._was_answered = False
        self._printed = 0
        self._failure: CommandError | None = None
        self._ended: Exit | None = None
        self._enough = False  # the end comes when nothing is being deleted any more

    def run(self) -> int:
        """Print until enough messages came, the time ran out, or Ctrl-C."""
        arguments = self._arguments
        check_filters(arguments)
        if arguments.format is not None:
            check_format(arguments.format)
        timer = None
        if arguments.timeout_s is not None:
            timer = Timer(arguments.timeout_s, self._end, (Exit.TIMEOUT,))
            timer.daemon = True
            timer.start()
        try:
            connect(self._client, arguments, clean=self._clean)
            self._client.loop_forever()
        except KeyboardInterrupt:
            self._end(Exit.OK)
        finally:
            if timer is not None:
                timer.cancel()
        if self._failure is not None:
            raise self._failure
        return self._ended or (Exit.UNAVAILABLE if self._not_removed else Exit.OK)

    def _end_in_order(self) -> None:
        self._enough = True
        if not self._removing:
            self._end(Exit.OK)

    def _end(self, code: Exit) -> None:
        if self._ended is None:
            self._ended = code
            self._client.disconnect()

    def _fail(self, failure: CommandError) -> None:
        self._failure = failure
        self._end(failure.exit_code)

    def _on_connect(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._was_answered = True
        if self._ended is not None:  # while the connection was still being made
            client.disconnect()
        elif reason.is_failure:
            self._fail(refused(self._arguments, "the connection", reason))
        else:
            qos = self._arguments.qos
            if self._says_why:
                client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic in self._arguments.topic])
            else:
                client.subscribe([(topic, qos) for topic in self._arguments.topic])

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: Sequence[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._arguments.topic, reasons, strict=False):
            if reason.is_failure:
                said = NOT_GRANTED if reason.value == UNSPECIFIED and not self._says_why else reason
                failure = refused(self._arguments, f"the subscription to {topic}", said)
                if all(one.is_failure for one in reasons):
                    self._fail(failure)
                else:
                    complain(str(failure))

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        arguments = self._arguments
        if (
            self._ended is not None
            or self._enough
            or any(matches(topic, message.topic) for topic in arguments.filter_out)
        ):
            return
        if arguments.retained_only and not message.retain:
            self._end_in_order()
            return
        if arguments.remove_retained and message.retain:
            self._remove(message.topic)
        if message.retain and not arguments.stale:
            return
        out = sys.stdout.buffer
        with writing():
            out.write(rendered(message, arguments, time.time(), is_terminal=sys.stdout.isatty()))
            out.flush()
        self._printed += 1
        if arguments.count is not None and self._printed >= arguments.count:
            # What was printed is not to come again to a session that is kept, and what came behind it is.
            client.manual_ack_set(True)
            client.ack(message.mid, message.qos)
            self._end_in_order()

    def _remove(self, topic: str) -> None:
        info = self._client.publish(topic, b"", qos=1, retain=True)
        self._removing[info.mid] = topic

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        topic = self._removing.pop(mid, None)
        if topic is not None and reason.is_failure:
            self._not_removed = True
            complain(str(refused(self._arguments, f"to delete what is retained on {topic}", reason)))
        if self._enough:
            self._end_in_order()

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if self._ended is None and not self._was_answered:
            raise shut(self._arguments)  # paho would take a disconnect() here for a lost connection, and try again
        if self._ended is None:
            complain(
                f"the connection to {self._arguments.host}:{self._arguments.port} is lost ({reason}); trying again"
            )


def check_filters(arguments: argparse.Namespace) -> None:
    """Raise CommandError unless what is asked for and what is left out are topic filters."""
    for topic_filter in arguments.topic:
        check_filter(topic_filter, "-t")
    for topic_filter in arguments.filter_out:
        check_filter(topic_filter, "-T")


def check_filter(topic_filter: str, argument: str) -> None:
    """Raise CommandError unless it is a topic filter; `argument` is what the command line calls it."""
    try:
        check_topic_filter(topic_filter)
    except MqttError as error:
        raise CommandError(f"{argument}: {error}", Exit.USAGE) from None
