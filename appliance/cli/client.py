"""What `sub` and `pub` share: a paho client made from the arguments, and refusals in words."""

import argparse
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.cli.mqtt import VERSIONS
from appliance.exits import CommandError, Exit
from appliance.mqtt.wire import MAX_STRING_BYTES

KEPT_SESSION_S = 0xFFFF_FFFF  # as long as the broker allows
FIRST_RETRY_S, LONGEST_RETRY_S = 1, 5


def new_client(arguments: argparse.Namespace, *, clean: bool = True) -> Client:
    """Make a client; it is not connected yet. CommandError."""
    version = MQTTProtocolVersion(VERSIONS[arguments.protocol_version])
    for flag, text in (("-i", arguments.id), ("-u", arguments.username), ("-P", arguments.pw)):
        if text is not None and len(text.encode(errors="surrogateescape")) > MAX_STRING_BYTES:
            raise CommandError(f"{flag} is longer than {MAX_STRING_BYTES} bytes; MQTT takes no more", Exit.USAGE)
    if arguments.username is None and arguments.pw is not None:
        raise CommandError("-P needs a user name: add -u NAME", Exit.USAGE)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=arguments.id,
        protocol=version,
        clean_session=None if version == MQTTProtocolVersion.MQTTv5 else clean,
    )
    if arguments.username is not None:
        client.username_pw_set(arguments.username, arguments.pw)
    client.reconnect_delay_set(FIRST_RETRY_S, LONGEST_RETRY_S)
    return client


def connect(client: Client, arguments: argparse.Namespace, *, clean: bool = True) -> None:
    """Open the connection and send CONNECT; CommandError when nobody is there."""
    options: dict[str, Any] = {}
    if VERSIONS[arguments.protocol_version] == MQTTProtocolVersion.MQTTv5:
        options["clean_start"] = clean
        if not clean:
            options["properties"] = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            options["properties"].SessionExpiryInterval = KEPT_SESSION_S
    try:
        client.connect(arguments.host, arguments.port, arguments.keepalive, **options)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(
            f"no broker at {arguments.host}:{arguments.port} ({reason}); "
            "start one with `appliance run` or `appliance demo`, or name it with -h and -p",
            Exit.UNAVAILABLE,
        ) from None


def refused(arguments: argparse.Namespace, what: str, reason: ReasonCode | str) -> CommandError:
    """Say that the broker said no."""
    return CommandError(
        f"{arguments.host}:{arguments.port} refused {what} ({reason}); check -u, -P and what this client may do",
        Exit.UNAVAILABLE,
    )
