"""The hub's own clock: it orders the history, and nothing that happens to the wall clock makes it go back.

A tick is 1/16 ms. Within an epoch ticks follow the monotonic clock; a start and every step of the wall clock begin a
new epoch, always behind the last tick. What an epoch's ticks mean is its `offset_ms`: true Unix ms = tick / 16 +
offset_ms. While nobody vouches for the wall clock its time is provisional: it goes on from what was known, and follows
the wall clock only where that shows a plausible time: at a start one that is ahead of what was known, and while the
service runs one that somebody set it to, be it back. Once the clock is set, the offset of this boot's epochs is found,
and nothing else changes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.clock import RELEASED_MS, SYNCED, UNSYNCED, clock_quality
from appliance.store.belief import believed_off_ms
from appliance.store.reading_rows import TICKS_PER_MS

REDATED: Final = "redated"
BEFORE_EPOCH: Final = 1  # of times that are known but not from this clock; its offset stays 0
STEP_MS: Final = 500  # the wall clock moved by more than this: it was set
PLAUSIBLE_MS: Final = 5 * 365 * 86_400_000  # an unset clock is believed so far ahead of what was known
RUNS_AHEAD_MS: Final = 400  # so much the ticks may run ahead of the wall clock before an offset says so


@dataclass(slots=True)
class Epoch:
    """A stretch of time that the hub's clock ran through evenly; a row of `epochs`."""

    id: int
    boot: str
    first_tick: int
    last_tick: int
    monotonic_ms: int
    offset_ms: int
    clock: str
    age_ms: int

    @property
    def is_dated(self) -> bool:
        """Whether its offset is true, not only gone on from what was known."""
        return self.clock != UNSYNCED

    def tick(self, now_ms: float) -> int:
        """Tick of a moment of the machine's same boot, in monotonic ms."""
        return self.first_tick + int((now_ms - self.monotonic_ms) * TICKS_PER_MS)

    def age(self, tick: int) -> int:
        """How long the service had run in all at a tick of this epoch, in ms."""
        return self.age_ms + max(0, tick - self.first_tick) // TICKS_PER_MS

    def unix_ms(self, tick: int) -> int:
        """Unix time of a tick of this epoch, in ms."""
        return tick // TICKS_PER_MS + self.offset_ms


class Moment(NamedTuple):
    """A place in the history: a tick and the epoch that gives it its time."""

    tick: int
    epoch_id: int


class HubClock:
    """Ticks, times and ages from monotonic seconds; `begin` it once, then `look` with each group.

    `quality` says what the wall clock is worth now and `present` reads monotonic and wall time, in seconds, together;
    what a group says of them may have waited for the disk, so that only this time goes with that quality.
    `known` are the epochs so far in their order; `last_tick` is the last tick that was given out, where the epochs do
    not know of it yet. Epochs that are new or changed wait in `changed` for whoever writes them.
    """

    def __init__(
        self,
        known: Iterable[Epoch],
        *,
        boot: str,
        last_tick: int = 0,
        quality: Callable[[], str] = clock_quality,
        present: Callable[[], tuple[float, float]] | None = None,
    ) -> None:
        self.epochs = list(known)
        self.changed: dict[int, Epoch] = {}
        self._boot = boot
        self._quality = quality
        self._present = present
        self._last_tick = max(last_tick, max((epoch.last_tick for epoch in self.epochs), default=0))
        self.known_tick = self._last_tick  # the last that had passed when the file was opened
        self._trusted = False
        self._begun = False
        # Wall less monotonic ms while the clock was not set: what others on this machine wrote down as the time.
        self._shown_ms: int | None = None
        self._sure_ms = 0  # monotonic time; looks from before it say nothing of a time that is known since
        self._looked_ms = 0.0  # monotonic time of the last look
        self.runs_from_ms = 0.0  # monotonic time behind which everything belongs to the running epoch
        self._after_ms: dict[int, float] = {}  # by epoch that a look opened: of the look before that one

    @property
    def epoch(self) -> Epoch:
        """The one that runs now."""
        return self.epochs[-1]

    @property
    def last_tick(self) -> int:
        """The last tick that is known to have passed; 0 before anything was."""
        return self._last_tick

    @property
    def is_trusted(self) -> bool:
        """Whether the time is known, not only guessed; once known it stays so until the machine's next boot."""
        return self._trusted

    def begin(self, now: float, at: float, since: float | None = None) -> None:
        """Open the epoch of this start; `now` is monotonic and `at` wall time, in seconds, read together.

        since: the service runs for so long already, and has only opened the file anew; what came in meanwhile waits,
        and its epoch goes on.
        """
        opened_ms = int(now * 1000)
        if since is not None:
            at, now = at - (now - since), since
        self._looked_ms = now * 1000
        now_ms, wall_ms = _whole_ms(now, at)
        before = self.epochs[-1] if self.epochs else None
        if since is not None and before is not None and before.boot == self._boot and before.monotonic_ms >= now_ms:
            self._begun = True
            self.runs_from_ms = before.monotonic_ms - 1.0
            self._trusted = before.is_dated
            self._shown_ms = None if self._trusted else wall_ms - now_ms
            return
        same_boot = before is not None and before.boot == self._boot and now_ms >= before.monotonic_ms
        # A clock that was set stays set until the power goes, whatever the kernel says after hours without a server.
        self._trusted = self._quality() == SYNCED or (before is not None and same_boot and before.is_dated)
        self._begun = True
        age_ms = 0
        if before is not None:
            before.last_tick = max(before.last_tick, self._last_tick)
            self.changed[before.id] = before
            age_ms = before.age(before.last_tick)
            if same_boot:
                self._last_tick = max(self._last_tick, before.tick(now_ms))
                age_ms = before.age(before.tick(now_ms))
            elif self._trusted and before.is_dated and before.id != BEFORE_EPOCH:
                # Time without power counts where it is known when it began and when it ended.
                age_ms += believed_off_ms(before.unix_ms(before.last_tick), wall_ms)
        if self._trusted:
            self._sure_ms = opened_ms
            if same_boot and before is not None and not before.is_dated:
                self._redate(now_ms, wall_ms)
            self._open(now_ms, wall_ms, age_ms, SYNCED)
            return
        self._shown_ms = wall_ms - now_ms
        is_first = before is None or not self._last_tick
        known_ms = 0 if before is None else before.unix_ms(self._last_tick)
        if known_ms <= wall_ms <= _latest_ms(known_ms):
            self._open(now_ms, wall_ms, age_ms, UNSYNCED)
            return
        first_tick = self._last_tick + 1
        if not same_boot:  # a whole ms, so that what the ticks of this boot mean can be found exactly
            first_tick += -first_tick % TICKS_PER_MS
        offset_ms = wall_ms if before is None or is_first else before.offset_ms
        self._add(first_tick, now_ms, offset_ms, UNSYNCED, age_ms)

    def look(self, now: float, at: float) -> bool:
        """See whether the clock was set or stepped since the last look; True if epochs changed.

        `now` is monotonic and `at` wall time, in seconds, read together.
        """
        now_ms, wall_ms = _whole_ms(now, at)
        epoch = self.epoch
        if now_ms < max(epoch.monotonic_ms, self._sure_ms):
            return False  # what was seen then was written down in an earlier try, or is known better since
        after_ms, self._looked_ms = self._looked_ms, now * 1000
        known_ms = epoch.unix_ms(epoch.tick(now_ms))
        is_found = not self._trusted and self._quality() == SYNCED
        if is_found:
            self._trusted = True
            if self._present is not None:
                now_ms, wall_ms = _whole_ms(*self._present())
            self._redate(now_ms, wall_ms)
        elif not self._trusted:
            shown_ms, self._shown_ms = self._shown_ms, wall_ms - now_ms
            is_set = shown_ms is not None and abs(self._shown_ms - shown_ms) > STEP_MS
            earliest_ms = RELEASED_MS if is_set else known_ms
            if abs(wall_ms - known_ms) <= STEP_MS or not earliest_ms <= wall_ms <= _latest_ms(known_ms):
                return False
            self._redate(now_ms, wall_ms, UNSYNCED)  # somebody set it by hand: nearer to the truth than what was known
        elif abs(wall_ms - known_ms) <= STEP_MS:
            return False
        self._last_tick = max(self._last_tick, epoch.tick(now_ms))
        epoch.last_tick = self._last_tick
        self.changed[epoch.id] = epoch
        self._open(now_ms, wall_ms, epoch.age(epoch.tick(now_ms)), SYNCED if self._trusted else UNSYNCED)
        if not is_found:  # else what came before it is dated again, and stays where it is
            self._after_ms[self.epoch.id] = self.runs_from_ms = after_ms
        return True

    def tick(self, now: float) -> int:
        """Tick of a moment of the running epoch."""
        epoch = self.epochs[-1]
        tick = max(epoch.first_tick, epoch.tick(now * 1000))
        if tick > self._last_tick:  # noqa: PLR1730 a third of the time of `max`
            self._last_tick = tick
        return tick

    def moment(self, now: float) -> Moment:
        """Place of a moment of this boot, in the epoch that it was looked at in; before them all, where that begins.

        When the clock was stepped is not known, only after which look: what came since then has the new time.
        """
        now_ms = now * 1000
        found = self.epochs[-1]
        if now_ms > self.runs_from_ms:
            return Moment(self.tick(now), found.id)
        for epoch in reversed(self.epochs[:-1]):
            if epoch.boot != self._boot:
                break
            found = epoch
            if now_ms > self._after_ms.get(epoch.id, epoch.monotonic_ms - 1):
                break
        return Moment(max(found.first_tick, min(found.tick(now_ms), found.last_tick)), found.id)

    def unix_ms(self, now: float) -> int:
        """Unix time of that moment in ms, as far as it is known."""
        return self.epoch.unix_ms(self.tick(now))

    def unix_ms_of(self, moment: Moment) -> int:
        """Unix time of a place in one of the epochs that are kept here."""
        return next(epoch for epoch in reversed(self.epochs) if epoch.id == moment.epoch_id).unix_ms(moment.tick)

    def age_ms(self, now: float) -> int:
        """How long the service has run in all, without power cuts that are of unknown length or said to be of days."""
        self.tick(now)
        epoch = self.epochs[-1]  # the age goes on through all epochs of a boot, also where one began since
        return max(0, epoch.age_ms + int(now * 1000 - epoch.monotonic_ms))

    def passed(self, tick: int) -> None:
        """Know of a tick that was given to a row, so that no later epoch begins before it."""
        if tick > self._last_tick:  # noqa: PLR1730
            self._last_tick = tick

    def close(self) -> None:
        """Note in the running epoch how far it came; the next start goes on from there."""
        if self._begun and self.epoch.last_tick != self._last_tick:
            self.epoch.last_tick = self._last_tick
            self.changed[self.epoch.id] = self.epoch

    def place(self, unix_ms: int) -> Moment:
        """Where in the history a time lies that somebody else measured, in whole ms."""
        for epoch in reversed(self.epochs):
            if not epoch.offset_ms or not epoch.is_dated:
                continue
            tick = (unix_ms - epoch.offset_ms) * TICKS_PER_MS
            if epoch.first_tick <= tick <= (self._last_tick if epoch is self.epoch else epoch.last_tick):
                return Moment(tick, epoch.id)
        tick = unix_ms * TICKS_PER_MS
        epoch = self.epoch
        own = not epoch.offset_ms and epoch.is_dated and epoch.first_tick <= tick
        return Moment(tick, epoch.id if own else BEFORE_EPOCH)

    def place_shown(self, shown_ms: int) -> Moment | None:
        """Where a time lies that was read off this machine's own clock while that was not set; None if it was not."""
        if self._shown_ms is None:
            return None
        then_ms = shown_ms - self._shown_ms
        ends_ms: int | None = None
        for epoch in reversed(self.epochs):
            if epoch.boot != self._boot:
                break
            tick = epoch.tick(then_ms)
            is_within = tick <= self._last_tick if ends_ms is None else then_ms <= ends_ms
            if epoch.clock != SYNCED and epoch.first_tick <= tick and is_within:
                return Moment(tick, epoch.id)
            ends_ms = epoch.monotonic_ms
        return None

    def _redate(self, now_ms: int, wall_ms: int, clock: str = REDATED) -> None:
        """Find what the ticks of this boot meant: its monotonic clock ran through all its epochs."""
        for epoch in self.epochs:
            if epoch.boot == self._boot and not epoch.is_dated:
                epoch.offset_ms = wall_ms - epoch.tick(now_ms) // TICKS_PER_MS
                epoch.clock = clock
                self.changed[epoch.id] = epoch

    def _open(self, now_ms: int, wall_ms: int, age_ms: int, clock: str) -> None:
        """Begin an epoch at a wall time, behind all that was."""
        first_tick = max(wall_ms * TICKS_PER_MS, self._last_tick + 1)
        first_tick += -first_tick % TICKS_PER_MS
        ahead_ms = first_tick // TICKS_PER_MS - wall_ms
        self._add(first_tick, now_ms, -ahead_ms if ahead_ms > RUNS_AHEAD_MS else 0, clock, age_ms)

    def _add(self, first_tick: int, now_ms: int, offset_ms: int, clock: str, age_ms: int) -> None:
        epoch_id = max((epoch.id for epoch in self.epochs), default=0) + 1
        epoch = Epoch(epoch_id, self._boot, first_tick, first_tick, now_ms, offset_ms, clock, age_ms)
        self.epochs.append(epoch)
        self.runs_from_ms = now_ms - 1.0
        self.changed[epoch_id] = epoch
        self._last_tick = max(self._last_tick, first_tick)


def _latest_ms(known_ms: int) -> int:
    """Give the last time that a clock is believed to show which nobody vouches for."""
    return max(known_ms, RELEASED_MS) + PLAUSIBLE_MS


def _whole_ms(now: float, at: float) -> tuple[int, int]:
    """Give a whole ms of the monotonic clock and the wall time that belongs to it, before which there is none."""
    now_ms = int(now * 1000)
    return now_ms, max(0, round(at * 1000 - (now * 1000 - now_ms)))
