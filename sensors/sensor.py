"""One configured sensor while the agent runs: its driver once it is built, its chains, its standing and its topics."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.devices import Measurement
from sensors.chain import Chain
from sensors.derived import DERIVED
from sensors.driver import Channel, Driver, DriverUnavailable, Polled, SensorError, numbers_of
from sensors.filters import longest_silence_s
from sensors.health import Standing
from sensors.plausibility import AllZero, Doubt, zeroed
from sensors.reading import Reading, Value
from sensors.sensor_table import SensorConfig
from sensors.silence import Silence
from sensors.topics import AgentTopics, check_level, command_topic, payload_of, place_of, state_topic
from sensors.treatment import Treatment

OK = "ok"  # quality of a reading


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A reading that passed its filters, as it is to travel."""

    topic: str
    payload: str
    quality: str
    is_event: bool  # events pass by: they are never retained


class Sensor:
    """Used by the agent's thread alone; the driver's methods are called elsewhere."""

    def __init__(self, config: SensorConfig, topics: AgentTopics) -> None:
        self.config = config
        self.name = config.name
        self.availability_topic = topics.sensor_availability(config.name)
        self.standing = Standing(config.keys.offline_after)
        self.driver: Driver | None = None
        self.generation = 0  # counts the drivers, so that words of an earlier one are known as such
        self.measurements: tuple[Measurement, ...] = ()
        self.present: dict[str, bool] = {}  # last state of what is ON or OFF, by measurement
        self.silence = Silence((), None)
        self._site = topics.site
        self._derived = tuple(dict.fromkeys(config.keys.derived))
        self._chains: dict[str, Chain] = {}  # by measurement, the derived ones among them

    @property
    def interval_s(self) -> float | None:
        """Seconds between reads; None where the sensor speaks up by itself, or is not known yet."""
        if not isinstance(self.driver, Polled):
            return None
        return max(self.config.keys.interval_s or self.driver.interval_s, self.driver.min_interval_s)

    def built(self, driver: Driver) -> None:
        """Take the driver; raises SensorError where its measurements cannot be topics, or the keys name others."""
        for channel in driver.channels:
            try:
                check_level(channel.measurement)
            except ValueError as error:
                raise SensorError(f"the measurement {error}") from None
        numbers = [channel.measurement for channel in driver.channels if channel.role == "sensor"]
        # What this kind may measure and this computer does not have is no mistake.
        may = numbers_of(self.config.driver, self.config.options) or ()
        if mistake := self.config.mistake_among(tuple(dict.fromkeys((*numbers, *may)))):
            path, problem, cure = mistake
            raise DriverUnavailable(f"{'.'.join(path)}: {problem}; {cure}")
        self.driver = driver
        late = [channel.measurement for channel in driver.channels if channel.comes_late]
        self.silence = Silence([name for name in numbers if name not in late], self.config.keys.timeout_s)
        channels = [*driver.channels, *(DERIVED[name].channel for name in self._derived)]
        self._chains = {
            channel.measurement: Chain(channel, self._treatment(channel.measurement), self.interval_s)
            for channel in channels
        }
        self.measurements = tuple(self._measurement(channel) for channel in channels)

    def dropped(self, *, forget: bool = False) -> Driver | None:
        """Give the driver back to be closed; what it still says is not heard. `forget`: it never measured anything."""
        if forget:
            self.measurements = ()
            self._chains = {}
        driver, self.driver = self.driver, None
        self.present.clear()
        self.generation += 1
        return driver

    @property
    def place(self) -> str:
        """What its topics have before the measurement."""
        return place_of(self.topic("measurement"))

    def topic(self, measurement: str) -> str:
        """Topic of one of its readings."""
        return state_topic(self._site, self.config.keys.room, self.config.keys.label, measurement)

    def command_topics(self) -> dict[str, str]:
        """Command topics of what can be switched -> measurement; before the first driver, of what its kind tells."""
        channels = [chain.channel for chain in self._chains.values()]
        if not channels and (tell := getattr(self.config.driver, "channels_of", None)) is not None:
            channels = tell(self.config.options)
        return {
            command_topic(self.topic(channel.measurement)): channel.measurement
            for channel in channels
            if channel.role == "switch"
        }

    def outgoing(self, readings: Sequence[Reading], now: float) -> tuple[list[Outgoing], list[Doubt]]:
        """Judge readings; gives those to send and what is held against others. What says nothing new is in neither."""
        passed: list[Outgoing] = []
        refusals: list[Doubt] = []
        numbers: dict[str, float] = {}
        qualities: dict[str, str] = {}
        empty = zeroed(readings)
        for reading in readings:
            name = reading.measurement
            chain = self._chains.get(name)
            if chain is None:
                refusals.append(Doubt(name, "the driver never announced that it measures this"))
                continue
            try:
                if name in empty:
                    raise AllZero(name, "temperature and humidity are both exactly 0, which no air has")
                value = chain.believe(reading.value)
            except Doubt as error:
                refusals.append(error)
                continue
            self.silence.heard(name, now)
            passed += self._passed(chain, value, reading.quality, now)
            if not isinstance(value, bool | str):
                numbers[name], qualities[name] = value, reading.quality
        for name in self._derived:
            derived = DERIVED[name]
            if (computed := derived.value(numbers)) is not None:
                quality = next((qualities[source] for source in derived.inputs if qualities[source] != OK), OK)
                passed += self._passed(self._chains[name], computed, quality, now)
        return passed, refusals

    def _passed(self, chain: Chain, value: Value, quality: str, now: float) -> list[Outgoing]:
        news = chain.news(value, now)
        if news is None:
            return []
        measurement = chain.channel.measurement
        if isinstance(news, bool):
            self.present[measurement] = news
        payload = payload_of(news, chain.decimals)
        return [Outgoing(self.topic(measurement), payload, quality, chain.channel.role == "event")]

    def forget_sent(self) -> None:
        """Send every channel's next reading even if it says nothing new."""
        for chain in self._chains.values():
            chain.forget_sent()

    def forget_past(self) -> None:
        """Smooth no number with those before it, which are old, and send the next ones."""
        for chain in self._chains.values():
            chain.forget_past()

    def _treatment(self, measurement: str) -> Treatment:
        treatment = self.config.treatments.get(measurement, self.config.keys)
        return treatment.of_derived() if measurement in self._derived else treatment

    def forget_states(self) -> None:
        """Hold no state of an actuator for true until it is told again."""
        for measurement in self.command_topics().values():
            self.present.pop(measurement, None)

    def _measurement(self, channel: Channel) -> Measurement:
        topic = self.topic(channel.measurement)
        driver = self.driver
        interval_s = self.interval_s
        if interval_s is not None and channel.role == "sensor":
            interval_s = longest_silence_s(self._treatment(channel.measurement), interval_s)
        return Measurement(
            topic=topic,
            kind=channel.measurement,
            name=self.config.keys.title,
            role=channel.role,
            unit=channel.unit,
            interval_s=interval_s,
            command_topic=command_topic(topic) if channel.role == "switch" else None,
            availability_topic=self.availability_topic,
            model=None if driver is None else driver.model,
            serial_number=None if driver is None else driver.serial_number,
        )
