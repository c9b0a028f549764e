"""Which broker, as whom, and where it may be: as configured, or looked for."""

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sensors.discovery import PLAIN, SECURE, Found
from sensors.trust import Trust, TrustError

USUAL_PORT = 1883
USUAL_TLS_PORT = 8883
LOOPBACK = "127.0.0.1"
MOST_SITE = 64  # characters of what a broker says is its site

Look = Callable[[str, str], Sequence[Found]]
"""Looks for what is announced as a service, for a site; DiscoveryError."""


@dataclass(frozen=True, slots=True)
class Place:
    """One way to a broker: the address to connect to, and the name that its certificate must have."""

    address: str
    port: int
    name: str
    found: bool = False

    def __str__(self) -> str:
        """Say where it is, for people."""
        if self.found:
            return f"{self.name} ({_joined(self.address, self.port)}, found by mDNS)"
        return _joined(self.address, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Which broker, as whom, and what the broker says for us when we die.

    Without a `host` the broker is looked for, where it can be known again (`trust` names its authority) or where
    somebody said that it need not be (`anyone`); else, and where none is found, it is the one on this computer.
    An agent that was paired tries first where the hub was `known` to be; its certificate has this `name` everywhere.
    """

    client_id: str
    will_topic: str
    will_payload: bytes
    host: str | None = None
    port: int | None = None
    known: str = ""
    name: str = ""
    site: str = ""
    trust: Trust | None = None
    anyone: bool = False
    username: str | None = None
    password: str | None = None
    keep_alive_s: int = 30

    def __str__(self) -> str:
        """Say which broker it is, for people."""
        if self.name:
            return f"the hub {self.name} with which it was paired ({self.given})"
        if self.is_looked_for:
            return f"a broker found by mDNS ({self.service})"
        return f"{self.given}{' with TLS' if self.trust is not None else ''}"

    @property
    def usual_port(self) -> int:
        """The port where none is given."""
        return self.port or (USUAL_PORT if self.trust is None else USUAL_TLS_PORT)

    @property
    def is_looked_for(self) -> bool:
        """Whether mDNS is asked."""
        return self.host is None and (self.anyone if self.trust is None else bool(self.trust.ca_file))

    @property
    def service(self) -> str:
        """What it is announced as."""
        return PLAIN if self.trust is None else SECURE

    @property
    def given(self) -> Place:
        """The place that needs no looking for: as configured, else this computer."""
        host = self.host or self.known or LOOPBACK
        return Place(host, self.usual_port, self.name or host)

    def places(self, look: Look) -> list[Place]:
        """Give where to try, in order; takes seconds where it has to be looked for. DiscoveryError.

        Where a paired agent knows its hub to be is left out: it has been tried.
        """
        if not self.is_looked_for:
            return [] if self.known else [self.given]
        found = look(self.service, self.site)
        return [
            *(
                Place(address, one.port, self.name or one.name, found=True)
                for one in found
                for address in one.addresses
            ),
            *([] if self.known else [self.given]),
        ]

    def explained(self, place: Place, error: Exception) -> str:
        """Say why a place could not be reached, and the cure."""
        match error:
            case TrustError():
                return str(error)
            case ssl.SSLError():
                return (self.trust or Trust()).distrusted(str(place), place.name, error)
            case ConnectionRefusedError() if self.name:
                return f"nothing listens on {place}; is the hub running? If it moved, pair anew: `sensors pair`"
            case ConnectionRefusedError() if self.is_looked_for and not place.found:
                return (
                    f"no broker for site {self.site} is found by mDNS ({self.service}), nor on {place}; set broker.host"
                )
            case ConnectionRefusedError() if self.host is None and not place.found:
                return (
                    f"nothing listens on {place}; is the broker running? Where it is on another computer, "
                    "`sensors pair` gets this agent an account there"
                )
            case ConnectionRefusedError():
                return f"nothing listens on {place}; is the broker running, and are broker.host and broker.port right?"
            case socket.gaierror():
                return f"the name {place.name} is not known here; check broker.host"
            case TimeoutError():
                return f"{place} does not answer; check broker.host and the network"
            case ConnectionResetError() if self.trust is not None:
                return self.ended_early(place)
            case OSError():
                return f"{place} cannot be reached: {error.strerror or error}"
        return f"{place} cannot be reached: {error}"

    def strayed(self, place: Place, site: str) -> str:
        """Say what comes of it that the broker serves another site than ours, and the cure; empty where it does not."""
        if not site or not self.site or site == self.site or not site.isprintable():
            return ""
        return (
            f"{place} is the hub of site {site[:MOST_SITE]}, whose page and history leave out what this agent of site "
            f'{self.site} publishes; set site = "{site[:MOST_SITE]}", or broker.host to the hub of {self.site}'
        )

    def ended_early(self, place: Place) -> str:
        """Say what may be wrong where a connection ends before the broker has answered."""
        if self.trust is not None:
            return self.trust.ended(str(place), "connection reset")
        return f"{place} closed the connection without an answer; does it want TLS there? Set broker.tls = true"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
