"""DHT11, DHT21 and DHT22: temperature and humidity over one wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from sensors.driver import Channel, DriverContext, Implausible
from sensors.hw.dht import MEASURE_TIMEOUT_S, START_TIMEOUT_S, DhtProcess, DhtSensor, Kind, Method
from sensors.hw.header import GpioNumber
from sensors.reading import Reading


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the data sheet promises; whatever lies outside was never measured."""

    kind: Kind
    temperature: tuple[float, float]
    humidity: tuple[float, float]


_WIDE = ((-40.0, 80.0), (0.0, 100.0))
SHEETS = {
    "DHT11": Sheet("DHT11", (0.0, 60.0), (5.0, 100.0)),
    "DHT21": Sheet("DHT21", *_WIDE),
    "AM2301": Sheet("DHT21", *_WIDE),
    "DHT22": Sheet("DHT22", *_WIDE),
    "AM2302": Sheet("DHT22", *_WIDE),
}


class Dht:
    """One sensor of the family; a frame is believed as a whole or not at all."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `dht`."""

        pin: Annotated[GpioNumber, Meta(description="GPIO number, as in GPIO4; not the position on the header.")]
        model: Annotated[
            Literal["DHT11", "DHT21", "AM2301", "DHT22", "AM2302"], Meta(description="What is printed on the sensor.")
        ]
        pulses: Annotated[
            Method,
            Meta(description="Who times the pulses: Blinka's helper (pulseio), Python (bitbang), or what it finds."),
        ] = "auto"

    serial_number: str | None = None
    measures: ClassVar[tuple[str, ...]] = ("temperature", "humidity")
    interval_s: ClassVar[float] = 30.0
    min_interval_s: ClassVar[float] = 2.0
    timeout_s: ClassVar[float] = START_TIMEOUT_S + MEASURE_TIMEOUT_S + 2

    @classmethod
    def build(cls, options: "Dht.Options", context: DriverContext) -> "Dht":  # noqa: ARG003 what every kind is given
        """Start the process that measures. Raises SensorError, DriverUnavailable among them."""
        sensor = DhtProcess(SHEETS[options.model].kind, options.pin, options.pulses)
        try:
            sensor.start()
        except BaseException:
            sensor.close()
            raise
        return cls(sensor, options.model)

    def __init__(self, sensor: DhtSensor, model: str) -> None:
        self._sensor = sensor
        self._sheet = SHEETS[model]
        self.model: str | None = model
        (coldest, warmest), (driest, dampest) = self._sheet.temperature, self._sheet.humidity
        self.channels = (
            Channel(measurement="temperature", unit="°C", low=coldest, high=warmest, max_step=5, decimals=1),
            Channel(measurement="humidity", unit="%", low=driest, high=dampest, max_step=25, decimals=1),
        )

    def read(self) -> Sequence[Reading]:
        """Measure once: up to 2 s to keep the sensor's pause, then a quarter. Raises SensorError."""
        temperature, humidity = self._sensor.measure()
        if temperature == 0 and humidity == 0:
            # Pulses that were all timed too short decode to zeros, and zeros have the right checksum.
            raise Implausible("a frame of zeros, which no air has; check the pull-up and the supply of 3.3 to 5 V")
        for channel, value in zip(self.channels, (temperature, humidity), strict=True):
            if channel.low is not None and channel.high is not None and not channel.low <= value <= channel.high:
                raise Implausible(
                    f"{channel.measurement} {value:g} {channel.unit} is nothing that a {self.model} measures; "
                    "is the model right?"
                )
        return (Reading("temperature", temperature), Reading("humidity", humidity))

    def close(self) -> None:
        """See Driver."""
        self._sensor.close()
