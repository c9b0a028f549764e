"""BH1750: light."""

from collections.abc import Sequence
from typing import Any

from sensors.driver import Channel
from sensors.drivers.i2c import I2cDriver


class Bh1750(I2cDriver):
    """A BH1750 measures light, from darkness to a bright day in the shade."""

    library = "adafruit_bh1750:BH1750"
    addresses = (0x23, 0x5C)
    model = "BH1750"
    channels = (Channel(measurement="illuminance", unit="lx", low=0, high=27_306, decimals=1),)
    interval_s = 10.0

    def measure(self, chip: Any) -> Sequence[float]:
        """Look twice at darkness: a chip whose power dipped stands still and says 0 too."""
        if chip.lux == 0:
            chip.initialize()
        return (chip.lux,)

    def fault_of(self, frame: bytes) -> str:
        """Two zeros are darkness, and no fault."""
        return "more light than it can tell, or a line that nobody drives" if frame == b"\xff\xff" else ""
