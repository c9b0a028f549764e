"""Who is due, and how long to wait after failures. Pure: `now` comes in, in monotonic seconds."""

from dataclasses import dataclass

FIRST_WITHIN_S = 2.0  # every sensor speaks soon after the start, but not all in one instant
APART_S = 0.1  # between the first reads of sensors whose drivers were built in one instant
FIRST_BACK_OFF_S = 60.0  # at most
LONGEST_BACK_OFF_S = 300.0
REPEAT_AFTER_S = 10.0  # what disturbs a line is over by then, and no hardware gives the same measurement twice
GOLDEN = 0.618_033_988_749_895  # multiples of it, modulo 1, fill an interval evenly however many there are


@dataclass(slots=True)
class _Turn:
    interval_s: float
    min_interval_s: float
    phase: float  # 0 … 1: where in its interval this sensor is read
    due: float | None  # None while it is being read
    asked: float | None = None  # when it was last read
    failures: int = 0
    hurry: bool = False  # `soon` came while it was being read


class Schedule:
    """Times of the reads: each at its own interval, spread over it, later and later while a sensor fails."""

    def __init__(self, now: float) -> None:
        self._start = now
        self._free_at = now  # for the next `again`
        self._turns: dict[str, _Turn] = {}

    def add(self, name: str, now: float, interval_s: float = 60.0, min_interval_s: float = 0.0) -> None:
        """Take a sensor in; its first read comes within FIRST_WITHIN_S."""
        phase = len(self._turns) * GOLDEN % 1.0
        due = now + phase * min(FIRST_WITHIN_S, interval_s)
        self._turns[name] = _Turn(max(interval_s, min_interval_s), min_interval_s, phase, due)

    def retime(self, name: str, interval_s: float, min_interval_s: float) -> None:
        """Change a sensor's interval; its next read stays where it is."""
        turn = self._turns[name]
        turn.interval_s = max(interval_s, min_interval_s)
        turn.min_interval_s = min_interval_s

    def next_due(self) -> float | None:
        """When the next read is due; None while all are being read or at rest."""
        return min((turn.due for turn in self._turns.values() if turn.due is not None), default=None)

    def take_due(self, now: float) -> list[str]:
        """Give the sensors that are due, earliest first; each is away until `succeeded`, `failed` or `rest`."""
        due = sorted((turn.due, name) for name, turn in self._turns.items() if turn.due is not None and turn.due <= now)
        for _, name in due:
            turn = self._turns[name]
            turn.due = None
            turn.asked = now
        return [name for _, name in due]

    def succeeded(self, name: str, now: float) -> None:
        """Note that a read went well; the next comes at the sensor's next place in its own rhythm."""
        turn = self._turns[name]
        turn.failures = 0
        asked = now if turn.asked is None else turn.asked
        # Half an interval at least, so that the first read and the rhythm do not meet.
        earliest = max(now, asked + max(turn.min_interval_s, turn.interval_s / 2))
        turn.due = self._next_place(turn, earliest)
        self._hurry(turn, name, now)

    def failed(self, name: str, now: float) -> None:
        """Note a failure: tried again after an interval, but a minute at most, then two, four …

        Tried at least every LONGEST_BACK_OFF_S, or every interval where that is longer.
        """
        turn = self._turns[name]
        turn.failures += 1
        longest = max(LONGEST_BACK_OFF_S, turn.interval_s)
        first_s = min(turn.interval_s, FIRST_BACK_OFF_S)
        wait_s = min(first_s * 2.0 ** min(turn.failures - 1, 30), longest)
        turn.due = now + max(wait_s, turn.min_interval_s)
        turn.hurry = False

    def again(self, name: str, now: float) -> None:
        """Have a sensor read at once, as after its driver was built; of many at once, one after the other."""
        turn = self._turns[name]
        turn.due = max(now, self._free_at)
        self._free_at = turn.due + APART_S

    def repeat(self, name: str, now: float) -> None:
        """Have what was just read asked once more soon, to confirm it, whatever its interval."""
        turn = self._turns[name]
        if turn.due is not None and turn.asked is not None:
            turn.due = min(turn.due, max(now + REPEAT_AFTER_S, turn.asked + turn.min_interval_s))

    def rest(self, name: str) -> None:
        """Read no more until `again`: the sensor speaks up by itself."""
        turn = self._turns[name]
        turn.failures = 0
        turn.due = None
        turn.asked = None
        turn.hurry = False

    def soon(self, name: str, now: float, within_s: float) -> None:
        """Bring a read forward to within `within_s`, as far as the hardware allows; failing sensors keep waiting."""
        turn = self._turns[name]
        if turn.failures:
            return
        if turn.due is None:
            turn.hurry = turn.asked is not None
            return
        turn.due = min(turn.due, self._soonest(turn, now, within_s))

    def _hurry(self, turn: _Turn, name: str, now: float) -> None:
        if turn.hurry:
            turn.hurry = False
            self.soon(name, now, 0.0)

    def _soonest(self, turn: _Turn, now: float, within_s: float) -> float:
        wanted = now + turn.phase * min(within_s, turn.interval_s)
        return wanted if turn.asked is None else max(wanted, turn.asked + turn.min_interval_s)

    def _next_place(self, turn: _Turn, earliest: float) -> float:
        first = self._start + turn.phase * turn.interval_s
        missed = -((first - earliest) // turn.interval_s)  # rounds up: the first place at or after `earliest`
        place = first + max(missed, 0.0) * turn.interval_s
        return place if place >= earliest else place + turn.interval_s
