"""DHT11, DHT21 and DHT22: temperature and humidity over one wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from sensors.driver import BadFrame, Channel, Disconnected, DriverContext, Implausible
from sensors.hw.dht import MEASURE_TIMEOUT_S, START_TIMEOUT_S, DhtProcess, DhtSensor, Kind, OutOfSheet
from sensors.hw.dht_iio import KERNEL_LOG, DhtIio, find
from sensors.hw.header import GpioNumber
from sensors.hw.sysfs import SysfsTree
from sensors.reading import Reading

TWOS_COMPLEMENT = 1638.4  # °C; a magnitude in 15 bits that begins here is none


class ZeroFrame(Implausible):
    """Pulses that were all timed too short: they decode to zeros, and zeros have the right checksum."""

    cause = "all_zero"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the data sheet promises; whatever lies outside was never measured."""

    kind: Kind
    temperature: tuple[float, float]
    humidity: tuple[float, float]


_WIDE = ((-40.0, 80.0), (0.0, 100.0))
SHEETS = {
    "DHT11": Sheet("DHT11", (-20.0, 60.0), (5.0, 100.0)),  # the newer ones measure frost
    "DHT21": Sheet("DHT21", *_WIDE),
    "AM2301": Sheet("DHT21", *_WIDE),
    "DHT22": Sheet("DHT22", *_WIDE),
    "AM2302": Sheet("DHT22", *_WIDE),
}


class Dht:
    """A DHT11, DHT21 (AM2301) or DHT22 (AM2302) measures temperature and humidity, at one pin.

    A frame is believed as a whole or not at all.
    """

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `dht`."""

        pin: Annotated[GpioNumber, Meta(description="GPIO number, as in GPIO4; not the position on the header.")]
        model: Annotated[
            Literal["DHT11", "DHT21", "AM2301", "DHT22", "AM2302"], Meta(description="What is printed on the sensor.")
        ]
        pulses: Annotated[
            Literal["auto", "kernel", "pulseio", "bitbang"],
            Meta(
                description="Who times the pulses: the kernel's driver (dtoverlay=dht11), Blinka's helper (pulseio), "
                "Python (bitbang), or the first of them that is there."
            ),
        ] = "auto"
        tries: Annotated[
            Annotated[int, Meta(ge=1, le=10)],
            Meta(description="Measurements, 2 s apart, before a reading counts as failed."),
        ] = 3

    serial_number: str | None = None
    interval_s: ClassVar[float] = 30.0
    min_interval_s: ClassVar[float] = 2.0

    @classmethod
    def channels_of(cls, options: "Dht.Options") -> tuple[Channel, ...]:
        """Give what such a model measures."""
        return _channels(options.model)

    @classmethod
    def build(cls, options: "Dht.Options", context: DriverContext) -> "Dht":
        """Find the kernel's driver for the pin, or start the process that measures. Raises SensorError."""
        kind, sysfs = SHEETS[options.model].kind, SysfsTree(context.sysfs_root)
        if options.pulses == "kernel" or (options.pulses == "auto" and find(sysfs, options.pin) is not None):
            iio = DhtIio(sysfs, kind, options.pin, clock=context.clock, kernel_log=context.sysfs_root / KERNEL_LOG)
            return cls(iio, options.model, options.tries)
        process = DhtProcess(kind, options.pin, options.pulses)
        try:
            process.start()
        except BaseException:
            process.close()
            raise
        return cls(process, options.model, options.tries)

    def __init__(self, sensor: DhtSensor, model: str, tries: int = 1) -> None:
        self._sensor = sensor
        self._tries = tries
        self.retried: Mapping[str, int] = {}
        self.timeout_s = START_TIMEOUT_S + tries * MEASURE_TIMEOUT_S + 2
        self.model: str | None = model
        self.channels = _channels(model)

    def read(self) -> Sequence[Reading]:
        """Measure, and again after a bad answer: up to 2 s for the sensor's pause and a quarter. Raises SensorError."""
        left = self._tries
        while True:
            left -= 1
            try:
                return self._measure()
            except (BadFrame, Disconnected, Implausible) as error:
                if not left:
                    raise
                self.retried = {**self.retried, error.cause: self.retried.get(error.cause, 0) + 1}

    def _measure(self) -> Sequence[Reading]:
        temperature, humidity, raw = self._sensor.measure()
        if temperature <= -TWOS_COMPLEMENT:
            # Younger DHT22 tell frost in two's complement; the library and the kernel know a sign and a magnitude only.
            temperature = round(-temperature - 2 * TWOS_COMPLEMENT, 1)
        if temperature == 0 and humidity == 0:
            raise ZeroFrame("a frame of zeros, which no air has; check the pull-up and the supply of 3.3 to 5 V")
        for channel, value in zip(self.channels, (temperature, humidity), strict=True):
            if channel.low is not None and channel.high is not None and not channel.low <= value <= channel.high:
                raise OutOfSheet(
                    f"{channel.measurement} {value:g} {channel.unit} is nothing that a {self.model} measures "
                    f"({raw or 'no frame'}); is the model right?"
                )
        return (Reading("temperature", temperature, raw=raw), Reading("humidity", humidity, raw=raw))

    def close(self) -> None:
        """See Driver."""
        self._sensor.close()


def _channels(model: str) -> tuple[Channel, ...]:
    (coldest, warmest), (driest, dampest) = SHEETS[model].temperature, SHEETS[model].humidity
    return (
        Channel(measurement="temperature", unit="°C", low=coldest, high=warmest, max_step=5, decimals=1),
        Channel(measurement="humidity", unit="%", low=driest, high=dampest, max_step=25, decimals=1),
    )
