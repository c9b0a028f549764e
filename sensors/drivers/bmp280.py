"""BMP280: temperature and air pressure."""

from collections.abc import Sequence
from typing import Any

from sensors.driver import Channel
from sensors.drivers.barometer import BarometerKeys, at_sea_level
from sensors.drivers.i2c import I2cDriver
from sensors.hw.i2c import line_fault

UNMEASURED = b"\x80\x00\x00"  # what the registers hold until the chip has measured


class Bmp280(I2cDriver):
    """A BMP280 measures temperature and pressure of the air."""

    keys = BarometerKeys
    options: BarometerKeys
    library = "adafruit_bmp280:Adafruit_BMP280_I2C"
    addresses = (0x76, 0x77)
    model = "BMP280"
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=85, max_step=5, decimals=2),
        Channel(measurement="pressure", unit="hPa", low=300, high=1100, max_step=10, decimals=2),
    )

    def measure(self, chip: Any) -> Sequence[float]:
        """Wake the chip for one measurement of each; asleep it does not warm itself."""
        return (chip.temperature, at_sea_level(chip.pressure, self.options.altitude_m))

    def fault_of(self, frame: bytes) -> str:
        """Besides a stuck line: what stands in the registers before the first measurement."""
        return "nothing was measured; its power dips" if frame == UNMEASURED else line_fault(frame)
