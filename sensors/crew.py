"""All sensors of an agent at work: drivers built, reads when they are due, reports, commands, failures.

One thread, the agent's, owns a crew and calls `tick`. Drivers run in threads of their own (worker.py); whatever they
have to say reaches the owner's thread through the inbox.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sensors.commands import Commands, switched
from sensors.driver import (
    Driver,
    DriverContext,
    DriverUnavailable,
    Linked,
    Polled,
    Retrying,
    SensorError,
    Switched,
    TimedOut,
    Watched,
    as_sensor_error,
)
from sensors.plausibility import Jump
from sensors.reading import Reading
from sensors.schedule import Schedule
from sensors.sensor import Outgoing, Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics
from sensors.worker import Outcome, Worker, WorkerKind

BUILD_TIMEOUT_S = 60.0  # a hardware library takes long to import on a small Pi
LOOK_EVERY_S = 5.0  # at watched sensors, which say by themselves only what they see
UNKNOWN_INTERVAL_S = 60.0  # between attempts to build a driver, until it says its own interval
MAX_INBOX = 10_000

log = logging.getLogger("sensors")


class Listener(Protocol):
    """What a crew tells the agent, in the thread that calls `tick`."""

    def measured(self, outgoing: Sequence[Outgoing], at: float) -> None:
        """Send readings that were made at this wall time."""

    def turned(self, sensor: Sensor) -> None:
        """Announce that a sensor went offline or came back."""

    def built(self, sensor: Sensor) -> None:
        """Announce what a sensor measures and listen for its commands: its driver is there."""

    def not_obeyed(self, topic: str, payload: bytes, why: str) -> None:
        """Tell that a command was refused, or could not be carried out."""


@dataclass(frozen=True, slots=True)
class _Report:
    """What a watched sensor said by itself, and when."""

    sensor: Sensor
    generation: int
    reading: Reading
    at: float


class Crew:
    """The sensors, the worker of each, and the schedule of their reads."""

    def __init__(
        self,
        configs: Iterable[SensorConfig],
        topics: AgentTopics,
        listener: Listener,
        wake: Callable[[], None],
        now: float,
        *,
        context: Callable[[str], DriverContext] = lambda name: DriverContext(name=name),
        wall_clock: Callable[[], float] = time.time,
        worker: WorkerKind = Worker,
    ) -> None:
        """Call `wake` from any thread when `tick` has something to hear."""
        self._listener = listener
        self._wake = wake
        self._now = now
        self._context = context
        self._wall_clock = wall_clock
        self._inbox: deque[Outcome | _Report] = deque()
        self._hearing = threading.Lock()  # of the inbox
        self._schedule = Schedule(now)
        self._sensors = {config.name: Sensor(config, topics) for config in configs}
        self._workers = {name: worker(name, self._hear) for name in self._sensors}
        self._owners: dict[str, str] = {}  # topic -> sensor
        self._said: dict[str, str] = {}  # sensor -> cause of the failure that was logged last
        self._commands = Commands(self._workers, listener.not_obeyed)
        self._link_up = False
        self._closed = False
        self._leaving: list[threading.Thread] = []  # actuators on their way to the state for the end
        self._closing: list[threading.Thread] = []  # the others
        self._look_at = now
        for name, sensor in self._sensors.items():
            self._schedule.add(name, now, sensor.config.keys.interval_s or UNKNOWN_INTERVAL_S)
            if hasattr(sensor.config.driver, "switch"):  # until it is taken, an output is in nobody's hands
                self._schedule.soon(name, now, 0.0)

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """All of them, in the order of the configuration."""
        return tuple(self._sensors.values())

    @property
    def complete(self) -> bool:
        """Whether every driver was built or has failed to be."""
        return all(sensor.driver is not None or sensor.standing.failed for sensor in self.sensors)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        if self._inbox:
            return self._now
        others = (self._schedule.next_due(), *(worker.next_deadline() for worker in self._workers.values()))
        return min((due for due in others if due is not None and due < self._look_at), default=self._look_at)

    def tick(self, now: float) -> None:
        """Hear what drivers said, give up what hangs, begin the reads that are due."""
        if self._closed:
            return
        self._now = now
        for _ in range(len(self._inbox)):  # not for ever, should a driver never stop talking
            match self._next_event():
                case Outcome() as outcome:
                    self._came_back(outcome)
                case _Report(sensor, generation, reading, at) if generation == sensor.generation:
                    self._take(sensor, [reading], at)
        for name, worker in self._workers.items():
            for job in worker.overdue(now):
                self._overdue(self._sensors[name], job)
        for name in self._schedule.take_due(now):
            self._ask(self._sensors[name])
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._look()

    def say_again(self, now: float, within_s: float) -> None:
        """Have every sensor say soon how things are now."""
        self._now = now
        for sensor in self.sensors:
            sensor.forget_sent()
            self._schedule.soon(sensor.name, now, within_s)
            if isinstance(sensor.driver, Watched) and sensor.standing.online:
                self._say_present(sensor)

    def link(self, *, up: bool, silent_s: float = 0.0) -> None:
        """Tell the actuators whether anybody can command them, or since when nobody can."""
        if up is self._link_up:
            return
        self._link_up = up
        for sensor in self.sensors:
            self._tell_link(sensor, up=up, silent_s=silent_s)

    def _tell_link(self, sensor: Sensor, *, up: bool, silent_s: float = 0.0) -> None:
        if isinstance(sensor.driver, Linked):
            try:
                sensor.driver.link(up=up, silent_s=silent_s)
            except Exception as error:  # noqa: BLE001 a driver's bug ends neither the agent nor the others' safe state
                self._failed(sensor, as_sensor_error(error))

    def command(self, topic: str, payload: bytes, now: float, *, retained: bool) -> None:
        """Switch what the topic names; its state comes as a reading once the driver reports it."""
        self._now = now
        found = next(((s, m) for s in self.sensors for t, m in s.command_topics().items() if t == topic), None)
        if found is None:
            return
        sensor, measurement = found
        self._commands.take(sensor, measurement, payload, now, retained=retained)

    @property
    def left(self) -> bool:
        """Whether, after `close`, every actuator is in the state for the end, and `hear_out` has heard of it."""
        building = any(worker.awaits("build") for worker in self._workers.values())
        return not building and not self._inbox and not any(thread.is_alive() for thread in self._leaving)

    def hear_out(self, now: float) -> None:
        """After `close`: take the last states of the actuators, and close what was still being built."""
        self._now = now
        for _ in range(len(self._inbox)):
            match self._next_event():
                case _Report(sensor, generation, reading, at) if generation == sensor.generation:
                    self._take(sensor, [reading], at)
                case Outcome(sensor=name) as outcome:
                    self._workers[name].in_time(outcome)
                    if outcome.job == "build" and outcome.error is None:
                        self._leaving.append(_closing(name, outcome.result))

    def close(self) -> list[threading.Thread]:
        """Let go of all hardware; gives the threads that are at it, to be joined for as long as one likes.

        Actuators go to the state for the end, and what they say of it is heard by `hear_out`; `tick` is over.
        """
        if not self._closed:
            self._closed = True
            actuators = [sensor for sensor in self.sensors if isinstance(sensor.driver, Switched)]
            self._leaving = [_closing(sensor.name, sensor.driver) for sensor in actuators if sensor.driver is not None]
            others = [sensor for sensor in self.sensors if sensor not in actuators]
            self._closing = [thread for sensor in others if (thread := self._close(sensor)) is not None]
            for worker in self._workers.values():
                worker.stop()
        at_work = [worker.thread for worker in self._workers.values() if worker.thread is not None]
        return self._leaving + self._closing + at_work

    def _hear(self, event: Outcome | _Report) -> None:
        """Take what a driver says, in whichever thread; of a flood the last reports count."""
        with self._hearing:
            if isinstance(event, _Report) and len(self._inbox) >= MAX_INBOX:
                self._drop_one_like(event)
            self._inbox.append(event)
        self._wake()

    def _drop_one_like(self, report: _Report) -> None:
        """Drop the oldest report of the same measurement; the flood of one sensor costs no other one its state."""
        what = report.sensor.name, report.reading.measurement
        for i, event in enumerate(self._inbox):
            if isinstance(event, _Report) and (event.sensor.name, event.reading.measurement) == what:
                del self._inbox[i]
                return

    def _next_event(self) -> Outcome | _Report:
        with self._hearing:
            return self._inbox.popleft()

    def _ask(self, sensor: Sensor) -> None:
        """Begin what a due sensor needs: building its driver, or a read."""
        worker = self._workers[sensor.name]
        if worker.stuck:
            self._failed(sensor, TimedOut("the last read still has not come back"))
        elif sensor.driver is None:
            build = partial(sensor.config.driver.build, sensor.config.options, self._context(sensor.name))
            worker.ask("build", build, self._now, BUILD_TIMEOUT_S)
        elif isinstance(sensor.driver, Polled):
            worker.ask("read", sensor.driver.read, self._now, sensor.driver.timeout_s)

    def _came_back(self, outcome: Outcome) -> None:
        sensor = self._sensors[outcome.sensor]
        in_time = self._workers[outcome.sensor].in_time(outcome)
        if isinstance(sensor.driver, Retrying):
            sensor.standing.retried = sensor.driver.retried
        match outcome.job:
            case "build" if outcome.error is None:
                self._built(sensor, outcome.result)  # late is better than holding pins that nobody knows of
            case "read" if in_time and outcome.error is None:
                self._schedule.succeeded(sensor.name, self._now)
                if outcome.result not in ([], ()):  # nothing yet is neither good nor bad
                    self._take(sensor, outcome.result, self._wall_clock())
            case "watch" if outcome.error is None:
                self._fine(sensor)
            case "watch":
                self._close(sensor)
                self._failed(sensor, outcome.error or SensorError("it cannot be watched"))
            case job if (measurement := switched(job)) is not None and in_time:
                if (
                    outcome.error is not None
                    and isinstance(sensor.driver, Watched)
                    and sensor.driver.trouble is not None
                ):
                    self._failed(sensor, sensor.driver.trouble, final=True)
                self._commands.came_back(sensor, measurement, outcome.error, self._now)
            case "build" | "read" if in_time and outcome.error is not None:
                self._failed(sensor, outcome.error)

    def _overdue(self, sensor: Sensor, job: str) -> None:
        if (measurement := switched(job)) is not None:
            self._commands.overdue(sensor, measurement, self._now)
        else:  # a watch is not tried again: there will be no second failure
            self._failed(sensor, TimedOut(f"its {job} takes too long and was given up"), final=job == "watch")

    def _built(self, sensor: Sensor, driver: Driver) -> None:
        try:
            sensor.built(driver)
            self._own_topics(sensor)
        except Exception as error:  # noqa: BLE001 what a driver says of itself may be nonsense
            sensor.driver = driver
            self._close(sensor, forget=True)
            self._failed(sensor, as_sensor_error(error))
            return
        self._schedule.rest(sensor.name)
        if (interval_s := sensor.interval_s) is not None and isinstance(driver, Polled):
            self._schedule.retime(sensor.name, interval_s, driver.min_interval_s)
            self._schedule.again(sensor.name, self._now)
        if isinstance(driver, Watched):
            report = partial(self._report, sensor, sensor.generation)
            self._workers[sensor.name].ask("watch", partial(driver.watch, report), self._now, BUILD_TIMEOUT_S)
        if self._link_up:
            self._tell_link(sensor, up=True)
        self._listener.built(sensor)

    def _own_topics(self, sensor: Sensor) -> None:
        topics = [measurement.topic for measurement in sensor.measurements]
        for topic in topics:
            owner = self._owners.get(topic, sensor.name)
            if owner != sensor.name:
                raise DriverUnavailable(f'{topic} already is a topic of sensor "{owner}"; give one of the two a label')
        self._owners.update(dict.fromkeys(topics, sensor.name))

    def _report(self, sensor: Sensor, generation: int, reading: Reading) -> None:
        """Take what a watched sensor says, in whichever thread."""
        self._hear(_Report(sensor, generation, reading, self._wall_clock()))

    def _take(self, sensor: Sensor, readings: Sequence[Reading], at: float) -> None:
        try:
            passed, refusals = sensor.outgoing(readings, self._now)
        except Exception as error:  # noqa: BLE001 what a driver gives may be no readings at all
            self._failed(sensor, as_sensor_error(error))
            return
        if refusals and len(refusals) == len(readings):
            self._failed(sensor, refusals[-1])
        else:
            if (silent := sensor.silence.trouble(self._now)) is None:
                self._fine(sensor)
            else:
                self._ill(sensor, silent, final=True)
            for refusal in refusals:  # the sensor's other values are sound
                sensor.standing.refused(refusal)
        if any(isinstance(refusal, Jump) and refusal.first for refusal in refusals):
            self._schedule.repeat(sensor.name, self._now)
        if passed:
            self._listener.measured(passed, at)

    def _fine(self, sensor: Sensor) -> None:
        if self._said.pop(sensor.name, None) is not None:
            log.info("sensor %s works again", sensor.name, extra={"SENSOR": sensor.name})
        if sensor.standing.succeeded():
            self._listener.turned(sensor)

    def _failed(self, sensor: Sensor, error: SensorError, *, final: bool = False) -> None:
        self._ill(sensor, error, final=final)
        if sensor.driver is None or isinstance(sensor.driver, Polled):
            self._schedule.failed(sensor.name, self._now)

    def _ill(self, sensor: Sensor, error: SensorError, *, final: bool) -> None:
        """Count a failure and tell of it, whatever becomes of the next read."""
        if self._said.get(sensor.name) != error.cause:
            self._said[sensor.name] = error.cause
            about = {"SENSOR": sensor.name, "CAUSE": error.cause}
            log.warning("sensor %s (%s): %s", sensor.name, sensor.config.keys.kind, error, extra=about)
        sensor.forget_states()
        if sensor.standing.failure(error, final=final):
            sensor.forget_past()
            log.warning("sensor %s is offline", sensor.name, extra={"SENSOR": sensor.name, "CAUSE": error.cause})
            self._listener.turned(sensor)

    def _close(self, sensor: Sensor, *, forget: bool = False) -> threading.Thread | None:
        """Let go of a sensor's driver, in a thread, since closing may hang too."""
        driver = sensor.dropped(forget=forget)
        return None if driver is None else _closing(sensor.name, driver)

    def _look(self) -> None:
        """Look at the watched sensors, what they cannot see they do not report, and for numbers that stay away."""
        for sensor in self.sensors:
            silent = None if sensor.driver is None else sensor.silence.trouble(self._now)
            if silent is not None and sensor.standing.online is not False:
                self._ill(sensor, silent, final=True)
            elif isinstance(sensor.driver, Watched) and not isinstance(sensor.driver, Polled):
                if sensor.driver.trouble is not None:
                    self._failed(sensor, sensor.driver.trouble, final=True)
                elif sensor.standing.online is False and silent is None and not self._workers[sensor.name].stuck:
                    self._fine(sensor)
                    self._say_present(sensor)  # the broker may have lost it while `say_again` passed the sensor by

    def _say_present(self, sensor: Sensor) -> None:
        present = [Reading(measurement, state) for measurement, state in sensor.present.items()]
        self._listener.measured(sensor.outgoing(present, self._now)[0], self._wall_clock())


def _closing(name: str, driver: Driver) -> threading.Thread:
    thread = threading.Thread(target=_close_driver, args=(name, driver), daemon=True)
    thread.start()
    return thread


def _close_driver(name: str, driver: Driver) -> None:
    try:
        driver.close()
    except Exception as error:  # noqa: BLE001 a driver's bug must not stop the others from being closed
        log.warning("sensor %s could not be closed: %s", name, as_sensor_error(error), extra={"SENSOR": name})
