"""Relays, lamps, sirens and valves on one pin: commands, times to keep, a safe state, and only true states told."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Event, Thread, current_thread
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from appliance.settings import Level
from sensors.driver import Channel, Disconnected, DriverContext, SensorError, TimedOut, as_sensor_error
from sensors.hw.gpio import OutputLine, open_gpio
from sensors.hw.header import GpioNumber
from sensors.interlock import Interlock
from sensors.reading import Reading
from sensors.switching import Limits, Switching

LOOK_EVERY_S = 5.0  # at the pin: another program may have moved it
RETRY_S = 5.0  # after the pin did not follow
SWITCH_S = 5.0  # a library that takes longer to move a pin hangs
CLOSE_S = 2.0
LAST = "on"  # name of the keepsake

log = logging.getLogger("sensors")

AtEnds = Literal["off", "on", "last"]
Duration = Annotated[float, Meta(ge=0, le=604_800)]
Length = Annotated[float, Meta(ge=0.01, le=604_800)]


@dataclass(slots=True, eq=False)
class _Order:
    """A command on its way through the driver's thread."""

    on: bool
    done: Event = field(default_factory=Event)
    error: SensorError | None = None


class GpioOutput:
    """A relay, lamp, siren or valve at one pin, which takes commands.

    Its thread alone touches the pin, and reports what it found there.
    """

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `gpio_output`."""

        pin: Annotated[GpioNumber, Meta(description="GPIO number, as in GPIO17; not the position on the header.")]
        output: Annotated[
            Literal["relay", "lamp", "siren", "valve"],
            Meta(description="What is connected; the topic, unless `measurement` says otherwise."),
        ]
        measurement: Annotated[
            Level | None,
            Meta(description="Last level of the topic, such as pump; without it, the same as `output`."),
        ] = None
        active: Annotated[
            Literal["high", "low"], Meta(description="Which level means ON; most relay boards want `low`.")
        ] = "high"
        start: Annotated[
            AtEnds, Meta(description="State at the start; `last` is what it was to be, also after a power cut.")
        ] = "off"
        stop: Annotated[AtEnds, Meta(description="State when the agent stops; `last` leaves it as it is.")] = "off"
        safe_after_s: Annotated[
            Annotated[float, Meta(ge=1, le=604_800)] | None,
            Meta(description="Seconds without the broker after which it goes to `safe`; without it, it stays."),
        ] = None
        safe: Annotated[
            Literal["off", "on"],
            Meta(description="State without the broker, and after the pin failed; a command ends it."),
        ] = "off"
        min_on_s: Annotated[Duration, Meta(description="Shortest time on; OFF before its end waits for it.")] = 0.0
        min_off_s: Annotated[
            Duration, Meta(description="Shortest time off, also after the start; ON before its end waits for it.")
        ] = 0.0
        max_on_s: Annotated[
            Length | None, Meta(description="Longest time on, whatever is commanded; then it goes off.")
        ] = None
        pulse_s: Annotated[
            Length | None, Meta(description="ON lasts only this long, as a push button does; OFF ends it before.")
        ] = None
        interlock: Annotated[
            Annotated[str, Meta(pattern="^[a-z0-9_-]+$", extra={"takes": "a word of a-z, 0-9, _ and -"})] | None,
            Meta(description="Name of a group of outputs of this agent of which only one may be on."),
        ] = None
        interlock_wait_s: Annotated[
            Annotated[float, Meta(ge=0, le=3_600)],
            Meta(description="Pause after another of the group went off, before this one comes on."),
        ] = 0.0

        def mistake(self) -> tuple[str, str, str] | None:
            """Give key, problem and cure where keys that are each in order do not go together."""
            pulse, limited = self.pulse_s is not None, self.max_on_s is not None
            if pulse and limited:
                return "max_on_s", "pulse_s already says how long it is on", "give one of the two"
            for key, value in (("start", self.start), ("stop", self.stop), ("safe", self.safe)):
                if pulse and value != "off":
                    return key, f'"{value}" and a pulse, which begins and ends off, do not go together', 'give "off"'
            for key, value in (("stop", self.stop), ("safe", self.safe)):
                if limited and value != "off":
                    return key, f'"{value}" might outlast max_on_s', 'give "off"'
            if self.stop == "on" and self.interlock is not None:
                return "stop", '"on" would switch on beside the others of its group', 'give "off" or "last"'
            if self.min_on_s > self.longest_s:
                return "min_on_s", f"is longer than {'pulse_s' if pulse else 'max_on_s'}", "give less"
            return None

        @property
        def longest_s(self) -> float:
            """Longest time on."""
            return min((s for s in (self.pulse_s, self.max_on_s) if s is not None), default=math.inf)

        @property
        def limits(self) -> Limits:
            """Give what concerns times."""
            return Limits(
                min_on_s=self.min_on_s,
                min_off_s=self.min_off_s,
                longest_s=self.longest_s,
                safe_after_s=math.inf if self.safe_after_s is None else self.safe_after_s,
                safe=self.safe == "on",
            )

    model: str | None = None
    serial_number: str | None = None

    @classmethod
    def channels_of(cls, options: "GpioOutput.Options") -> tuple[Channel, ...]:
        """Give what it switches."""
        return (Channel(measurement=options.measurement or options.output, role="switch"),)

    @classmethod
    def build(cls, options: "GpioOutput.Options", context: DriverContext) -> "GpioOutput":
        """Take the pin, at the level that it is to have. Raises DriverUnavailable."""
        gpio = context.gpio or open_gpio(context.sysfs_root)
        now = context.clock()
        start = options.start == "on"
        if options.start == "last":
            start = context.keepsakes.get(context.name, LAST) is True
        group = None if options.interlock is None else context.interlocks.group(options.interlock)
        waits = False
        if group is not None and start and not group.begin(context.name):
            log.warning(
                "sensor %s starts off: another of the group %s is on, or may be",
                context.name,
                options.interlock,
                extra={"SENSOR": context.name},
            )
            start = False
        elif group is not None and options.start == "on":  # whoever was on last may be on still; `last` was that itself
            waits = group.take(context.name, now, options.interlock_wait_s) is not None
        switching = Switching(options.limits, start=start, now=now, waits=waits)
        high_is_on = options.active == "high"
        try:
            line = gpio.open_output(options.pin, switching.on is high_is_on, not high_is_on)
        except BaseException:
            if group is not None:
                group.release(context.name, now)
            raise
        return cls(line, options, context, switching, group)

    def __init__(
        self,
        line: OutputLine,
        options: "GpioOutput.Options",
        context: DriverContext,
        switching: Switching,
        group: Interlock | None,
    ) -> None:
        self.channels = self.channels_of(options)
        self._measurement = self.channels[0].measurement
        self.trouble: SensorError | None = None
        self._line = line
        self._options = options
        self._high_is_on = options.active == "high"
        self._name = context.name
        self._about = {"SENSOR": context.name}
        self._keepsakes = context.keepsakes
        self._clock = context.clock
        self._switching = switching
        self._group = group
        self._report: Callable[[Reading], None] = lambda _reading: None
        self._look_at = -math.inf  # the pin; while in trouble, when to try again
        self._take_at = math.inf  # the group
        self._turned_at = -math.inf  # when it was last thought of what is to be done
        self._orders: list[_Order] = []
        self._links: list[tuple[float, bool]] = []
        self._stirred = False
        self._wake = Condition()  # guards the three above and the one below, and is never held while the pin is touched
        self._closed = False
        self._left = False
        self._thread: Thread | None = None
        if group is not None:
            group.join(self._name, self._stir)

    def watch(self, report: Callable[[Reading], None]) -> None:
        """See Watched."""
        self._report = report
        now = self._clock()
        self._look(now)
        if self._group is not None:
            self._group.vouch(self._name, now)
            self._stirred = True  # a start that waited for the others need not any more
        self._say()
        self._thread = Thread(target=self._work, name=f"gpio_output {self._name}", daemon=True)
        self._thread.start()

    def switch(self, measurement: str, on: bool) -> None:  # noqa: FBT001 on is the value
        """See Switched. What has to wait, for a shortest time or for the group, is no error."""
        if measurement != self._measurement:
            raise SensorError(f'there is no "{measurement}" to switch here, only "{self._measurement}"')
        order = _Order(on)
        with self._wake:
            if self._closed or self._thread is None:
                raise SensorError(f"{self._name} is not at work")
            self._orders.append(order)
            self._wake.notify()
        if not order.done.wait(SWITCH_S):
            with self._wake:
                if order in self._orders:  # it would come too late
                    self._orders.remove(order)
            self.trouble = TimedOut(f"GPIO{self._options.pin} was not switched within {SWITCH_S:g} s")
            raise self.trouble
        if order.error is not None:
            raise order.error

    def link(self, *, up: bool, silent_s: float = 0.0) -> None:
        """See Linked."""
        with self._wake:
            self._links.append((self._clock() - silent_s, up))
            self._wake.notify()

    def close(self) -> None:
        """See Driver. Puts the pin into the state for the end; shortest times do not hold it up."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is None:
            self._leave()
        elif self._thread is not current_thread():
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                raise TimedOut(f"GPIO{self._options.pin} does not come back")
            if self.trouble is not None and not self._left:
                raise self.trouble

    # The driver's own thread

    def _work(self) -> None:
        try:
            while self._wait():
                self._turn()
        finally:
            try:
                self._leave()
            except Exception as error:  # noqa: BLE001 told by close
                self.trouble = as_sensor_error(error)
            for order in self._orders:
                order.error = SensorError(f"{self._name} was stopped before")
                order.done.set()

    def _wait(self) -> bool:
        """Wait for something to do; False when closed."""
        due = min(self._look_at, self._take_at)
        if self.trouble is None:
            due = min(due, self._switching.deadline(self._turned_at))
        with self._wake:
            self._wake.wait_for(
                lambda: self._closed or self._orders or self._links or self._stirred,
                timeout=max(due - self._clock(), 0.0),
            )
            return not self._closed

    def _turn(self) -> None:
        now = self._turned_at = self._clock()
        with self._wake:
            orders, links = self._orders, self._links
            self._orders, self._links, self._stirred = [], [], False
        for at, up in links:
            self._switching.link(at, up=up)
        orders = [order for order in orders if not self._is_refused(order)]
        for order in orders:
            self._switching.command(order.on)
            if self._group is not None:
                (self._group.claim if order.on else self._group.withdraw)(self._name)
        failure = None
        try:
            self._step(now, at_once=bool(orders))
            if orders and self.trouble is None:
                self._say()
        except Exception as error:  # noqa: BLE001 a thread that died would leave a state that looks true
            failure = as_sensor_error(error)
            self._failed(now, failure)
        self._keep()
        for order in orders:
            order.error = failure
            order.done.set()

    def _is_refused(self, order: _Order) -> bool:
        """Refuse ON beside one that may be on: it might have to wait for ever."""
        group = self._group
        if group is None or not order.on or (self._switching.on and group.stands(self._name)):
            return False
        if not (unseen := group.unseen(self._name)):
            return False
        names = " and ".join(unseen)
        order.error = SensorError(f"{names} of the group {self._options.interlock} cannot be seen to be off")
        order.done.set()
        return True

    def _step(self, now: float, *, at_once: bool) -> None:
        """Bring the pin to where it is to be, as far as that may be by now."""
        if self.trouble is not None and now < self._look_at and not at_once:
            return
        switching, before = self._switching, self._switching.target
        want = switching.wanted(now)
        if before is not switching.target:
            word = "on" if switching.target else "off"
            log.warning("sensor %s goes %s by itself", self._name, word, extra=self._about)
            if self._group is not None and switching.target:
                self._group.claim(self._name)
        if self._group is not None and switching.target and not self._group.stands(self._name):
            group = self._options.interlock
            log.info("sensor %s gives way to another of the group %s", self._name, group, extra=self._about)
            switching.command(on=False)
            want = switching.wanted(now)
        if self.trouble is not None:  # is it on or off? off needs no shortest time to have passed
            want = want and switching.target
        self._take_at = math.inf
        if want is switching.on and self.trouble is None:
            if at_once and switching.waits_s(now) > 0:
                wait_s = switching.waits_s(now)
                log.info("sensor %s waits %.1f s before it is switched", self._name, wait_s, extra=self._about)
            if now >= self._look_at or at_once:
                self._look(now)
        elif (wait := self._take(now) if want else None) is not None:
            self._take_at = wait
            if self.trouble is not None:
                self._look_at = now + RETRY_S
            elif now >= self._look_at:
                self._look(now)
        else:
            self._set(want, now)
        if self._group is not None and not switching.on and not switching.target and self.trouble is None:
            self._group.release(self._name, now)
            self._group.withdraw(self._name)

    def _take(self, now: float) -> float | None:
        """Take the group; else when to try again."""
        return None if self._group is None else self._group.take(self._name, now, self._options.interlock_wait_s)

    def _look(self, now: float) -> None:
        """See that the pin still is as it was left; if not, say so and put it right."""
        self._look_at = now + LOOK_EVERY_S
        on = self._switching.on
        if (self._line.level() is self._high_is_on) is not on:
            pin = self._options.pin
            log.warning("sensor %s: GPIO%d was moved by somebody else", self._name, pin, extra=self._about)
            self._report(Reading(self._measurement, not on))
            self._set(on, now)

    def _set(self, on: bool, now: float) -> None:  # noqa: FBT001 on is the value
        """Move the pin, and believe it when it has moved. Raises SensorError, or whatever the library raises."""
        self._drive(on)
        self._look_at = now + LOOK_EVERY_S
        self.trouble = None
        self._switching.changed(now, on)
        if self._group is not None:
            self._group.vouch(self._name, now)
        self._keep()
        self._say()

    def _drive(self, on: bool) -> None:  # noqa: FBT001 on is the value
        level = on is self._high_is_on
        self._line.set(level)
        if self._line.level() is not level:
            volts = "3.3 V" if level else "0 V"
            raise Disconnected(
                f"GPIO{self._options.pin} does not go to {volts}: a short circuit, or another program drives it"
            )

    def _keep(self) -> None:
        """Keep what it is to be: a command that still waits was taken, and a restart must not turn it round."""
        if self._options.start == "last":
            self._keepsakes.put(self._name, LAST, self._switching.target, urgent=True)

    def _say(self) -> None:
        self._report(Reading(self._measurement, self._switching.on))

    def _failed(self, now: float, error: SensorError) -> None:
        self.trouble = error
        self._look_at = now + RETRY_S
        self._take_at = math.inf
        self._switching.failed()
        if self._group is not None:
            self._group.doubt(self._name)
            if self._switching.target:  # safe is on
                self._group.claim(self._name)

    def _stir(self) -> None:
        with self._wake:
            self._stirred = True
            self._wake.notify()

    def _leave(self) -> None:
        """Put the pin into the state for the end and give it back; once."""
        if self._left:
            return
        try:
            if self._options.stop != "last":
                end = self._options.stop == "on"
                self._drive(end)
                if end is not self._switching.on:
                    self._switching.changed(self._clock(), end)
                    self._say()
                if self._group is not None:
                    self._group.vouch(self._name, self._clock())
            self._left = True
        finally:
            if self._group is not None:
                if not self._left:
                    self._group.doubt(self._name)
                elif not self._switching.on:
                    self._group.release(self._name, self._clock())
                self._group.leave(self._name)
            self._line.close()
