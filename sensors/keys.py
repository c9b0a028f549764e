"""Every key of sensors.toml but those of the kinds: its type, bounds, default and the sentence that explains it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appliance.settings import FilePath, Level
from sensors.treatment import Treatment

Seconds = Annotated[float, Meta(ge=0.1, le=604_800)]


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the readings go."""

    host: Annotated[
        Annotated[str, Meta(min_length=1, max_length=253)] | None,
        Meta(
            description="Name or address of the broker. Absent: one found by mDNS, with `ca_file` or `tls = false`; "
            "else the one on this computer.",
        ),
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65_535)] | None,
        Meta(description="Its TCP port; absent, the usual one: 1883, with TLS 8883."),
    ] = None
    tls: Annotated[
        bool | None,
        Meta(
            description="Whether the connection is encrypted; absent, it is where one of the files below is named. "
            "`false` without `host` takes whatever broker is found."
        ),
    ] = None
    ca_file: Annotated[
        FilePath,
        Meta(
            description="PEM file of the authority that the broker's certificate must come from; empty: the system's."
        ),
    ] = ""
    cert_file: Annotated[
        FilePath, Meta(description="PEM file of the agent's own certificate, where the broker wants one.")
    ] = ""
    key_file: Annotated[FilePath, Meta(description="PEM file of its private key; empty: it is in the same file.")] = ""
    username: Annotated[str, Meta(max_length=1024, description="User name, where the broker wants one.")] = ""
    password_file: Annotated[
        FilePath,
        Meta(description="File whose first line is the password; a plain name is a systemd credential of the service."),
    ] = ""
    keep_alive_s: Annotated[
        int,
        Meta(
            ge=5,
            le=3_600,
            description="Seconds; after half as long again without a word from the agent, the broker calls it offline.",
        ),
    ] = 30

    def says_who(self) -> bool:
        """Whether it says by itself as whom to connect, or to trust whom: then pairing counts for nothing."""
        return self.tls is False or any(
            (self.ca_file, self.cert_file, self.key_file, self.username, self.password_file)
        )


class OutboxBounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is kept while the broker is away; the oldest readings go first."""

    max_readings: Annotated[int, Meta(ge=100, le=100_000_000, description="Readings kept for the broker.")] = 100_000
    max_bytes: Annotated[
        int, Meta(ge=65_536, le=1_099_511_627_776, description="Bytes of the readings kept for the broker.")
    ] = 16_777_216


class SensorKeys(Treatment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys that every sensor has, whatever its kind; those for its numbers among them."""

    name: Annotated[
        Level, Meta(description="What you call it, such as bath-air; no two sensors of an agent have one name.")
    ]
    kind: Annotated[
        str, Meta(description="What it is, such as bme280 or gpio_input; `sensors list --kinds` explains all.")
    ]
    room: Annotated[Level, Meta(description="Where it is, such as bath: the second level of its topics.")]
    label: Annotated[
        Level | None, Meta(description="Third level, where a room has two sensors that measure the same.")
    ] = None
    title: Annotated[str, Meta(max_length=200, description="Name for people, in any language.")] = ""
    interval_s: Annotated[Seconds | None, Meta(description="Seconds between readings; the kind has a default.")] = None
    offline_after: Annotated[
        int, Meta(ge=1, le=1_000, description="Failures in a row after which the sensor is called offline.")
    ] = 3
    timeout_s: Annotated[
        Seconds | None,
        Meta(
            description="It is called offline, too, when one of its numbers was not believable for so many seconds; "
            "two intervals at least."
        ),
    ] = None
    derived: Annotated[
        tuple[Literal["dew_point", "absolute_humidity"], ...],
        Meta(
            description='Computed from temperature and humidity: `["dew_point", "absolute_humidity"]`.',
            extra={"cure": 'give a list of "dew_point" and "absolute_humidity"'},
        ),
    ] = ()


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; each `[[sensor]]` also holds the options of its kind."""

    site: Annotated[
        Level,
        Meta(
            description="First level of this home's topics: the `site` of the service, whose page and history leave "
            "other sites out."
        ),
    ] = "home"
    agent: Annotated[
        Level | None,
        Meta(description="This agent's level below <site>/devices/; the host's name where absent."),
    ] = None
    name: Annotated[str, Meta(max_length=200, description="The agent's name for people, in any language.")] = ""
    data_dir: Annotated[
        FilePath, Meta(description="Directory of the outbox; empty means the usual place for the user.")
    ] = ""
    broker: Annotated[Broker, Meta(description="Where the readings go.")] = Broker()
    outbox: Annotated[OutboxBounds, Meta(description="How much is kept while the broker is away.")] = OutboxBounds()
    sensor: Annotated[list[dict[str, Any]], Meta(description="The sensors, one table each.")] = []
