"""SHT30, SHT31 and SHT35: temperature and humidity."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sensors.driver import BadFrame, Channel
from sensors.drivers.i2c import I2cDriver


class Sht31(I2cDriver):
    """An SHT30, SHT31 or SHT35 measures temperature and humidity."""

    library = "adafruit_sht31d:SHT31D"
    addresses = (0x44, 0x45)
    model = "SHT31"
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=125, max_step=5, decimals=2),
        Channel(measurement="humidity", unit="%", low=0, high=100, max_step=25, decimals=1),
    )

    def begin(self, chip: Any) -> str | None:
        """Ask for the serial number, which imitations do not have."""
        with suppress(OSError, RuntimeError, BadFrame):
            return f"{chip.serial_number:08x}"
        return None

    def measure(self, chip: Any) -> Sequence[float]:
        """Measure once for each, with the chip's heater off."""
        return (chip.temperature, chip.relative_humidity)
