"""Whether a sensor has stopped giving one of its numbers. Pure: `now` comes in, in monotonic seconds."""

from collections.abc import Iterable

from sensors.driver import SensorError


class Silent(SensorError):
    """There was no believable value for too long, whatever else the sensor says."""

    cause = "silent"


class Silence:
    """Knows when each measurement was heard last."""

    def __init__(self, measurements: Iterable[str], timeout_s: float | None) -> None:
        """Wait for nothing without a `timeout_s`."""
        self._timeout_s = timeout_s
        self._heard: dict[str, float | None] = {} if timeout_s is None else dict.fromkeys(measurements)

    def heard(self, measurement: str, now: float) -> None:
        """Note a value that was believed."""
        if measurement in self._heard:
            self._heard[measurement] = now

    def trouble(self, now: float) -> Silent | None:
        """Name what was not heard for too long; it is waited for from the first call."""
        for measurement, at in self._heard.items():
            if at is None:
                self._heard[measurement] = now
            elif self._timeout_s is not None and now - at >= self._timeout_s:
                return Silent(f"{measurement}: no believable value for {self._timeout_s:g} s")
        return None
