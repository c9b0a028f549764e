"""Which numbers are worth sending, and how smooth. Pure: `now` comes in, in monotonic seconds."""

import math
from collections import deque

from sensors.treatment import Treatment

ROUNDING = 1e-9  # 0.3 - 0.2 is a little less than 0.1
SLACK = 0.25  # of an interval: a read comes a little early or late, and a pause of four reads is four reads


class Filter:
    """Passes the numbers of one channel, one after the other, in the order that treatment.py tells."""

    def __init__(self, treatment: Treatment, decimals: int | None = None, interval_s: float | None = None) -> None:
        """Know the `decimals` that are sent, and how often there is a number: None where the sensor speaks up."""
        self._treatment = treatment
        self._decimals = decimals
        self._delta, self._share = _delta(treatment.delta)
        self._slack_s = SLACK * (interval_s or 0.0)
        self._raw: deque[float] = deque(maxlen=treatment.median or 1)
        self._middle: deque[float] = deque(maxlen=treatment.moving_average or 1)
        self._count = 0  # of numbers since one went on
        self._sent: float | None = None
        self._sent_at = -math.inf

    def offer(self, number: float, now: float) -> float | None:
        """Give the number as it is to be sent, None while it says nothing new."""
        self._raw.append(number)
        self._middle.append(_median(self._raw))
        smooth = math.fsum(self._middle) / len(self._middle)
        rounded = _rounded(smooth, self._decimals) + 0.0  # -0.04 is 0.0, not -0.0
        self._count += 1
        if self._sent is not None:
            if self._count < self._treatment.send_every:
                return None
            self._count = 0
            if not self._is_over(self._treatment.throttle_s, now) or not self._is_news(rounded, self._sent, now):
                return None
        self._count = 0
        self._sent, self._sent_at = rounded, now
        return rounded

    def forget_sent(self) -> None:
        """Take the next number for news, whatever it is."""
        self._sent = None

    def forget_past(self) -> None:
        """Let the next number stand alone, and be sent: those before it are old."""
        self._raw.clear()
        self._middle.clear()
        self.forget_sent()

    def _is_over(self, pause_s: float | None, now: float) -> bool:
        return pause_s is None or now - self._sent_at >= pause_s - self._slack_s

    def _is_news(self, number: float, sent: float, now: float) -> bool:
        if self._treatment.delta is None or self._is_over(self._treatment.heartbeat_s, now):
            return True
        change = abs(number - sent)
        return change > 0 and change >= max(self._delta, self._share * abs(sent)) - ROUNDING


def longest_silence_s(treatment: Treatment, interval_s: float) -> float:
    """Give how long nothing may be sent though a number comes every `interval_s`: a whole number of these."""
    step_s = interval_s * treatment.send_every
    pauses = [0.0, treatment.throttle_s or 0.0, 0.0 if treatment.delta is None else treatment.heartbeat_s]
    return max(math.ceil((max(pauses) - SLACK * interval_s) / step_s), 1) * step_s


def _rounded(number: float, decimals: int | None) -> float:
    """Round as people do, and ESPHome: a half goes away from zero, also one that binary makes a little less."""
    if decimals is None:
        return number
    shift = 10**decimals
    return math.copysign(math.floor(abs(number) * shift + 0.5 + ROUNDING) / shift, number)


def _delta(delta: float | str | None) -> tuple[float, float]:
    """Give the least change, and the least share of what was sent."""
    if isinstance(delta, str):
        return 0.0, float(delta.removesuffix("%")) / 100
    return delta or 0.0, 0.0


def _median(numbers: deque[float]) -> float:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
