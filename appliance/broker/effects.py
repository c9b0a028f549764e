"""What the core asks the world to do; rare, frozen, in order."""

from dataclasses import dataclass, field

from appliance.broker.connection import Connection


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is on the connection's output, then close it. `why` is for the log."""

    connection: Connection
    why: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Find out who this is, then answer with `Broker.authenticated`; nothing else is read from it meanwhile."""

    connection: Connection
    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)  # not for a log


Effect = Close | Authenticate
