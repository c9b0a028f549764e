"""One `[[sensor]]` of sensors.toml → a frozen value; its own options are those of its kind."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from appliance.config import Document, field_names
from sensors.catalogue import kinds_with, meant
from sensors.driver import DriverKind, channels_of, numbers_of
from sensors.keys import SensorKeys
from sensors.registry import UnknownKind, driver_class
from sensors.topics import command_topic, state_topic
from sensors.treatment import Mistake, Treatment, mistake_among


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    """One sensor: the keys that all have, its driver's class and the driver's own options.

    `tables` are the keys of single measurements as they stand in the file, `treatments` with what they leave open
    taken from the sensor.
    """

    keys: SensorKeys
    driver: DriverKind
    options: msgspec.Struct
    tables: Mapping[str, Treatment] = field(default_factory=dict)
    treatments: Mapping[str, Treatment] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Level of the sensor's own topics."""
        return self.keys.name

    @property
    def measurements(self) -> tuple[str, ...]:
        """What it says, as far as that is known before there is hardware."""
        told = [channel.measurement for channel in channels_of(self.driver, self.options)]
        return (*(told or numbers_of(self.driver, self.options) or ()), *self.keys.derived)

    def topics(self, site: str) -> tuple[str, ...]:
        """Where it says what, as far as that is known before there is hardware."""
        return tuple(state_topic(site, self.keys.room, self.keys.label, each) for each in self.measurements)

    def commands(self, site: str) -> tuple[str, ...]:
        """Where it takes commands."""
        switched = [each.measurement for each in channels_of(self.driver, self.options) if each.role == "switch"]
        return tuple(command_topic(state_topic(site, self.keys.room, self.keys.label, each)) for each in switched)

    def mistake_among(self, measured: Collection[str]) -> Mistake | None:
        """Say what does not go with the numbers that the sensor measures."""
        if not measured and self.keys.timeout_s is not None:
            return ("timeout_s",), "this sensor measures no number that could stay away", "remove it"
        return mistake_among(measured, self.keys, self.keys.derived, self.tables)


def read_sensor(document: Document, number: int) -> SensorConfig:
    """Read one `[[sensor]]`, counted from 0, with the tables of its measurements. Raises ConfigError."""
    place = ("sensor", number)
    kind = document.at(place).get("kind")
    if not isinstance(kind, str):
        document.convert(SensorKeys, place)  # says that it is missing, or no text
        raise document.error((*place, "kind"), "is missing", "name the kind of sensor")
    try:
        driver = driver_class(kind)
    except UnknownKind as error:
        raise document.error((*place, "kind"), str(error), meant(kind)) from None
    own = field_names(SensorKeys) | field_names(driver.Options)
    names = [key for key, value in document.at(place).items() if isinstance(value, dict) and key not in own]
    for key in document.at(place).keys() - own - set(names):
        if others := kinds_with(key):
            has = f"{others[0]} has" if len(others) == 1 else f"{', '.join(others)} have"
            raise document.error((*place, key), f"a sensor of kind {kind} has no such key", f"remove it: only {has} it")
    keys = document.convert(SensorKeys, place, beside=driver.Options, apart=names)
    options = document.convert(driver.Options, place, beside=SensorKeys, apart=names)
    tables = {name: document.convert(Treatment, (*place, name)) for name in names}
    mistake = getattr(options, "mistake", None)  # of keys that each are in order
    if mistake is not None and (found := mistake()) is not None:
        key, problem, cure = found
        raise document.error((*place, key), problem, cure)
    _refuse_hurry(document, place, driver, keys)
    treatments = {name: _merged(document, place, name) for name in names}
    sensor = SensorConfig(keys=keys, driver=driver, options=options, tables=tables, treatments=treatments)
    measured = numbers_of(driver, options)
    if measured == ():  # first, as nothing will do for keys that have nothing to treat
        _refuse(document, place, sensor.mistake_among(measured))
        if not hasattr(driver, "interval_s") and keys.interval_s is not None:
            problem = f"a {kind} like this is not asked, it speaks up by itself"
            raise document.error((*place, "interval_s"), problem, "remove it")
    _refuse(document, place, keys.mistake())
    for name, treatment in treatments.items():
        _refuse(document, (*place, name), treatment.mistake())
    _refuse_idle_heartbeat(document, place, sensor)
    if measured:
        _refuse(document, place, sensor.mistake_among(measured))
    return sensor


def _refuse_hurry(document: Document, place: tuple[str | int, ...], driver: DriverKind, keys: SensorKeys) -> None:
    """Refuse an interval that the hardware cannot keep, and a timeout that no number can."""
    least_s, usual_s = (
        float(seconds) if isinstance(seconds := getattr(driver, name, None), int | float) else 0.0
        for name in ("min_interval_s", "interval_s")
    )
    if keys.interval_s is not None and keys.interval_s < least_s:
        problem = f"{keys.interval_s:g} is too often for a {keys.kind}"
        raise document.error((*place, "interval_s"), problem, f"give {least_s:g} or more")
    # The second reading may come one and a half intervals after the first, see Schedule.
    interval_s = keys.interval_s or usual_s
    if keys.timeout_s is not None and keys.timeout_s < 2 * interval_s:
        problem = f"{keys.timeout_s:g} s are so short that the sensor would be offline between two readings"
        raise document.error((*place, "timeout_s"), problem, f"give two intervals or more, {2 * interval_s:g} s")


def _refuse_idle_heartbeat(document: Document, place: tuple[str | int, ...], sensor: SensorConfig) -> None:
    """Refuse a heartbeat of what beats anyway; ESPHome's alone sends a number every so many seconds and no other."""
    any_delta = next((t.delta for t in (sensor.keys, *sensor.treatments.values()) if t.delta is not None), None)
    tables = [((name,), treatment.delta) for name, treatment in sensor.treatments.items()]
    for path, delta in [((), any_delta), *tables]:
        if delta is None and "heartbeat_s" in document.at((*place, *path)):
            problem = "without `delta` every number is sent anyway"
            raise document.error((*place, *path, "heartbeat_s"), problem, "add `delta`, or use `throttle_s`")


def _merged(document: Document, place: tuple[str | int, ...], name: str) -> Treatment:
    """Take from the sensor what the table of one measurement leaves open; both were read before."""
    known = field_names(Treatment)
    ours = {key: value for key, value in document.at(place).items() if key in known}
    return msgspec.convert({**ours, **document.at((*place, name))}, Treatment)


def _refuse(document: Document, place: tuple[str | int, ...], mistake: Mistake | None) -> None:
    if mistake is not None:
        path, problem, cure = mistake
        raise document.error((*place, *path), problem, cure)
