"""SHT40, SHT41 and SHT45: temperature and humidity."""

from collections.abc import Sequence
from typing import Any

from sensors.driver import Channel
from sensors.drivers.i2c import I2cDriver


class Sht4x(I2cDriver):
    """An SHT40, SHT41 or SHT45 measures temperature and humidity."""

    library = "adafruit_sht4x:SHT4x"
    addresses = (0x44, 0x45, 0x46)
    model = "SHT4x"
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=125, max_step=5, decimals=2),
        Channel(measurement="humidity", unit="%", low=0, high=100, max_step=25, decimals=1),
    )

    def begin(self, chip: Any) -> str | None:
        """Ask for the serial number."""
        return f"{chip.serial_number:08x}"

    def measure(self, chip: Any) -> Sequence[float]:
        """Measure both at once, with the chip's heater off."""
        temperature, humidity = chip.measurements
        return (temperature, humidity)
