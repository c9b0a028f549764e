"""SCD40, SCD41 and SCD43: carbon dioxide, temperature and humidity."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from sensors.driver import Channel, Implausible, TimedOut
from sensors.drivers.i2c import I2cDriver, Keys

FRESH_WITHIN_S = 6.0  # the chip measures every 5 s
FIRST_MINUTE_S = 60.0  # after its start it may stay silent
LOOK_EVERY_S = 0.25


class Scd4xKeys(Keys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of an SCD4x."""

    altitude_m: Annotated[
        int,
        Meta(ge=0, le=3000, description="Metres above the sea: in thinner air the chip would tell too little."),
    ] = 0
    self_calibration: Annotated[
        bool,
        Meta(
            description="Whether it takes the freshest air of a week for that outside; `false` for a room that never "
            "has any."
        ),
    ] = True


class Scd4x(I2cDriver):
    """An SCD40, SCD41 or SCD43 measures carbon dioxide, temperature and humidity."""

    keys = Scd4xKeys
    options: Scd4xKeys
    library = "adafruit_scd4x:SCD4X"
    addresses = (0x62,)
    model = "SCD4x"
    channels = (
        Channel(measurement="co2", unit="ppm", low=250, high=40_000, decimals=0),
        Channel(measurement="temperature", unit="°C", low=-10, high=60, max_step=5, decimals=1),
        Channel(measurement="humidity", unit="%", low=0, high=100, max_step=25, decimals=1),
    )
    min_interval_s = 5.0
    timeout_s = 15.0

    _started_at = 0.0

    def begin(self, chip: Any) -> str | None:
        """Ask for the serial number and set it up, for which the chip must be at rest; then it measures every 5 s."""
        serial = bytes(chip.serial_number).hex()
        chip.altitude = self.options.altitude_m  # both are for as long as it has power, and so told each time
        chip.self_calibration_enabled = self.options.self_calibration
        chip.start_periodic_measurement()
        self._started_at = self.clock()
        return serial

    def measure(self, chip: Any) -> Sequence[float]:
        """Wait for a measurement that was not read yet; in the first minute there may be none."""
        give_up_at = self.clock() + FRESH_WITHIN_S
        while not chip.data_ready:
            if self.clock() >= give_up_at:
                if self.clock() - self._started_at < FIRST_MINUTE_S:
                    return ()
                raise TimedOut("the SCD4x has stopped measuring; it is started again")
            time.sleep(LOOK_EVERY_S)
        co2, temperature, humidity = chip.CO2, chip.temperature, chip.relative_humidity
        if co2 == 0:
            raise Implausible("0 ppm of carbon dioxide, which no air has: the SCD4x is not ready")
        return (co2, temperature, humidity)
