"""sensors.toml → frozen values; a sensor's own options are those of its kind."""

import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from appliance.config import ConfigError, Document, field_names
from appliance.devices import OFFLINE
from sensors import credential
from sensors.catalogue import kinds_with, meant
from sensors.credential import Credential, CredentialError
from sensors.data_dir import usual_data_dir
from sensors.driver import DriverKind, channels_of, numbers_of
from sensors.endpoint import Endpoint
from sensors.keys import Broker, Keys, OutboxBounds, SensorKeys
from sensors.registry import UnknownKind, driver_class
from sensors.topics import AgentTopics, command_topic, legal_level, state_topic
from sensors.treatment import Mistake, Treatment, mistake_among
from sensors.trust import Trust, TrustError

T = TypeVar("T")

MAX_PASSWORD_BYTES = 65_535  # what CONNECT can carry


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorsConfig:
    """One agent and its sensors."""

    site: str
    agent: str
    name: str
    data_dir: Path
    broker: Broker
    password: str | None
    trust: Trust | None = None  # TLS with these files
    credential: Credential | None = None  # of pairing, where `broker` says nothing else
    outbox: OutboxBounds
    sensors: tuple[SensorConfig, ...]

    @property
    def endpoint(self) -> Endpoint:
        """Which broker, and as whom."""
        got = self.credential
        return Endpoint(
            host=self.broker.host,
            port=self.broker.port or (got.port if got else None),
            known=got.address if got else "",
            name=got.name if got else "",
            site=self.site,
            trust=self.trust,
            anyone=self.broker.tls is False,
            client_id=f"sensors-{self.site}-{self.agent}",
            will_topic=AgentTopics(self.site, self.agent).availability,
            will_payload=OFFLINE,
            username=got.username if got else self.broker.username or None,
            password=got.secret if got else self.password,
            keep_alive_s=self.broker.keep_alive_s,
        )

    def endpoint_now(self) -> Endpoint:
        """Likewise, with what pairing has brought meanwhile; what cannot be used changes nothing.

        Raises ConfigError where there was nothing before: who was paired connects in no other way.
        """
        try:
            return paired(self).endpoint
        except ConfigError:
            if self.credential is None:
                raise
            return self.endpoint

    @property
    def outbox_path(self) -> Path:
        """The agent's outbox; agents of other names may share the directory."""
        return self.data_dir / f"{self.site}-{self.agent}.outbox"

    @property
    def keepsakes_path(self) -> Path:
        """What its sensors must know again after a restart."""
        return self.data_dir / f"{self.site}-{self.agent}.kept"

    @property
    def credential_path(self) -> Path:
        """What it got when it was paired."""
        return self.data_dir / f"{self.site}-{self.agent}.credential"

    @property
    def ca_path(self) -> Path:
        """The authority of the hub with which it was paired."""
        return self.data_dir / f"{self.site}-{self.agent}.ca.pem"

    @property
    def ungranted(self) -> tuple[str, ...]:
        """Topics of its sensors that it was not granted when it was paired."""
        granted = self.credential.topics if self.credential is not None else None
        topics = [topic for sensor in self.sensors for topic in sensor.topics(self.site)]
        return () if granted is None else tuple(topic for topic in topics if topic not in granted)


def load_config(path: Path, *, as_paired: bool = True) -> SensorsConfig:
    """Read the file and what it names, and what pairing brought; touches no hardware. Raises ConfigError."""
    return _config(Document.read(path), as_paired=as_paired)


def config_of(text: str, path: Path) -> SensorsConfig:
    """Take a text for what stands in a file, which errors call `path`. Raises ConfigError."""
    return _config(Document(path, text))


class _Mistakes:
    """Those of one file: the first ends the reading, and carries the others along."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def noting(self, step: Callable[..., T], *arguments: Any) -> T | None:
        """Take a step; None where it finds a mistake."""
        try:
            return step(*arguments)
        except ConfigError as error:
            self._found.append(error)
            return None

    def tell(self) -> None:
        """Raise ConfigError where there were any."""
        if self._found:
            first, *others = sorted(self._found, key=lambda error: error.line or 0)
            first.more = tuple(others)
            raise first


def _config(document: Document, *, as_paired: bool = True) -> SensorsConfig:
    mistakes = _Mistakes()
    keys = mistakes.noting(document.convert, Keys)
    tables = document.data.get("sensor")
    count = len(tables) if isinstance(tables, list) and all(isinstance(table, dict) for table in tables) else 0
    read = [mistakes.noting(read_sensor, document, number) for number in range(count)]
    sensors = tuple(sensor for sensor in read if sensor is not None)
    password = trust = None
    if keys is not None:
        password = mistakes.noting(_password, document, keys.broker)
        trust = mistakes.noting(_trust, document, keys.broker)
        if len(sensors) == count:  # else they are not known well enough
            mistakes.noting(_refuse_namesakes, document, sensors)
            mistakes.noting(_refuse_shared_topics, document, keys.site, sensors)
            mistakes.noting(_refuse_lonely_interlocks, document, sensors)
            mistakes.noting(_refuse_shared_hardware, document, sensors)
    mistakes.tell()
    keys = keys or Keys()  # there is one: what cannot be read is a mistake
    config = SensorsConfig(
        site=keys.site,
        agent=keys.agent or legal_level(socket.gethostname(), "agent"),
        name=keys.name,
        data_dir=Path(keys.data_dir) if keys.data_dir else usual_data_dir(),
        broker=keys.broker,
        password=password,
        trust=trust,
        outbox=keys.outbox,
        sensors=sensors,
    )
    return paired(config) if as_paired else config


def paired(config: SensorsConfig) -> SensorsConfig:
    """Add what the agent got when it was paired, where it was and nothing else counts. Raises ConfigError."""
    if config.broker.says_who():
        return config
    path, ca_path = config.credential_path, config.ca_path
    try:
        got = credential.read(path)
        if got is None:
            return config
        trust = Trust(ca_file=str(ca_path) if got.has_ca else "", is_paired=True)
        trust.context(got.name)
    except CredentialError as error:
        problem = error.problem.removeprefix(f"{path} ")
        raise ConfigError(path=path, line=None, key="", problem=problem, cure=error.cure) from None
    except TrustError as error:
        raise ConfigError(path=ca_path, line=None, key="", problem=error.problem, cure=credential.PAIR) from None
    return replace(config, credential=got, trust=trust)


def _refuse_namesakes(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    seen: dict[str, int] = {}
    for number, sensor in enumerate(sensors):
        if sensor.name in seen:
            raise document.error(
                ("sensor", number, "name"),
                f'sensor {seen[sensor.name] + 1} is already called "{sensor.name}"',
                "give each sensor a name of its own",
            )
        seen[sensor.name] = number


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


def _refuse_shared_topics(document: Document, site: str, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse two sensors of one topic; what only drivers know the agent refuses as it builds them."""
    owners: dict[str, str] = {}
    for number, sensor in enumerate(sensors):
        for topic in sensor.topics(site):
            if (owner := owners.setdefault(topic, sensor.name)) != sensor.name:
                raise document.error(
                    ("sensor", number, "label"),
                    f'{topic} already is a topic of sensor "{owner}"',
                    "give one of the two a label of its own",
                )


def _refuse_lonely_interlocks(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse a group of one: somebody thinks that two outputs exclude each other, and they do not."""
    groups = [getattr(sensor.options, "interlock", None) for sensor in sensors]
    for number, group in enumerate(groups):
        if group is not None and groups.count(group) == 1:
            raise document.error(
                ("sensor", number, "interlock"),
                f'nobody else is in the group "{group}", so that it excludes nothing',
                "give the other outputs the same name of a group, or remove the key",
            )


def _refuse_shared_hardware(document: Document, sensors: tuple[SensorConfig, ...]) -> None:
    """Refuse two sensors of one pin, chip or 1-Wire device: two rooms would tell the same, or one of them nothing."""
    owners: dict[tuple[object, ...], str] = {}
    for number, sensor in enumerate(sensors):
        for key, what, device in _hardware(sensor):
            if device in owners:
                problem = f'{what} is that of sensor "{owners[device]}" already'
                raise document.error(("sensor", number, key), problem, f"give each sensor its own `{key}`")
            owners[device] = sensor.name


def _hardware(sensor: SensorConfig) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Give what only one sensor can have, as far as the file tells it: key, words and which one it is."""
    options: Any = sensor.options
    addresses = getattr(sensor.driver, "addresses", ())
    if (pin := getattr(options, "pin", None)) is not None:
        yield "pin", f"GPIO{pin}", ("pin", pin)
    if hasattr(options, "id"):
        yield "id", options.id or "the only thermometer on the bus", ("1-wire", options.id)
    if addresses and (address := options.address or (addresses[0] if len(addresses) == 1 else None)) is not None:
        key = "address" if len(addresses) > 1 else "bus"
        yield key, f"the chip at {address:#04x} of bus {options.bus}", (options.bus, address)


def _trust(document: Document, broker: Broker) -> Trust | None:
    """Give the files of TLS, which are in order now; None without TLS. Raises ConfigError."""
    named = [key for key in ("ca_file", "cert_file", "key_file") if getattr(broker, key)]
    if broker.tls is False:
        if named:
            raise document.error(("broker", named[0]), "only TLS has a use for it", "leave it or tls = false out")
        if broker.host is None and broker.password_file:
            problem = "would be sent in plain to whatever broker is found"
            raise document.error(("broker", "password_file"), problem, "set broker.host, or broker.ca_file for TLS")
        return None
    if broker.tls is None and not named:
        return None
    if broker.key_file and not broker.cert_file:
        raise document.error(("broker", "key_file"), "is the key of no certificate", "set cert_file too")
    if broker.host is None and not broker.ca_file:
        key = "tls" if broker.tls else named[0]
        problem = "a broker that is looked for could be anybody's"
        raise document.error(("broker", key), problem, "set broker.ca_file to its authority's file, or broker.host")
    files = {key: str(_beside(document, getattr(broker, key))) for key in named}
    trust = Trust(**files)  # type: ignore[arg-type]  # the flag is no file
    try:
        trust.context(broker.host or "localhost")
    except TrustError as error:
        raise document.error(("broker", error.key), error.problem, error.cure) from None
    return trust


def _beside(document: Document, name: str) -> Path:
    """Give the path of a file: a plain name is a credential of the service, or lies beside the configuration."""
    path = Path(name)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if path.is_absolute():
        return path
    # os.path, as Path.exists raises where this user may not look.
    if credentials and len(path.parts) == 1 and os.path.exists(Path(credentials, path)):  # noqa: PTH110
        return Path(credentials) / path
    return document.path.parent / path


def _password(document: Document, broker: Broker) -> str | None:
    """Read the password file. Raises ConfigError, which never shows what is in it."""
    if not broker.password_file:
        return None
    path = _beside(document, broker.password_file)
    problem = ""
    raw = b""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PASSWORD_BYTES + 1)
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
    if not problem and (not raw.strip() or len(raw) > MAX_PASSWORD_BYTES or b"\0" in raw):
        problem = f"{path} holds no password"
    line = raw.splitlines()[0] if raw else b""
    try:
        password = line.decode()
    except UnicodeDecodeError:
        problem = f"{path} is not UTF-8"
    if problem:
        raise document.error(("broker", "password_file"), problem, "name a file whose first line is the password")
    return password


__all__ = [
    "ConfigError",
    "SensorConfig",
    "SensorsConfig",
    "config_of",
    "load_config",
    "paired",
    "read_sensor",
]
