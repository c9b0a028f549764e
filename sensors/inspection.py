"""One look at one sensor: its driver is built, asked once and let go of; nothing is published."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from sensors.config import SensorsConfig
from sensors.doctor.holder import holder_of
from sensors.driver import Driver, DriverContext, Polled
from sensors.keepsakes import Keepsakes
from sensors.reading import Reading
from sensors.sensor import Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics
from sensors.worker import Outcome, Worker

WATCH_S = 3.0  # for a watched sensor to say how things are
BUILD_S = 60.0
SLACK_S = 5.0  # beyond a driver's own limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What one look showed; `problem` and `remark` are for people, and empty where there is none."""

    rows: list[dict[str, Any]]  # topic, value, unit, refused (why it is not believed) and raw frame of each reading
    problem: str = ""
    remark: str = ""
    raw: str = ""  # frame of an answer that was no reading

    @property
    def is_good(self) -> bool:
        """Whether it could be read, and all is believed."""
        return not self.problem and not any(row["refused"] for row in self.rows)


def inspect(config: SensorsConfig, sensor: SensorConfig) -> Inspection:
    """Look once; takes as long as the sensor does. An output is not touched."""
    if hasattr(sensor.driver, "switch"):
        problem = "taking its pin could switch it; while the agent runs, its state is on its topic"
        return Inspection(rows=[], problem=problem)
    rows, problem, raw = _read_once(config, sensor)
    if problem:
        return Inspection(rows=rows, problem=problem + _held_by_agent(config, sensor), raw=raw)
    remark = "" if rows else "it tells what happens when it happens; there is nothing to read"
    return Inspection(rows=rows, remark=remark, raw=raw)


def _held_by_agent(config: SensorsConfig, sensor: SensorConfig) -> str:
    """Name the running agent, where it may be why a pin could not be read."""
    agent = None
    if hasattr(sensor.options, "pin"):
        with suppress(PermissionError):
            agent = holder_of(config.outbox_path)
    return f"; the agent runs (process {agent}) and may hold it: stop it, or look at its topics" if agent else ""


def _read_once(config: SensorsConfig, sensor: SensorConfig) -> tuple[list[dict[str, Any]], str, str]:
    """Build the driver, ask it once and let go of it.

    Gives a row for each reading, what went wrong, and the raw frame of an answer that was no reading.
    """
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    worker = Worker(sensor.name, outcomes.put)

    def ask(job: str, call: Any, timeout_s: float) -> Any:
        worker.ask(job, call, 0.0, timeout_s)
        try:
            outcome = outcomes.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"its {job} did not end within {timeout_s:g} s") from None
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    driver: Driver | None = None
    rows: list[dict[str, Any]] = []
    problem = raw = ""
    kept = Keepsakes(config.keepsakes_path)  # nobody has it written
    context = DriverContext(name=sensor.name, room=sensor.keys.room, keepsakes=kept)
    try:
        driver = ask("build", lambda: sensor.driver.build(sensor.options, context), BUILD_S)
        if isinstance(driver, Polled):
            readings = ask("read", driver.read, driver.timeout_s + SLACK_S)
            problem = "" if readings else "it is there, and has not measured yet; ask again in a minute"
        else:
            readings = _watch_once(driver)
        rows = _judged(config, sensor, driver, readings)
    except Exception as error:  # noqa: BLE001 whatever a driver raises is said in one line
        problem = " ".join(str(error).split()) or type(error).__name__
        raw = getattr(error, "raw", "")
    finally:
        worker.stop()
        if driver is not None:
            problem = _let_go(driver) or problem
    if worker.thread is not None:
        worker.thread.join(SLACK_S)  # closing ended a read that was under way
    return rows, problem, raw


def _let_go(driver: Driver) -> str:
    try:
        driver.close()
    except Exception as error:  # noqa: BLE001 as above
        return f"it could not be closed: {error}"
    return ""


def _watch_once(driver: Any) -> list[Reading]:
    """Hear how things are from a sensor that speaks up by itself; an event sensor has nothing to say."""
    reports: SimpleQueue[Reading] = SimpleQueue()
    driver.watch(reports.put)
    expected = {channel.measurement for channel in driver.channels if channel.role != "event"}
    heard: dict[str, Reading] = {}
    try:
        while expected - heard.keys():
            reading = reports.get(timeout=WATCH_S)
            heard[reading.measurement] = reading
    except Empty:
        if driver.trouble is not None:
            raise driver.trouble from None
        raise TimeoutError(f"it did not say how things are within {WATCH_S:g} s") from None
    return list(heard.values())


def _judged(
    config: SensorsConfig, sensor: SensorConfig, driver: Driver, readings: Sequence[Reading]
) -> list[dict[str, Any]]:
    judge = Sensor(sensor, AgentTopics(config.site, config.agent))
    judge.built(driver)
    units = {measurement.kind: measurement.unit for measurement in judge.measurements}
    passed, refusals = judge.outgoing(readings, 0.0)
    payloads = {out.topic: out.payload for out in passed}
    doubts = {doubt.measurement: str(doubt) for doubt in refusals}
    values = {reading.measurement: _words(reading) for reading in readings}
    raws = {reading.measurement: reading.raw for reading in readings}
    rows = []
    for measurement in dict.fromkeys((*values, *units)):
        topic = judge.topic(measurement)
        if topic in payloads or measurement in doubts:
            rows.append(
                {
                    "topic": topic,
                    "value": payloads.get(topic, values.get(measurement, "")),
                    "unit": units.get(measurement),
                    "refused": doubts.get(measurement, ""),
                    "raw": raws.get(measurement, ""),
                }
            )
    return rows


def _words(reading: Reading) -> str:
    """Say a value that is not believed, and so was not rounded, as the doubt about it does."""
    return f"{reading.value:g}" if isinstance(reading.value, float) else str(reading.value)
