"""Where readings and an agent's own words go, and what stands in a payload. Pure."""

import math
import re
from dataclasses import dataclass

from appliance.devices import ABOUT, AVAILABILITY, device_topic
from sensors.reading import Value

RESERVED_LEVELS = frozenset({"devices", "hub", "set", "availability", "homeassistant"})
MAX_LEVEL_CHARACTERS = 64
ON = "ON"
OFF = "OFF"
TOGGLE = "TOGGLE"
LONGEST_COMMAND = 32  # bytes, with the spaces that somebody put around it

_LEVEL = re.compile(r"[a-z0-9_-]+")
_FOREIGN = re.compile(r"[^a-z0-9_-]+")


def check_level(level: str) -> None:
    """Raise ValueError, saying why, where `level` cannot be one level of a topic of ours."""
    if not level:
        raise ValueError("is empty")
    if not _LEVEL.fullmatch(level):
        raise ValueError(f'"{level}" may hold only a-z, 0-9, _ and -')
    if level in RESERVED_LEVELS:
        raise ValueError(f'"{level}" is reserved')
    if len(level) > MAX_LEVEL_CHARACTERS:
        raise ValueError(f"has {len(level)} characters, {MAX_LEVEL_CHARACTERS} are the most")


def legal_level(text: str, otherwise: str) -> str:
    """Make a level of a host name or a title; `otherwise` where nothing legal is left of it."""
    level = _FOREIGN.sub("-", text.lower()).strip("-")[:MAX_LEVEL_CHARACTERS].strip("-")
    return otherwise if not level or level in RESERVED_LEVELS else level


def state_topic(site: str, room: str, label: str | None, measurement: str) -> str:
    """Topic of one reading: site/room/measurement, with the label between where the sensor has one."""
    return "/".join(level for level in (site, room, label, measurement) if level)


def place_of(state: str) -> str:
    """Give what stands before the measurement: site/room, and the label where there is one."""
    return state.rpartition("/")[0]


def command_topic(state: str) -> str:
    """Topic where an actuator whose state is on `state` takes commands."""
    return f"{state}/set"


@dataclass(frozen=True, slots=True)
class AgentTopics:
    """The topics on which one agent speaks of itself."""

    site: str
    agent: str

    @property
    def availability(self) -> str:
        """Birth, Last Will and goodbye."""
        return device_topic(self.site, self.agent, AVAILABILITY)

    @property
    def about(self) -> str:
        """The agent and every sensor, for the page, the history and discovery."""
        return device_topic(self.site, self.agent, ABOUT)

    @property
    def backlog(self) -> str:
        """Readings that could not be sent in their time."""
        return device_topic(self.site, self.agent, "backlog")

    @property
    def health(self) -> str:
        """Counters: reads, failures and the outbox."""
        return device_topic(self.site, self.agent, "health")

    @property
    def own(self) -> str:
        """Begins every topic below which this agent alone publishes."""
        return device_topic(self.site, self.agent, "")

    def sensor_availability(self, sensor: str) -> str:
        """Topic that says when one sensor fails while the agent lives."""
        return device_topic(self.site, self.agent, f"{sensor}/{AVAILABILITY}")


def payload_of(value: Value, decimals: int | None = None) -> str:
    """Give the payload of a reading: a plain number, ON or OFF, the name of an event; ValueError for nan and inf."""
    if isinstance(value, bool):
        return ON if value else OFF
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{value} is no reading")
    text = f"{value:.12g}" if decimals is None else f"{value:.{decimals}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text  # no -0.0


def quoted(payload: bytes) -> str:
    """Show a command to people, the beginning of a long one; what cannot be shown is a small box."""
    if not payload:
        return "an empty message"
    text = payload[:LONGEST_COMMAND].decode("utf-8", "replace")
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return f'"{shown}{"…" if len(payload) > LONGEST_COMMAND else ""}"'


def command_of(payload: bytes, present: bool | None) -> bool:  # noqa: FBT001 the state is the value
    """Read a command: True for on. ValueError says what is wrong; TOGGLE needs the `present` state."""
    word = payload.decode("utf-8", "replace").strip().upper() if len(payload) <= LONGEST_COMMAND else ""
    if word == TOGGLE:
        if present is None:
            raise ValueError("TOGGLE, but the present state is not known yet; send ON or OFF")
        return not present
    if word not in (ON, OFF):
        raise ValueError(f"{quoted(payload)} is no command; ON, OFF and TOGGLE are")
    return word == ON
