"""Contacts, motion sensors and buttons on one pin: pull, active level, bouncing, presses."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from threading import Condition, Thread, current_thread
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from appliance.settings import Level
from sensors.debounce import Debounce
from sensors.driver import Channel, DriverContext, SensorError, as_sensor_error
from sensors.edge_clock import EdgeClock
from sensors.hw.gpio import InputLine, Pull, open_gpio
from sensors.hw.header import GpioNumber
from sensors.reading import Reading

LOOK_AGAIN_S = 5.0  # the kernel loses edges when they come fast; the level itself is never lost
RETRY_S = 1.0  # after the pin could not be read
HOLD_S, DOUBLE_S = 0.8, 0.3  # unless the configuration says otherwise
MOST_EDGES = 1000  # waiting to be judged; the oldest go, as the last ones decide


@dataclass(frozen=True, slots=True)
class Wiring:
    """How a thing is usually wired, and so what counts unless the configuration says otherwise."""

    pull: Pull
    active: Literal["high", "low"]
    debounce_s: float


WIRINGS = {
    "motion": Wiring("down", "high", 0.05),  # a PIR drives its output itself
    "door": Wiring(
        "up", "high", 0.05
    ),  # a reed contact to ground, closed by its magnet: open is high, and so is a cut wire
    "window": Wiring("up", "high", 0.05),
    "leak": Wiring("up", "low", 0.2),  # water, or the alarm's relay, connects to ground
    "smoke": Wiring("up", "low", 0.2),
    "button": Wiring("up", "low", 0.02),
}


class Stage(Enum):
    """Where a finger is in its gesture."""

    UP = auto()
    DOWN = auto()
    BETWEEN = auto()  # released once; a second press would make it double
    SPENT = auto()  # down, and all that this means has been said


class Presses:
    """Turns a debounced button into `press`, `double` and `hold`. Pure."""

    EDGES = {  # (stage, pressed) -> next stage, event  # noqa: RUF012 a table
        (Stage.UP, True): (Stage.DOWN, None),
        (Stage.DOWN, False): (Stage.BETWEEN, None),
        (Stage.BETWEEN, True): (Stage.SPENT, "double"),
        (Stage.SPENT, False): (Stage.UP, None),
    }
    TIMEOUTS = {  # stage -> next stage, event  # noqa: RUF012 a table
        Stage.DOWN: (Stage.SPENT, "hold"),
        Stage.BETWEEN: (Stage.UP, "press"),
    }

    def __init__(self, *, pressed: bool, hold_s: float, double_s: float) -> None:
        self._stage = Stage.SPENT if pressed else Stage.UP  # a button found pressed at the start says nothing
        self._after_s = {Stage.DOWN: hold_s, Stage.BETWEEN: double_s}
        self._since = 0.0

    def seen(self, now: float, pressed: bool) -> str | None:  # noqa: FBT001 pressed is the value
        """Take the button's state at a change or at the deadline; give the event that it completes."""
        event = self._time_out(now)
        if step := self.EDGES.get((self._stage, pressed)):
            self._stage, said = step
            self._since = now
            event = event or said or self._time_out(now)
        return event

    @property
    def deadline(self) -> float | None:
        """When to ask again, unless the button changes first."""
        after_s = self._after_s.get(self._stage)
        return None if after_s is None else self._since + after_s

    def _time_out(self, now: float) -> str | None:
        if self.deadline is None or now < self.deadline:
            return None
        self._stage, event = self.TIMEOUTS[self._stage]
        return event


class Button:
    """Turns the levels of a bouncing button into its events. Pure."""

    def __init__(self, debounce: Debounce, *, active_level: bool, hold_s: float, double_s: float) -> None:
        self._debounce = debounce
        self._active_level = active_level
        self._presses = Presses(pressed=debounce.state is active_level, hold_s=hold_s, double_s=double_s)

    def seen(self, now: float, level: bool) -> list[str]:  # noqa: FBT001 level is the value
        """Take the level seen at an edge or at the deadline; give what is known by then."""
        decided = self._debounce.seen(now, level)
        times = [] if decided is None else [self._debounce.since]  # when the finger moved, not when that was known
        if self._debounce.deadline is None:  # else it may just have been let go
            times.append(now)
        pressed = self._debounce.state is self._active_level
        return [event for at in times if (event := self._presses.seen(at, pressed))]

    @property
    def deadline(self) -> float | None:
        """When to look at the level next, unless an edge comes first."""
        deadline = self._debounce.deadline
        return self._presses.deadline if deadline is None else deadline


class GpioInput:
    """A motion sensor, a contact of a door or window, a leak or smoke alarm, or a button, at one pin."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `gpio_input`."""

        pin: Annotated[GpioNumber, Meta(description="GPIO number, as in GPIO17; not the position on the header.")]
        input: Annotated[
            Literal["motion", "door", "window", "leak", "smoke", "button"],
            Meta(
                description="What is connected: `motion` is a PIR or radar, `door` and `window` a reed contact. It "
                "decides the wiring that is expected, and the topic."
            ),
        ]
        measurement: Annotated[
            Level | None,
            Meta(description="Last level of the topic, such as doorbell; without it, the same as `input`."),
        ] = None
        pull: Annotated[
            Pull | None,
            Meta(
                description='The Pi\'s own resistor: `"up"`, `"down"`, or `"none"` where one is wired; '
                "absent, as is usual for `input`."
            ),
        ] = None
        active: Annotated[
            Literal["high", "low"] | None,
            Meta(description="Which level means ON, open or pressed; absent, as is usual for `input`."),
        ] = None
        debounce_s: Annotated[
            Annotated[float, Meta(ge=0, le=10)] | None,
            Meta(
                description="A level counts when it has stayed for this many seconds; absent, as is usual for `input`."
            ),
        ] = None
        hold_s: Annotated[float, Meta(gt=0, description="A button pressed for this long says `hold`.")] = HOLD_S
        double_s: Annotated[
            float, Meta(ge=0, description="A second press within this time says `double`; 0 says `press` at once.")
        ] = DOUBLE_S

        def mistake(self) -> tuple[str, str, str] | None:
            """Give key, problem and cure where keys that are each in order do not go together."""
            for key, value, usual in (("hold_s", self.hold_s, HOLD_S), ("double_s", self.double_s, DOUBLE_S)):
                if self.input != "button" and value != usual:
                    return key, f"only a button is pressed, not a {self.input}", 'remove it, or set input = "button"'
            return None

    model: str | None = None
    serial_number: str | None = None

    @classmethod
    def channels_of(cls, options: "GpioInput.Options") -> tuple[Channel, ...]:
        """Give what it tells: a state, or the presses of a button."""
        measurement = options.measurement or options.input
        return (Channel(measurement=measurement, role="event" if options.input == "button" else "binary_sensor"),)

    @classmethod
    def build(cls, options: "GpioInput.Options", context: DriverContext) -> "GpioInput":
        """Take the pin. Raises DriverUnavailable."""
        gpio = context.gpio or open_gpio(context.sysfs_root)
        line = gpio.open_input(options.pin, options.pull or WIRINGS[options.input].pull)
        try:
            return cls(line, options, context.clock)
        except BaseException:
            line.close()
            raise

    def __init__(
        self, line: InputLine, options: "GpioInput.Options", clock: Callable[[], float] = time.monotonic
    ) -> None:
        wiring = WIRINGS[options.input]
        self.channels = self.channels_of(options)
        self.trouble: SensorError | None = None
        self._line = line
        self._clock = clock
        self._active_level = (options.active or wiring.active) == "high"
        level = line.level()
        self._debounce = Debounce(
            level=level, settle_s=wiring.debounce_s if options.debounce_s is None else options.debounce_s
        )
        self._button: Button | None = None
        if options.input == "button":
            self._button = Button(
                self._debounce, active_level=self._active_level, hold_s=options.hold_s, double_s=options.double_s
            )
        self._retry_at = -math.inf
        self._edge_clock = EdgeClock()
        self._edges: deque[tuple[float, bool]] = deque(maxlen=MOST_EDGES)
        self._wake = Condition()
        self._closed = False
        self._thread: Thread | None = None

    def watch(self, report: Callable[[Reading], None]) -> None:
        """See Watched. Starts the thread that judges the edges; the library's thread only notes them."""
        self._line.on_edge(self._edge)
        with self._wake:  # edges that are told meanwhile come behind it
            self._edges.append((self._clock(), self._line.level()))  # it may have moved since the driver was built
        if self._button is None:
            report(Reading(self.channels[0].measurement, self._debounce.state is self._active_level))
        name = f"gpio_input {self.channels[0].measurement}"
        self._thread = Thread(target=self._judge, args=(report,), name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """See Driver."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join(timeout=2)
        self._line.close()

    def _edge(self, level: bool, at: float) -> None:  # noqa: FBT001 level is the value
        """Note an edge, in the library's thread."""
        with self._wake:
            now = self._clock()
            self._edges.append((min(self._edge_clock.ours(at, now), now), level))
            self._wake.notify()

    def _judge(self, report: Callable[[Reading], None]) -> None:
        while (edges := self._wait()) is not None:
            try:
                for now, level in edges or [(self._clock(), self._line.level())]:
                    self._step(now, level, report)
            except Exception as error:  # noqa: BLE001 a thread that died would leave a state that looks true
                self.trouble = as_sensor_error(error)
                self._retry_at = self._clock() + RETRY_S
            else:
                self.trouble = None

    def _step(self, now: float, level: bool, report: Callable[[Reading], None]) -> None:  # noqa: FBT001 level is the value
        measurement = self.channels[0].measurement
        if self._button is not None:
            for event in self._button.seen(now, level):
                report(Reading(measurement, event))
        elif (decided := self._debounce.seen(now, level)) is not None:
            report(Reading(measurement, decided is self._active_level))

    def _wait(self) -> list[tuple[float, bool]] | None:
        """Wait for edges; give them, none when it is time to look at the level, or None when closed."""
        now = self._clock()
        deadline = (self._button or self._debounce).deadline
        due = max(now + LOOK_AGAIN_S if deadline is None else min(deadline, now + LOOK_AGAIN_S), self._retry_at)
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._edges, timeout=max(due - now, 0))
            edges = list(self._edges)
            self._edges.clear()
            return None if self._closed else edges
