"""Commands to actuators: which are obeyed, and one at a time to each driver.

Used by the agent's thread alone; a driver switches in the thread of its sensor.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sensors.driver import SensorError, Switched
from sensors.sensor import Sensor
from sensors.topics import command_of, command_topic, quoted
from sensors.worker import Worker

SWITCH_TIMEOUT_S = 10.0
LOG_S = 60.0  # in which each reason of a topic is logged once, and
MOST_REASONS = 10  # no more than these; `health` counts every one
SWITCH = "switch "  # job of a worker, followed by the measurement

log = logging.getLogger("sensors")


@dataclass(slots=True)
class _Command:
    """What a driver is told at the moment, and the last of what it was to be told since."""

    on: bool
    payload: bytes
    next: "_Command | None" = None


def switched(job: str) -> str | None:
    """Give the measurement that a worker's job switches; None where it does something else."""
    return job.removeprefix(SWITCH) if job.startswith(SWITCH) else None


class Commands:
    """Those under way, by sensor and measurement."""

    def __init__(self, workers: Mapping[str, Worker], not_obeyed: Callable[[str, bytes, str], None]) -> None:
        """Tell `not_obeyed` topic, payload and reason of what is refused, or could not be carried out."""
        self._workers = workers
        self._tell = not_obeyed
        self._under_way: dict[tuple[str, str], _Command] = {}
        self._logged: dict[str, tuple[float, set[str]]] = {}  # topic -> since when, and what was said of it

    @property
    def idle(self) -> bool:
        """Whether every command was carried out or given up."""
        return not self._under_way

    def take(self, sensor: Sensor, measurement: str, payload: bytes, now: float, *, retained: bool) -> None:
        """Judge a command and have it carried out; of a burst the last one counts, the driver need not do them all."""
        if retained:
            if payload:  # else somebody deletes one
                why = (
                    "a retained command is not obeyed; publish without retain, and delete this one: empty, with retain"
                )
                self._not_obeyed(sensor, measurement, payload, why, now)
            return
        under_way = self._under_way.get((sensor.name, measurement))
        last = under_way and (under_way.next or under_way)
        try:
            on = command_of(payload, last.on if last else sensor.present.get(measurement))
        except ValueError as error:
            self._not_obeyed(sensor, measurement, payload, str(error), now)
            return
        command = _Command(on, payload)
        if not isinstance(sensor.driver, Switched) or self._workers[sensor.name].stuck:
            why = sensor.standing.trouble or "it does not answer"
            self._not_obeyed(sensor, measurement, payload, f"not switched, sensor {sensor.name} fails: {why}", now)
        elif under_way:
            under_way.next = command
        else:
            self._switch(sensor, measurement, command, now)

    def came_back(self, sensor: Sensor, measurement: str, error: SensorError | None, now: float) -> None:
        """Hear what became of a command, and give the driver the next."""
        command = self._under_way.pop((sensor.name, measurement))
        if command.next is not None:
            self._switch(sensor, measurement, command.next, now)
        elif error is not None:
            self._gave_up(sensor, measurement, command, str(error), now)

    def overdue(self, sensor: Sensor, measurement: str, now: float) -> None:
        """Give up a command that does not come back; what waited behind it would come too late as well."""
        command = self._under_way.pop((sensor.name, measurement))
        self._gave_up(sensor, measurement, command.next or command, "it does not come back", now)

    def _switch(self, sensor: Sensor, measurement: str, command: _Command, now: float) -> None:
        if not isinstance(sensor.driver, Switched):
            self._gave_up(sensor, measurement, command, "it has stopped", now)
            return
        self._under_way[sensor.name, measurement] = command
        call = partial(sensor.driver.switch, measurement, command.on)
        self._workers[sensor.name].ask(SWITCH + measurement, call, now, SWITCH_TIMEOUT_S)

    def _gave_up(self, sensor: Sensor, measurement: str, command: _Command, why: str, now: float) -> None:
        self._not_obeyed(sensor, measurement, command.payload, f"sensor {sensor.name} was not switched: {why}", now)

    def _not_obeyed(self, sensor: Sensor, measurement: str, payload: bytes, why: str, now: float) -> None:
        topic = command_topic(sensor.topic(measurement))
        since, said = self._logged.get(topic, (-math.inf, set()))
        if now >= since + LOG_S:
            self._logged[topic] = now, (said := set())
        if why not in said and len(said) < MOST_REASONS:
            said.add(why)
            shown = quoted(payload)
            about = {"MQTT_TOPIC": topic, "SENSOR": sensor.name, "CAUSE": why}
            log.warning("%s: %s", topic, why if why.startswith(shown) else f"{shown}: {why}", extra=about)
        self._tell(topic, payload, why)
