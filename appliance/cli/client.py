"""What `sub` and `pub` share: a paho client made from the arguments, and refusals in words."""

import argparse
import os
from pathlib import Path
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
    password = arguments.pw if arguments.pw_file is None else password_in(arguments.pw_file)
    for flag, text in (("-i", arguments.id), ("-u", arguments.username), ("-P", password)):
        if text is not None and len(text.encode(errors="surrogateescape")) > MAX_STRING_BYTES:
            raise CommandError(f"{flag} is longer than {MAX_STRING_BYTES} bytes; MQTT takes no more", Exit.USAGE)
    if arguments.username is None and password is not None:
        raise CommandError("-P needs a user name: add -u NAME", Exit.USAGE)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=arguments.id,
        protocol=version,
        clean_session=None if version == MQTTProtocolVersion.MQTTv5 else clean,
    )
    if arguments.username is not None:
        client.username_pw_set(arguments.username, password)
    client.reconnect_delay_set(FIRST_RETRY_S, LONGEST_RETRY_S)
    return client


def password_in(path: Path) -> str:
    """Give the first line of the file; a plain name is a systemd credential, where there are any. CommandError."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and len(path.parts) == 1:
        path = Path(credentials) / path
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_STRING_BYTES + 3).removesuffix(b"\n").removesuffix(b"\r")
        password = line.decode()
    except UnicodeDecodeError:
        raise CommandError(f"--pw-file: {path} is not UTF-8; name a text file", Exit.USAGE) from None
    except OSError as error:
        raise CommandError(f"--pw-file: {path} cannot be read ({error.strerror}); check its path", Exit.USAGE) from None
    if not password:
        raise CommandError(f"--pw-file: {path} has no password in its first line; write it there", Exit.USAGE)
    return password


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
