"""Sensors of a house that is not there, and what goes wrong with them.

Values follow from seed, name and time: nothing is remembered, so an agent that starts again goes on where the curve is
by then. Contacts, motion sensors and buttons are the real `gpio_input` on a pin that the house moves.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from msgspec import Meta

from sensors.driver import BadFrame, Channel, Disconnected, Driver, DriverContext, SensorError
from sensors.drivers.ds18b20 import DEVICES, Ds18b20
from sensors.drivers.gpio_input import WIRINGS, GpioInput
from sensors.house.chance import DAY_S, Comings, Daily, Happening, Remembered
from sensors.house.faults import KINDS, SHAPE, Fault, Kind, parse
from sensors.house.people import HALL, People, place_of
from sensors.house.rooms import Meter, Room
from sensors.house.rounds import ROUNDS, Rounds
from sensors.house.weather import Weather
from sensors.hw.gpio import InputLine, OutputLine, Pull
from sensors.hw.sysfs import FakeSysfs
from sensors.reading import Reading

LONGEST_WAIT_S = 1.0  # the wall clock may be set meanwhile
CHATTER_S = 0.004  # between two edges of a bouncing contact
LOST_POWER = {  # what the kernel tells of a DS18B20 that lost its power before it could measure
    f"{DEVICES}/w1_bus_master1/name": "w1_bus_master1",
    f"{DEVICES}/28-000803702e49/w1_slave": (
        "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000"
    ),
}
LEAK_SLOT_S = 20.0 * DAY_S

Model = Literal[
    "room", "outdoor", "co2", "light", "energy", "motion", "door", "window", "leak", "button", "relay", "lamp"
]

TEMPERATURE = Channel(measurement="temperature", unit="°C", low=-40, high=125, max_step=10, decimals=2)
HUMIDITY = Channel(measurement="humidity", unit="%", low=0, high=100, max_step=30, decimals=1)
ILLUMINANCE = Channel(measurement="illuminance", unit="lx", low=0, high=200_000, decimals=1)
INSTRUMENTS: dict[str, tuple[Channel, ...]] = {  # what is asked, and what it measures
    "room": (TEMPERATURE, HUMIDITY),
    "outdoor": (
        TEMPERATURE,
        HUMIDITY,
        Channel(measurement="pressure", unit="hPa", low=300, high=1100, max_step=20, decimals=1),
        ILLUMINANCE,
    ),
    "co2": (Channel(measurement="co2", unit="ppm", low=250, high=40_000, decimals=0),),
    "light": (ILLUMINANCE,),
    "energy": (
        Channel(measurement="power", unit="W", low=0, high=25_000, decimals=0),
        Channel(measurement="energy", unit="kWh", low=0, decimals=3),
    ),
}
CONTACTS = ("motion", "door", "window", "leak", "button")
BUSY: dict[str, tuple[float, float, float]] = {  # slot, shortest, longest in seconds: nobody has to wait a minute
    "motion": (28.0, 6.0, 16.0),
    "door": (29.0, 4.0, 20.0),
    "window": (29.0, 8.0, 24.0),
    "leak": (600.0, 20.0, 60.0),
    "button": (40.0, 0.1, 0.2),
    "lamp": (45.0, 10.0, 30.0),
}
FAULTS: dict[str, tuple[Kind, ...]] = {  # what can go wrong with what is asked, with what is wired, with what switches
    **dict.fromkeys(INSTRUMENTS, ("checksum", "unplugged", "stuck", "clock")),
    **dict.fromkeys(CONTACTS, ("bounce", "unplugged", "stuck", "clock")),
    "room": ("checksum", "unplugged", "stuck", "85", "clock"),
    "outdoor": ("checksum", "unplugged", "stuck", "85", "clock"),
    "relay": ("clock",),
    "lamp": ("clock",),
}


@dataclass(frozen=True, slots=True)
class House:
    """One sensor's place in the house, and what time it is there."""

    seed: int
    name: str  # of the sensor
    place: str
    faults: tuple[Fault, ...]
    wall_clock: Callable[[], float]
    offset_s: float  # of this computer's standard time: the house's people get up in its morning

    def now(self) -> float:
        """Seconds of the house's own time."""
        return self.wall_clock() + self.offset_s

    def fault(self, kind: Kind, at: float) -> Fault | None:
        """Give the fault of a kind that is there at a time."""
        struck = (fault for fault in self.faults if fault.kind == kind and fault.strikes(self.seed, self.name, at))
        return next(struck, None)

    def happening(self, model: str, *, busy: bool) -> Happening:
        """Give what is ON and OFF at a contact or a lamp."""
        if busy:
            return Comings(self.seed, self.name, *BUSY[model])
        if model == "leak":
            return Comings(self.seed, self.name, LEAK_SLOT_S, 120, 900)
        people = People(self.seed)
        spans: dict[str, Callable[[int], tuple[tuple[float, float], ...]]] = {
            "motion": partial(people.motion, self.place),
            "door": people.front_door if self.place == HALL else partial(people.door, self.place),
            "window": partial(people.window, self.place),
            "button": people.ringing,
        }
        return Room(self.seed, self.name, self.place).lamp if model == "lamp" else Daily(spans[model])


class SimulatedInstrument:
    """What is asked: the air of a room, the weather, the meter."""

    serial_number: str | None = None
    interval_s: ClassVar[float] = 2.0
    min_interval_s: ClassVar[float] = 0.1
    timeout_s: ClassVar[float] = 1.0

    def __init__(self, model: str, house: House) -> None:
        self.channels: tuple[Channel, ...] = INSTRUMENTS[model]
        self.model: str | None = f"simulated {model}"
        self._house = house
        subjects: dict[str, Any] = {"outdoor": Weather(house.seed), "energy": Meter(house.seed)}
        subject = subjects.get(model) or Room(house.seed, house.name, house.place)
        self._curves = {channel.measurement: getattr(subject, channel.measurement) for channel in self.channels}
        self._last: tuple[Reading, ...] = ()

    def read(self) -> Sequence[Reading]:
        """Give what it shows at this time, or fail as the real one would."""
        at = self._house.now()
        if self._house.fault("unplugged", at):
            raise Disconnected("no answer: check power and wiring")
        if self._house.fault("checksum", at):
            raise BadFrame("the answer is damaged: its checksum is wrong")
        if self._house.fault("85", at):
            return Ds18b20(FakeSysfs(LOST_POWER)).read()  # the real driver, which does not believe it
        if not (self._last and self._house.fault("stuck", at)):
            self._last = tuple(Reading(measurement, curve(at)) for measurement, curve in self._curves.items())
        return self._last

    def close(self) -> None:
        """Do nothing: nothing is held."""


class SimulatedLine:
    """A pin with a contact of the house on it; see InputLine."""

    def __init__(
        self, model: str, house: House, happening: Happening, clock: Callable[[], float], rounds: Rounds = ROUNDS
    ) -> None:
        wiring = WIRINGS[model]
        self._on_level = wiring.active == "high"
        self._cut_level = wiring.pull == "up"  # where the resistor draws a pin whose wire is cut
        self._house = house
        self._happening = happening
        self._clock = clock
        self._rounds = rounds
        self._edges: deque[tuple[float, bool]] = deque()  # of a contact that bounces, with the time of each
        self._call: Callable[[bool, float], None] | None = None
        self._look_number: int | None = None
        self._contact = self._level = self._wired(house.now(), stuck_at=None)

    def level(self) -> bool:
        """See InputLine."""
        return self._level

    def on_edge(self, call: Callable[[bool, float], None]) -> None:
        """See InputLine."""
        self._call = call
        self._look_number = self._rounds.add(self.look)

    def close(self) -> None:
        """See InputLine."""
        self._call = None
        if self._look_number is not None:
            self._rounds.drop(self._look_number)

    def look(self) -> float:
        """Move the pin as far as it is time; give the seconds until the next look."""
        at, now = self._house.now(), self._clock()
        contact = self._wired(at, stuck_at=self._contact)
        if contact is not self._contact:
            self._contact = contact
            bounce = self._house.fault("bounce", at)
            chatter = 2 * int(bounce.amount / CHATTER_S / 2) if bounce else 0
            self._edges.extend((now + i * CHATTER_S, contact is (i % 2 == 0)) for i in range(chatter + 1))
        while self._edges and self._edges[0][0] <= now:
            self._move(*self._edges.popleft())
        if self._edges:
            return self._edges[0][0] - now
        return min(self._happening.next_change(at) - at, LONGEST_WAIT_S)

    def _wired(self, at: float, *, stuck_at: bool | None) -> bool:
        if self._house.fault("unplugged", at):
            return self._cut_level
        if stuck_at is not None and self._house.fault("stuck", at):
            return stuck_at
        return self._happening.is_on(at) is self._on_level

    def _move(self, at: float, level: bool) -> None:  # noqa: FBT001 level is the value
        changed, self._level = level is not self._level, level
        if changed and self._call is not None:
            self._call(level, at)


@dataclass(frozen=True, slots=True)
class SimulatedPins:
    """The pins of a computer whose only wire goes to this contact; see Gpio."""

    line: SimulatedLine

    def open_input(self, pin: int, pull: Pull) -> InputLine:  # noqa: ARG002 there is but one
        """See Gpio."""
        return self.line

    def open_output(self, pin: int, level: bool, rest: bool) -> OutputLine:  # noqa: ARG002, FBT001 as Gpio has it
        """See Gpio."""
        raise SensorError("nothing in this house is switched by a pin")


class SimulatedRelay:
    """A relay or lamp with nothing behind it; people in the house may switch it too."""

    serial_number: str | None = None
    trouble: SensorError | None = None

    def __init__(self, model: str, house: House, happening: Happening | None = None, rounds: Rounds = ROUNDS) -> None:
        self.channels: tuple[Channel, ...] = (Channel(measurement=model, role="switch"),)
        self.model: str | None = f"simulated {model}"
        self._house = house
        self._happening = happening
        self._rounds = rounds
        self._look_number: int | None = None
        self._people = happening is not None and happening.is_on(house.now())  # what they last switched it to
        self._on = self._people
        self._report: Callable[[Reading], None] | None = None
        self._lock = Lock()

    def watch(self, report: Callable[[Reading], None]) -> None:
        """See Watched."""
        with self._lock:
            self._report = report
            report(Reading(self.channels[0].measurement, self._on))
        if self._happening is not None:
            self._look_number = self._rounds.add(partial(self.look, self._happening))

    def switch(self, measurement: str, on: bool) -> None:  # noqa: FBT001 on is the value
        """See Switched; a command for the state it is in already says that state again."""
        if measurement != self.channels[0].measurement:
            raise SensorError(f'this {self.channels[0].measurement} has no "{measurement}" to switch')
        self._switch(on=on)

    def look(self, happening: Happening) -> float:
        """Switch as people do; give the seconds until the next look."""
        at = self._house.now()
        if (wanted := happening.is_on(at)) is not self._people:
            self._people = wanted
            if wanted is not self._on:
                self._switch(on=wanted)
        return min(happening.next_change(at) - at, LONGEST_WAIT_S)

    def close(self) -> None:
        """Forget who listens; it stays as it is."""
        if self._look_number is not None:
            self._rounds.drop(self._look_number)
        with self._lock:
            self._report = None

    def _switch(self, *, on: bool) -> None:
        with self._lock:
            self._on = on
            if self._report is not None:
                self._report(Reading(self.channels[0].measurement, on))


class Simulated:
    """A sensor that is not there, in a house that is played: for tries without hardware."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `simulated`."""

        model: Annotated[
            Model,
            Meta(description="What it plays: an instrument that is asked, a contact, or something to switch."),
        ] = "room"
        seed: Annotated[int, Meta(description="Which house: sensors of one seed share its weather and its people.")] = 0
        life: Annotated[
            Literal["usual", "busy"],
            Meta(description="`usual` people sleep and go to work; `busy` moves contacts and lamps every minute."),
        ] = "usual"
        faults: Annotated[
            list[str],
            Meta(
                description='What goes wrong, and when: `"checksum@5%"`, `"unplugged@02:00-02:10"`; the README has all '
                "of them."
            ),
        ] = []

        def mistake(self) -> tuple[str, str, str] | None:
            """Give the key of what cannot be, what is wrong and the cure."""
            for text in self.faults:
                try:
                    fault = parse(text)
                except ValueError as error:
                    return "faults", str(error), f"write {SHAPE}; kinds are {', '.join(KINDS)}"
                if fault.kind not in FAULTS[self.model]:
                    possible = ", ".join(FAULTS[self.model])
                    return "faults", f'"{fault.kind}" cannot happen to a {self.model}', f"it can have {possible}"
            return None

    @classmethod
    def channels_of(cls, options: "Simulated.Options") -> tuple[Channel, ...]:
        """Give what `model` tells."""
        model = options.model
        if model in CONTACTS:
            return GpioInput.channels_of(_wired(model))
        return INSTRUMENTS.get(model) or (Channel(measurement=model, role="switch"),)

    @classmethod
    def build(cls, options: "Simulated.Options", context: DriverContext) -> Driver:
        """Make it; needs nothing of this computer."""
        house = _house(options, context)
        model = options.model
        if model in INSTRUMENTS:
            return SimulatedInstrument(model, house)
        if model == "relay":
            return SimulatedRelay(model, house)
        happening = Remembered(house.happening(model, busy=options.life == "busy"))
        if model == "lamp":
            return SimulatedRelay(model, house, happening)
        pins = SimulatedPins(SimulatedLine(model, house, happening, context.clock))
        contact = GpioInput.build(_wired(model), replace(context, gpio=pins))
        contact.model = f"simulated {model}"
        return cast("Driver", contact)

    @classmethod
    def wall_clock(cls, options: "Simulated.Options", clock: Callable[[], float]) -> Callable[[], float]:
        """Give the clock of a computer whose clock is set now and then: that of the agent, not that of the house."""
        house = _house(options, DriverContext(name="clock", wall_clock=clock))
        if not any(fault.kind == "clock" for fault in house.faults):
            return clock

        def stepped() -> float:
            fault = house.fault("clock", house.now())
            return clock() + (fault.amount if fault else 0.0)

        return stepped


def _wired(model: str) -> GpioInput.Options:
    return msgspec.convert({"pin": 0, "input": model}, GpioInput.Options)


def _house(options: Simulated.Options, context: DriverContext) -> House:
    return House(
        seed=options.seed or context.seed,
        name=context.name,
        place=place_of(context.room or context.name),
        faults=tuple(map(parse, options.faults)),
        wall_clock=context.wall_clock,
        offset_s=-float(time.timezone),
    )
