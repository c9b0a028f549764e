"""Every setting of the service, once: its type, bounds, default and the sentence that explains it.

The configuration file, its JSON Schema, the error texts and the README's table all come from these fields.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, inspect

# (?!\n) because Python's $ alone would let a line end follow.
LEVEL_PATTERN = r"^(?!(devices|hub|set|availability|homeassistant)$)[a-z0-9_-]+(?!\n)$"
LOOPBACK_PATTERN = r"^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1)(?!\n)$"

LOOPBACK_CURE = "use 127.0.0.1 here; other computers are served by a [[listener]], with accounts"

Level = Annotated[
    str,
    Meta(
        pattern=LEVEL_PATTERN,
        max_length=64,
        extra={
            "takes": "a word of a-z, 0-9, _ and -",
            "cure": "use a-z, 0-9, _ and -, and none of the reserved names "
            "devices, hub, set, availability and homeassistant",
        },
    ),
]
"""One level of a topic of ours, such as a site, a room or an agent."""

Loopback = Annotated[str, Meta(pattern=LOOPBACK_PATTERN, extra={"cure": LOOPBACK_CURE})]
"""An address that only this computer can reach."""

ADDRESS_PATTERN = r"^([0-9a-fA-F.:]+(%[A-Za-z0-9._-]+)?|localhost)(?!\n)$"

Address = Annotated[
    str,
    Meta(
        pattern=ADDRESS_PATTERN,
        max_length=128,
        extra={"cure": "give an address of this computer such as 192.168.1.5, or 0.0.0.0 or :: for all of them"},
    ),
]
"""An address to listen on. No name: what a name server says must not decide who gets in."""

HostName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(?!\n)$",
        max_length=253,
        extra={"cure": "give a name in lower case, without http:// and port"},
    ),
]

Port = Annotated[int, Meta(ge=0, le=65_535)]

ListenerPort = Annotated[int, Meta(ge=1, le=65_535)]

USUAL_PORTS = {("mqtt", False): 1883, ("mqtt", True): 8883, ("web", False): 8080, ("web", True): 8443}
"""What is served, whether with TLS -> port."""

FilePath = Annotated[
    str,
    Meta(
        max_length=4_096,
        pattern="^[^\\0]*$",
        extra={"takes": "a path", "cure": 'give a path in "quotation marks", without U+0000'},
    ),
]
"""A path; the system takes none with U+0000."""


class Mqtt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where MQTT clients connect."""

    address: Annotated[Loopback, Meta(description="Address the broker listens on; this computer only.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port of the broker; 0 opens none.")] = 1883
    sys_interval_s: Annotated[
        int, Meta(ge=0, le=86_400, description="Seconds between the broker's own figures on $SYS; 0 publishes none.")
    ] = 10


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the page is."""

    address: Annotated[Loopback, Meta(description="Address the page listens on; this computer only.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="TCP port of the page; 0 opens none.")] = 8080


class Listener(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more place to listen: on the network, with TLS, or on a socket file."""

    serve: Annotated[
        Literal["mqtt", "web"], Meta(description="What is served: mqtt, or web (page, API, and MQTT at /mqtt).")
    ] = "mqtt"
    address: Annotated[
        Address,
        Meta(description="Address it listens on; 0.0.0.0 is every IPv4 address of this computer, :: every address."),
    ] = "127.0.0.1"
    port: Annotated[
        ListenerPort | None,
        Meta(description="TCP port; absent, the usual one: 1883 or 8080, with a certificate 8883 or 8443."),
    ] = None
    path: Annotated[
        FilePath, Meta(description="Socket file, instead of address and port; for mqtt, without TLS, mode 0660.")
    ] = ""
    certificate: Annotated[
        FilePath, Meta(description="PEM file of the server's certificate and those above it; turns TLS on.")
    ] = ""
    key: Annotated[FilePath, Meta(description="PEM file of its private key; empty: it is in the same file.")] = ""
    client_ca: Annotated[
        FilePath, Meta(description="PEM file of the authorities whose client certificates are accepted.")
    ] = ""
    require_client_certificate: Annotated[
        bool, Meta(description="Whether clients without a certificate are turned away.")
    ] = False
    use_identity_as_username: Annotated[
        bool,
        Meta(
            description="Whether a client is the user that its certificate names (CN), "
            "whatever user name and password it gives."
        ),
    ] = False
    names: Annotated[
        tuple[HostName, ...],
        Meta(max_length=64, description="Further names by which browsers may ask for the page, such as hub.lan."),
    ] = ()
    plain: Annotated[bool, Meta(description="Says that other computers shall be served without encryption.")] = False

    def port_or_usual(self) -> int:
        """The port, or the one that is usual for what is served."""
        return self.port or USUAL_PORTS[self.serve, bool(self.certificate)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client, and all of them together, may cost."""

    max_packet_bytes: Annotated[
        int, Meta(ge=1_024, le=268_435_460, description="Largest packet a client may send.")
    ] = 262_144
    receive_maximum: Annotated[
        int,
        Meta(ge=1, le=65_535, description="QoS 1 and 2 messages a client may send before the first is acknowledged."),
    ] = 1_000
    max_inflight: Annotated[
        int,
        Meta(ge=1, le=65_535, description="QoS 1 and 2 messages sent to a client before it acknowledges the first."),
    ] = 100
    max_queued_messages: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Messages kept for one client that is away or slow.")
    ] = 8_192
    max_queued_bytes: Annotated[
        int, Meta(ge=1_024, le=1_073_741_824, description="Bytes of the messages kept for one client.")
    ] = 4_194_304
    max_output_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=1_073_741_824,
            description="Bytes that may wait for a slow client before QoS 0 messages to it are dropped.",
        ),
    ] = 262_144
    max_connections: Annotated[
        int, Meta(ge=1, le=100_000, description="Clients connected at the same time; further ones are turned away.")
    ] = 1_000
    max_connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Of these, clients from one address; of IPv6 from one /64 network, from one address half.",
        ),
    ] = 200
    max_sessions: Annotated[
        int, Meta(ge=1, le=100_000, description="Sessions kept, of connected and absent clients together.")
    ] = 1_000
    max_subscriptions: Annotated[
        int, Meta(ge=1, le=100_000, description="Subscriptions of one client; further ones are refused.")
    ] = 1_000
    max_subscription_bytes: Annotated[
        int,
        Meta(
            ge=1_024, le=1_073_741_824, description="Bytes of one client's topic filters, 400 a level beside letters."
        ),
    ] = 2_097_152
    max_topic_levels: Annotated[
        int, Meta(ge=4, le=1_024, description="Levels that a topic or topic filter may have.")
    ] = 64
    max_retained_messages: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Retained messages, of all topics together.")
    ] = 20_000
    max_retained_bytes: Annotated[
        int, Meta(ge=1_024, le=4_294_967_296, description="Bytes of all retained messages and their topics together.")
    ] = 16_777_216
    max_client_id_bytes: Annotated[int, Meta(ge=23, le=65_535, description="Longest client identifier.")] = 256
    connect_timeout_s: Annotated[
        float, Meta(ge=0.1, le=300, description="Seconds a new connection has to say CONNECT.")
    ] = 5.0
    tls_handshake_s: Annotated[
        float, Meta(ge=0.1, le=60, description="Seconds a new connection has for its TLS handshake.")
    ] = 10.0
    max_handshakes: Annotated[
        int,
        Meta(ge=1, le=10_000, description="TLS handshakes of one listener at the same time; further clients wait."),
    ] = 64
    max_handshakes_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Of these, with one address (of IPv6 one /64, an address half); further ones are closed.",
        ),
    ] = 32
    max_keep_alive_s: Annotated[
        int,
        Meta(ge=0, le=65_535, description="Longest silence an MQTT 5 client may ask for, of which it is told; 0: any."),
    ] = 3_600
    session_expiry_s: Annotated[
        int, Meta(ge=0, le=4_294_967_294, description="Seconds a persistent session outlives its absent client.")
    ] = 604_800
    topic_alias_maximum: Annotated[
        int, Meta(ge=0, le=65_535, description="Topics that an MQTT 5 client may abbreviate on its link; 0 for none.")
    ] = 10
    max_cached_topics: Annotated[
        int, Meta(ge=16, le=1_000_000, description="Topics whose recipients are remembered between messages.")
    ] = 16_384


class Store(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outlives the service, and what that may cost the card."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether sessions, retained messages and history are kept on disk; "
            "without, everything is gone when the service ends."
        ),
    ] = True
    wait: Annotated[
        bool,
        Meta(
            description="Whether acknowledgements wait until their effect is on disk; "
            "without, a pulled plug may lose the last second."
        ),
    ] = True
    budget_mb_per_day: Annotated[
        int,
        Meta(
            ge=10,
            le=1_000_000,
            description="Megabytes a day that writing should cost the card; beyond it messages wait up to a second "
            "to be written together.",
        ),
    ] = 200
    max_mb: Annotated[
        int,
        Meta(ge=16, le=1_000_000, description="Size of the database file in megabytes; the oldest history goes first."),
    ] = 4_000
    reserve_mb: Annotated[
        int,
        Meta(
            ge=0, le=1_024, description="Megabytes kept free beside the database, to make room when the disk is full."
        ),
    ] = 8


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written down."""

    enabled: Annotated[bool, Meta(description="Whether readings are recorded in the database.")] = True
    max_series: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Series kept; values of further topics are counted and not recorded.")
    ] = 2_000
    raw_days: Annotated[int, Meta(ge=0, le=36_500, description="Days that every reading is kept; 0 for ever.")] = 90
    minute_days: Annotated[int, Meta(ge=0, le=36_500, description="Days that a row a minute is kept; 0 for ever.")] = (
        365
    )
    hour_days: Annotated[int, Meta(ge=0, le=36_500, description="Days that a row an hour is kept; 0 for ever.")] = 3_650
    day_days: Annotated[int, Meta(ge=0, le=36_500, description="Days that a row a day is kept; 0 for ever.")] = 0


class Accounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may connect, and what they may do."""

    password_file: Annotated[
        FilePath,
        Meta(description="File of the users and their passwords, made with `appliance passwd`; empty: no accounts."),
    ] = ""
    rules_file: Annotated[
        FilePath,
        Meta(description="File of what each user may publish and read; empty: everybody everything but $ topics."),
    ] = ""
    managed_file: Annotated[
        FilePath,
        Meta(description="File of the accounts that `appliance devices` and pairing make; empty: none of these."),
    ] = ""
    anonymous: Annotated[
        bool | None,
        Meta(
            description="Whether clients of this computer are let in without a user name; "
            "where absent, only while there are no accounts."
        ),
    ] = None

    def wanted(self) -> bool:
        """Whether there are accounts."""
        return bool(self.password_file or self.managed_file)


class Mdns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How others on the network find this hub."""

    enabled: Annotated[
        bool,
        Meta(description="Whether listeners beyond this computer are announced, so that agents and people find them."),
    ] = True


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration of the service."""

    site: Annotated[Level, Meta(description="First level of this home's topics.")] = "home"
    data_dir: Annotated[
        FilePath,
        Meta(
            description="Directory of the database and the control socket; empty means the usual place for the user.",
        ),
    ] = ""
    mqtt: Annotated[Mqtt, Meta(description="Where MQTT clients connect.")] = Mqtt()
    web: Annotated[Web, Meta(description="Where the page is.")] = Web()
    listener: Annotated[
        tuple[Listener, ...], Meta(max_length=64, description="Further places to listen, one table each.")
    ] = ()
    mdns: Annotated[Mdns, Meta(description="How others on the network find this hub.")] = Mdns()
    limits: Annotated[Limits, Meta(description="What one client, and all of them together, may cost.")] = Limits()
    store: Annotated[Store, Meta(description="What outlives the service.")] = Store()
    history: Annotated[History, Meta(description="What is written down.")] = History()
    accounts: Annotated[Accounts, Meta(description="Who may connect, and what they may do.")] = Accounts()


Role = Literal["admin", "reader", "integration", "device"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one user may do, together with the user's other rules."""

    user: Annotated[
        str | None,
        Meta(description="Name of the user, letter by letter: `#`, `+` and `/` mean nothing in it."),
    ] = None
    everybody: Annotated[bool, Meta(description="In place of `user`: the rule of every user in the password file.")] = (
        False
    )
    anonymous: Annotated[bool, Meta(description="In place of `user`: the rule of clients without a user name.")] = False
    role: Annotated[Role | None, Meta(description="What such a user may do; `publish` and `subscribe` add to it.")] = (
        None
    )
    agent: Annotated[
        Level | None, Meta(description="Of the role device: the agent's name, where it is not the user's.")
    ] = None
    publish: Annotated[list[str], Meta(description="Topic filters; messages to these topics are taken.")] = []
    subscribe: Annotated[list[str], Meta(description="Topic filters; messages on these topics are delivered.")] = []


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of the rules."""

    rule: Annotated[list[Rule], Meta(description="One table for each rule.")] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the documentation."""

    section: str  # "" for the top of the file
    name: str
    default: object
    help: str


def described(struct: type[msgspec.Struct], section: str = "") -> Iterator[Setting]:
    """Every setting of a struct and of the structs inside it, in the order of the file; sections come last.

    A list of structs, headed [[name]] in the file, is a section too.

    A setting without a description raises ValueError: it could not be documented.
    """
    sections: list[tuple[type[msgspec.Struct], str]] = []
    for field in inspect.type_info(struct).fields:  # type: ignore[attr-defined]  # a Struct's info is a StructType
        kind = field.type
        help_text = ""
        while isinstance(kind, inspect.Metadata):
            help_text = help_text or (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType):
            kind = kind.item_type
        if isinstance(kind, inspect.StructType):
            sections.append((kind.cls, f"{section}.{field.name}" if section else field.name))
            continue
        if not help_text:
            raise ValueError(f"{struct.__name__}.{field.name} has no description")
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        yield Setting(section=section, name=field.name, default=default, help=help_text)
    for inner, name in sections:
        yield from described(inner, name)
