"""An agent introduces itself to a hub: finds it, asks a person for the code, and gets an account of its own.

The connection is encrypted, but anybody may be at its other end: whom to trust, the code alone tells.
"""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from appliance import pake
from appliance.pake import Grant, Request
from sensors import credential
from sensors.config import SensorsConfig
from sensors.credential import Credential
from sensors.discovery import PAGE, SECURE, DiscoveryError, Found
from sensors.pairing import PairingError, Visit

TIMEOUT_S: Final = 15.0  # for a Pi that is busy with our arithmetic
BUSY_S: Final = 40.0  # another agent's turn
LOOK_AGAIN_S: Final = 1.0
MOST_WORDS: Final = 300  # characters of what a stranger says
HTTP_FORBIDDEN, HTTP_NOT_FOUND, HTTP_CONFLICT = 403, 404, 409
USUAL: Final = f"{pake.PORT} is the usual port, `sensors pair HOST:PORT` takes another"
CLOSED: Final = "pairing is not open there; run `appliance pair` on the hub, then this again"

Look = Callable[[str, str], Sequence[Found]]
"""Looks for what is announced as a service, for a site; DiscoveryError."""


class UsageError(Exception):
    """No host and port; one line."""


class WrongCode(PairingError):
    """The hub does not take the code; it may be typed again."""


class Busy(PairingError):
    """The hub speaks with another agent."""


class Hub(NamedTuple):
    """Where a hub may be, and what it is called."""

    addresses: tuple[str, ...]
    port: int
    name: str
    said_by: str = ""  # where it was not a person

    def __str__(self) -> str:
        """Say where it is, for people."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def hub_of(text: str) -> Hub:
    """Read HOST[:PORT], an IPv6 address in brackets where a port follows. UsageError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or any(letter.isspace() or letter in "/@" for letter in text):
        raise UsageError(f"{text!r} is no host; give a name or an address, perhaps with a port, as in hub.local:8443")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise UsageError(f"{port!r} is no port; give a number from 1 to 65535")
    return Hub((host,), int(port or pake.PORT), host)


def found_hub(config: SensorsConfig, look: Look) -> Hub:
    """Give the hub that the configuration names, else the one of our site that says it is there. PairingError."""
    if config.broker.host is not None:
        return Hub((config.broker.host,), pake.PORT, config.broker.host, f"broker.host says; {USUAL}")
    if (page := _announced(config, look, PAGE)) is not None:
        return Hub(page.addresses, page.port, page.name, "mDNS says")
    if (broker := _announced(config, look, SECURE)) is not None:
        return Hub(broker.addresses, pake.PORT, broker.name, f"mDNS says, though not of its page; {USUAL}")
    raise PairingError(f"no hub of site {config.site} is found by mDNS; name it: `sensors pair HOST`")


def _announced(config: SensorsConfig, look: Look, service: str) -> Found | None:
    """Give the only one of our site that offers this; PairingError where there are more."""
    try:
        found = [one for one in look(service, config.site) if one.site == config.site]
    except DiscoveryError as error:
        raise PairingError(f"{error}; name the hub: `sensors pair HOST`") from None
    if len({one.name for one in found}) > 1:
        names = ", ".join(one.name for one in found)
        raise PairingError(f"more than one says it is the hub of site {config.site}: {names}; name yours")
    return found[0] if found else None


class Line:
    """A connection to the hub: encrypted, with nobody knows whom."""

    def __init__(self, hub: Hub) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the code tells whom to trust, and everything that matters is sealed
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.address = ""
        self.certificate = b""  # that we were shown, in DER form: whose it is, the hub tells, see `pake.Request`
        self._hub = hub
        self._connection = self._open(context)

    def _open(self, context: ssl.SSLContext) -> http.client.HTTPSConnection:
        why, cure = "", "does its page listen there, with TLS? Another port is named as HOST:PORT"
        for address in self._hub.addresses:
            connection = http.client.HTTPSConnection(address, self._hub.port, timeout=TIMEOUT_S, context=context)
            try:
                connection.connect()
            except (OSError, ValueError) as error:
                connection.close()
                why = why or reason_of(error)
                if isinstance(error, socket.gaierror | ValueError):
                    cure = "check the name, or give its address"
            else:
                self.address = address
                self.certificate = connection.sock.getpeercert(binary_form=True) or b""
                connection.auto_open = 0  # another connection may have somebody else at its end
                return connection
        raise PairingError(f"no hub answers at {self._hub} ({why}); {cure}")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def say(self, path: str, body: bytes) -> bytes:
        """Send a message and give the answer. PairingError."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read(pake.MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            cure = "begin again, at the port of its page"
            raise PairingError(f"{self._hub} broke off ({reason_of(error)}); {cure}") from None
        if answer.status == HTTP_NOT_FOUND:
            raise PairingError(CLOSED)
        if answer.status >= 300:
            kind = {HTTP_FORBIDDEN: WrongCode, HTTP_CONFLICT: Busy}.get(answer.status, PairingError)
            raise kind(f"{self._hub} says: {words_of(text) or answer.status}")
        if len(text) > pake.MAX_ANSWER_BYTES:
            raise PairingError(f"{self._hub} says more than a hub does; is it an appliance?")
        return text


def introduce(config: SensorsConfig, hub: Hub, code: str) -> Credential:
    """Run through pairing with this code, and keep what the hub gives. PairingError, CredentialError."""
    topics = tuple(dict.fromkeys(topic for sensor in config.sensors for topic in sensor.topics(config.site)))
    if len(topics) > pake.MAX_TOPICS:
        raise PairingError(f"{len(topics)} topics are more than {pake.MAX_TOPICS}; divide the sensors among agents")
    ends = time.monotonic() + BUSY_S
    while True:
        line = Line(hub)
        try:
            request = Request(topics=topics, certificate=pake.digest(line.certificate), name=config.name)
            visit = Visit(code, site=config.site, agent=config.agent, request=request)
            try:
                welcome = line.say(pake.HELLO, visit.hello())
            except Busy:
                if time.monotonic() >= ends:
                    raise
                time.sleep(LOOK_AGAIN_S)
                continue
            proven = line.say(pake.PROVE, visit.proof(welcome))
            grant = visit.grant(line.say(pake.ASK, visit.ask(proven)))
        finally:
            line.close()
        return _kept(config, grant, line.address, hub.name, topics)


def is_there(hub: Hub) -> None:
    """Raise PairingError unless something answers there with TLS."""
    Line(hub).close()


def _kept(config: SensorsConfig, grant: Grant, address: str, called: str, topics: tuple[str, ...]) -> Credential:
    if grant.ca:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=grant.ca)
        except (ssl.SSLError, ValueError):
            raise PairingError("the hub gave no authority's certificate in PEM form; update it") from None
    kept = Credential(
        username=grant.username,
        secret=grant.secret,
        address=address,
        port=grant.port,
        name=name_among(grant.names, called, address),
        has_ca=bool(grant.ca),
        topics=topics,
    )
    credential.write(config.credential_path, kept, config.ca_path, grant.ca)
    return kept


def name_among(names: Sequence[str], called: str, address: str) -> str:
    """Give the name by which the hub's certificate is known again, best that by which it was `called`.

    An address only where the certificate has nothing else, as the hub may move to another.
    """
    asked = called.lower().removesuffix(".")
    if asked in names and not pake.is_address(asked):
        return asked
    best = pake.best_name(names)
    return address if pake.is_address(best) and address in names else best


def reason_of(error: Exception) -> str:
    """Say in some words what went wrong."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason}"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def words_of(text: bytes) -> str:
    """Give what a refusal says, as far as it can be shown."""
    try:
        told = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return "".join(letter for letter in str(told)[:MOST_WORDS] if letter.isprintable())
