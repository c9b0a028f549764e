"""BH1750: light."""

from collections.abc import Sequence
from typing import Any

from sensors.driver import BadFrame, Channel
from sensors.drivers.i2c import I2cDriver

MOST = 0xFFFF / 1.2  # lx that it can tell, in coarse steps; in fine ones half of it
COARSE, FINE = 0, 1


class Bh1750(I2cDriver):
    """A BH1750 measures light, from darkness to a bright day without direct sun."""

    library = "adafruit_bh1750:BH1750"
    addresses = (0x23, 0x5C)
    model = "BH1750"
    channels = (Channel(measurement="illuminance", unit="lx", low=0, high=54_612, decimals=1),)
    interval_s = 10.0

    def measure(self, chip: Any) -> Sequence[float]:
        """Look twice: at darkness, as a chip whose power dipped stands still and says 0 too; and coarsely at glare."""
        lux = chip.lux
        if lux == 0:
            chip.initialize()
            lux = chip.lux
        if lux >= MOST / 2:
            chip.resolution = COARSE
            lux = chip.lux
            chip.resolution = FINE
        if lux >= MOST:
            raise BadFrame("the chip sent ff ff: more light than it can tell, or a line that nobody drives")
        return (lux,)

    def fault_of(self, _frame: bytes) -> str:
        """Find no fault in two zeros, which are darkness, nor in two of 0xff, which are glare."""
        return ""
