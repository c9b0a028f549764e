"""Where the broker of `sub` and `pub` is, and how it is spoken to: -L URL, TLS and WebSocket."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SCHEMES = {  # scheme -> transport, whether it is encrypted, usual port
    "mqtt": ("tcp", False, 1883),
    "mqtts": ("tcp", True, 8883),
    "ws": ("websockets", False, 8080),
    "wss": ("websockets", True, 8443),
}
PATH = "/mqtt"  # of MQTT over WebSocket, everywhere
ENCRYPTED = {1883: 8883, 8080: 8443}
EXAMPLE = "write mqtts://user:password@host:8883/topic, or ws://host:8080/mqtt"


class UsualPort(int):
    """A port that nobody asked for."""


def add_address(parser: argparse.ArgumentParser, topic: argparse.Action) -> None:
    """Add the options; `topic` is the one that a URL may stand for."""
    parser.set_defaults(tls=False, transport="tcp", ws_path=PATH)
    parser.add_argument(
        "-L",
        "--url",
        action=Url,
        topic=topic,
        help="mqtt(s)://[user[:password]@]host[:port]/topic, or ws(s)://…/mqtt, which leaves the topic to -t",
    )
    parser.add_argument(
        "--cafile", action=Encrypted, metavar="FILE", help="encrypt, and trust the broker that this authority signed"
    )
    parser.add_argument("--cert", action=Encrypted, metavar="FILE", help="certificate to show the broker")
    parser.add_argument("--key", action=Encrypted, metavar="FILE", help="private key of it")
    parser.add_argument(
        "--insecure", action="store_true", help="believe the broker's certificate whatever name it bears"
    )


class Url(argparse.Action):
    """Takes a URL apart."""

    def __init__(self, *, topic: argparse.Action, **options: Any) -> None:
        super().__init__(**options)
        self._topic = topic

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 argparse's signature
    ) -> None:
        """Set everything that the URL says."""
        text = namespace.url = str(values)
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            parser.error(f"-L: '{text}' is no URL ({error}); {EXAMPLE}")
        if url.scheme not in SCHEMES or not url.hostname or port == 0 or url.query or url.fragment:
            parser.error(f"-L: '{text}' will not do; {EXAMPLE}")
        transport, namespace.tls, usual = SCHEMES[url.scheme]
        namespace.transport = transport
        namespace.host, namespace.port = url.hostname, port or UsualPort(usual)
        if url.username is not None:
            namespace.username = unquote(url.username)
        if url.password is not None:
            namespace.pw = unquote(url.password)
        if transport == "websockets":
            namespace.ws_path = url.path.rstrip("/") or PATH
        elif url.path not in {"", "/"}:
            name = unquote(url.path.removeprefix("/"))
            is_list = isinstance(self._topic, argparse._AppendAction)  # noqa: SLF001 argparse has no public name for it
            namespace.topic = [*(namespace.topic or []), name] if is_list else name
            self._topic.required = False


class Encrypted(argparse.Action):
    """A file of TLS; the first one turns it on."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Note the file, and that the usual port is another one now."""
        setattr(namespace, self.dest, Path(str(values)))
        namespace.tls = True
        if isinstance(namespace.port, UsualPort):
            namespace.port = UsualPort(ENCRYPTED.get(namespace.port, namespace.port))
