"""One configured sensor while the agent runs: its driver once it is built, its filters, its standing and its topics."""

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.devices import Measurement
from sensors.config import SensorConfig
from sensors.driver import Channel, Driver, Implausible, Polled, SensorError
from sensors.filters import Filter
from sensors.health import Standing
from sensors.reading import Reading
from sensors.topics import AgentTopics, check_level, command_topic, payload_of, state_topic


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
        self._site = topics.site
        self._channels: dict[str, Channel] = {}
        self._filters: dict[str, Filter] = {}

    @property
    def interval_s(self) -> float | None:
        """Seconds between reads; None where the sensor speaks up by itself, or is not known yet."""
        if not isinstance(self.driver, Polled):
            return None
        return max(self.config.keys.interval_s or self.driver.interval_s, self.driver.min_interval_s)

    def built(self, driver: Driver) -> None:
        """Take the driver; raises SensorError where its measurements cannot be topics."""
        for channel in driver.channels:
            try:
                check_level(channel.measurement)
            except ValueError as error:
                raise SensorError(f"the measurement {error}") from None
        self.driver = driver
        self._channels = {channel.measurement: channel for channel in driver.channels}
        self._filters = {channel.measurement: Filter(channel, self.config.keys) for channel in driver.channels}
        self.measurements = tuple(self._measurement(channel) for channel in driver.channels)

    def dropped(self, *, forget: bool = False) -> Driver | None:
        """Give the driver back to be closed; what it still says is not heard. `forget`: it never measured anything."""
        if forget:
            self.measurements = ()
            self._channels = {}
        driver, self.driver = self.driver, None
        self.present.clear()
        self.generation += 1
        return driver

    def topic(self, measurement: str) -> str:
        """Topic of one of its readings."""
        return state_topic(self._site, self.config.keys.room, self.config.keys.label, measurement)

    def command_topics(self) -> dict[str, str]:
        """Command topics of what can be switched -> measurement."""
        return {
            command_topic(self.topic(channel.measurement)): channel.measurement
            for channel in self._channels.values()
            if channel.role == "switch"
        }

    def outgoing(self, readings: Iterable[Reading], now: float) -> tuple[list[Outgoing], list[Implausible]]:
        """Judge readings; gives those to send and what is held against others. What says nothing new is in neither."""
        passed: list[Outgoing] = []
        refusals: list[Implausible] = []
        for reading in readings:
            channel = self._channels.get(reading.measurement)
            if channel is None:
                refusals.append(Implausible(f'the driver gave "{reading.measurement}", which it never announced'))
                continue
            try:
                news = self._filters[reading.measurement].offer(reading, now)
            except Implausible as error:
                refusals.append(error)
                continue
            if news is None:
                continue
            if isinstance(news.value, bool):
                self.present[news.measurement] = news.value
            keys = self.config.keys
            decimals = channel.decimals if keys.decimals is None else keys.decimals
            payload = payload_of(news.value, decimals)
            passed.append(Outgoing(self.topic(news.measurement), payload, news.quality, channel.role == "event"))
        return passed, refusals

    def forget_sent(self) -> None:
        """Send every channel's next reading even if it says nothing new."""
        for known in self._filters.values():
            known.forget_sent()

    def forget_states(self) -> None:
        """Hold no state of an actuator for true until it is told again."""
        for measurement in self.command_topics().values():
            self.present.pop(measurement, None)

    def _measurement(self, channel: Channel) -> Measurement:
        topic = self.topic(channel.measurement)
        driver = self.driver
        interval_s = self.interval_s
        if interval_s is not None and self.config.keys.delta is not None:
            interval_s = max(interval_s, self.config.keys.heartbeat_s)  # the longest silence while nothing changes
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
