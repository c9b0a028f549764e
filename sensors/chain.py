"""The way of one channel's readings: believed or refused, calibrated, filtered. Pure: `now` in monotonic seconds."""

from sensors.calibration import line_of
from sensors.driver import Channel
from sensors.filters import Filter
from sensors.plausibility import MOST, NotANumber, Plausibility
from sensors.reading import Value
from sensors.treatment import Treatment


class Chain:
    """Takes the values of one channel, one after the other; states and events pass untouched."""

    def __init__(self, channel: Channel, treatment: Treatment, interval_s: float | None = None) -> None:
        self.channel = channel
        self.decimals = channel.decimals if treatment.decimals is None else treatment.decimals
        self._plausibility = Plausibility(channel, treatment)
        self._line = line_of(treatment)
        self._filter = Filter(treatment, self.decimals, interval_s)

    def believe(self, value: Value) -> Value:
        """Give the value as it should have been said. Raises Doubt."""
        self._plausibility.check(value)
        if isinstance(value, bool | str):
            return value
        true = self._line.at(value)
        if not abs(true) <= MOST:
            raise NotANumber(self.channel.measurement, f"{value:g} is too large to be calibrated")
        return true

    def news(self, value: Value, now: float) -> Value | None:
        """Give a believed value as it is to be sent, None while it says nothing new."""
        return value if isinstance(value, bool | str) else self._filter.offer(value, now)

    def forget_sent(self) -> None:
        """Take the next value for news, whatever it is."""
        self._filter.forget_sent()

    def forget_past(self) -> None:
        """Let the next value stand alone, and be sent: those before it are old."""
        self._filter.forget_past()
