"""What `sub` and `pub` share: a paho client made from the arguments, and refusals in words."""

import argparse
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, WebsocketConnectionError
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.cli.address import PATH
from appliance.cli.mqtt import VERSIONS
from appliance.cli.terminal import printable
from appliance.exits import CommandError, Exit
from appliance.mqtt.wire import MAX_STRING_BYTES

QUOTA_EXCEEDED = 0x97  # MQTT 5 §2.4
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
        transport=arguments.transport,
    )
    if arguments.transport == "websockets":
        client.ws_set_options(path=arguments.ws_path)
    if arguments.tls:
        encrypt(client, arguments)
    if arguments.username is not None:
        client.username_pw_set(arguments.username, password)
    client.reconnect_delay_set(FIRST_RETRY_S, LONGEST_RETRY_S)
    client.on_socket_open = _send_at_once
    return client


def _send_at_once(_client: Client, _data: Any, link: Any) -> None:
    """Hold no small packet back until the one before is acknowledged: a close throws away what is held."""
    if isinstance(link, socket.socket):  # paho's own kind for WebSocket has no options
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def encrypt(client: Client, arguments: argparse.Namespace) -> None:
    """Turn TLS on; CommandError when a file will not do."""
    if arguments.key is not None and arguments.cert is None:
        raise CommandError("--key belongs to a certificate: add --cert FILE", Exit.USAGE)
    files = {"--cafile": arguments.cafile, "--cert": arguments.cert, "--key": arguments.key}
    for flag, path in files.items():
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            problem = f"{flag}: {path} cannot be read ({error.strerror}); check its path"
            raise CommandError(problem, Exit.NOTHING) from None
    authority, certificate, key = (None if path is None else str(path) for path in files.values())
    try:
        client.tls_set(authority, certificate, key)
    except OSError as error:  # ssl.SSLError among them
        raise CommandError(
            f"--cafile, --cert or --key will not do ({error}); give PEM files that belong together", Exit.USAGE
        ) from None
    if arguments.insecure:
        client.tls_insecure_set(True)


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
        client.connect(arguments.host, int(arguments.port), arguments.keepalive, **options)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise distrusted(arguments, error) from None
        if isinstance(error, WebsocketConnectionError):
            raise not_upgraded(arguments) from None
        if isinstance(error, ssl.SSLError) or (arguments.tls and isinstance(error, ConnectionResetError)):
            raise unencrypted(arguments, error) from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(
            f"no broker at {arguments.host}:{arguments.port} ({reason}); "
            "start one with `appliance run` or `appliance demo`, or name it with -h and -p",
            Exit.UNAVAILABLE,
        ) from None


def distrusted(arguments: argparse.Namespace, error: ssl.SSLCertVerificationError) -> CommandError:
    """Say what is wrong with the broker's certificate."""
    return CommandError(
        f"no trust between this client and {arguments.host}:{arguments.port} ({error.verify_message}); "
        "name the authority of its certificate with --cafile, and its host as the certificate does",
        Exit.UNAVAILABLE,
    )


def unencrypted(arguments: argparse.Namespace, error: OSError) -> CommandError:
    """Say why TLS did not come about."""
    reason = getattr(error, "reason", "") or error.strerror or str(error)
    if "ALERT" in reason:  # which is said in TLS
        return shut(arguments)
    return CommandError(
        f"{arguments.host}:{arguments.port} does not speak TLS ({reason}); use 8883/8443, or leave TLS out",
        Exit.UNAVAILABLE,
    )


def not_upgraded(arguments: argparse.Namespace) -> CommandError:
    """Say that there is no WebSocket of MQTT."""
    cure = "the path is /mqtt" if arguments.ws_path != PATH else "use the page's port, such as 8080 or 8443"
    return CommandError(
        f"something answers at {arguments.host}:{arguments.port}, but not MQTT over WebSocket at {arguments.ws_path}; "
        f"{cure}",
        Exit.UNAVAILABLE,
    )


def shut(arguments: argparse.Namespace) -> CommandError:
    """Say that the other end closed before it said anything."""
    return CommandError(
        f"{arguments.host}:{arguments.port} closed the connection before it answered; "
        "does it want TLS (--cafile), or a client certificate (--cert, --key)?",
        Exit.UNAVAILABLE,
    )


def refused(arguments: argparse.Namespace, what: str, reason: ReasonCode | str, words: str = "") -> CommandError:
    """Say that the broker said no, with its own words where it gave some."""
    cure = "check -u, -P and what this client may do"
    if isinstance(reason, ReasonCode) and reason.value == QUOTA_EXCEEDED:
        cure = "its disk may be full: `appliance status` there says so"
    said = f"{reason}: {printable(words)}" if words else f"{reason}"
    return CommandError(
        f"{arguments.host}:{arguments.port} refused {what} ({said}); {cure}",
        Exit.UNAVAILABLE,
    )
