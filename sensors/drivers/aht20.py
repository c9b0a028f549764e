"""AHT10, AHT20 and AHT21: temperature and humidity."""

from collections.abc import Sequence
from typing import Any

from sensors.driver import Channel
from sensors.drivers.i2c import I2cDriver
from sensors.hw.i2c import line_fault

CALIBRATED = 0x08  # of the status, a frame's first byte


class Aht20(I2cDriver):
    """An AHT10, AHT20 or AHT21 measures temperature and humidity."""

    library = "adafruit_ahtx0:AHTx0"
    addresses = (0x38,)
    model = "AHT20"
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=85, max_step=5, decimals=1),
        Channel(measurement="humidity", unit="%", low=0, high=100, max_step=25, decimals=1),
    )
    min_interval_s = 2.0  # asked more often it warms itself

    def measure(self, chip: Any) -> Sequence[float]:
        """Measure once for each; the chip is busy for 80 ms each time."""
        return (chip.temperature, chip.relative_humidity)

    def fault_of(self, frame: bytes) -> str:
        """Besides a stuck line: a chip whose power dipped measures without its calibration until it is set up."""
        if fault := line_fault(frame):
            return fault
        return "it has lost its calibration; its power dips" if len(frame) > 1 and not frame[0] & CALIBRATED else ""
