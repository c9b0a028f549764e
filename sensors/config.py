"""sensors.toml → frozen values."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from appliance.config import ConfigError, Document
from appliance.devices import OFFLINE
from sensors import credential
from sensors.conflicts import (
    refuse_lonely_interlocks,
    refuse_namesakes,
    refuse_shared_hardware,
    refuse_shared_topics,
)
from sensors.credential import Credential, CredentialError
from sensors.data_dir import usual_data_dir
from sensors.endpoint import Endpoint
from sensors.keys import Broker, Keys, OutboxBounds
from sensors.sensor_table import SensorConfig, read_sensor
from sensors.topics import AgentTopics, legal_level
from sensors.trust import Trust, TrustError

T = TypeVar("T")

MAX_PASSWORD_BYTES = 65_535  # what CONNECT can carry


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
            mistakes.noting(refuse_namesakes, document, sensors)
            mistakes.noting(refuse_shared_topics, document, keys.site, sensors)
            mistakes.noting(refuse_lonely_interlocks, document, sensors)
            mistakes.noting(refuse_shared_hardware, document, sensors)
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
    "SensorsConfig",
    "config_of",
    "load_config",
    "paired",
]
