"""The history as it is written: each reading gets its place once, and staged rows are moved to where they are read."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.broker.message import Message
from appliance.broker.origin import may_speak_for
from appliance.broker.ports import RouteFlag
from appliance.broker.rights import ALL_RIGHTS, Rights
from appliance.clock import UNSYNCED
from appliance.devices import Device
from appliance.store.epochs import save_epochs
from appliance.store.group import Entry, Group
from appliance.store.hubclock import HubClock, Moment
from appliance.store.names import Names
from appliance.store.reading_rows import TICKS_PER_MS, Stored, prepare
from appliance.store.readings import (
    BINARY,
    LAST_AT,
    MAX_SEQ,
    MAX_TEXT_CHARS,
    Measured,
    Value,
    is_backlog,
    plain,
    readings_of,
    stored_value,
)
from appliance.store.readings_move import ReadingsMove
from appliance.store.received import Received
from appliance.store.retaining import DELETED, PASSES, REPLACED, Retaining
from appliance.store.sources import Sources
from appliance.store.spelling import ON_OFF, PLAIN, spellings
from appliance.store.templates import apart

RETAINED: Final = int(RouteFlag.RETAINED)  # an IntFlag computes too slowly for every message
BUNDLE: Final = int(RouteFlag.BUNDLE)
EARLIEST_MS: Final = -300_000  # of the time an agent gives a live reading, against its arrival
LATEST_MS: Final = 60_000
MAX_LATE_MS: Final = 2**45  # fits a row's column beside its checksum


class Placed(NamedTuple):
    """One reading as a row; `value` as it is stored. received = measured + late_ms."""

    series_id: int
    tick: int
    value: Stored
    seq: int | None
    late_ms: int
    stretch_id: int


@dataclass(slots=True)
class Tally:
    """What became of readings that were handed in."""

    rows: int = 0
    duplicates: int = 0
    refused: int = 0  # of series beyond the cap
    forbidden: int = 0  # of topics that their publisher may not publish to
    disowned: int = 0  # that named an agent which is not their publisher


class History:
    """Places readings and moves staged rows. Call it inside a transaction; make a new one when a transaction failed.

    `clock` has begun. `on_moved(series_id, first_tick, last_tick)` is told what a step brought over, inside its
    transaction.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: HubClock,
        *,
        site: str,
        max_series: int,
        on_moved: Callable[[int, int, int], None] = lambda _series_id, _first_tick, _last_tick: None,
    ) -> None:
        prepare(connection)
        self.tally = Tally()
        self._connection = connection
        self._ask = connection.execute
        self._clock = clock
        self._site = site
        self._looked = (-1.0, 0.0)  # monotonic and wall time that the clock was last looked at with
        self._now, self._tick, self._arrived_ms, self._epoch_id = -1.0, 0, 0, 0  # of the last message
        self._received = Received(connection)
        self.names = Names(connection, max_series)
        self._series = self.names.series
        self._sources = Sources(self.names)
        self._known_sources = self._sources.known
        self._retaining = Retaining(connection, self._next_tick)
        self._mode_of = self._retaining.modes.get
        clock.passed(self._retaining.last_tick)
        self._floor = self._retaining.last_tick  # before which nothing comes any more
        self._floor_epoch_id = 0  # where it was set since
        self._top = max(clock.known_tick, self._floor)  # of all arrivals, beside that of the last message
        self._last_ticks: dict[int, int] = dict(
            self._ask(
                "SELECT id, tick FROM (SELECT id, (SELECT max(tick) FROM readings WHERE series_id = series.id) AS tick"
                " FROM series) WHERE tick IS NOT NULL"
            )
        )
        self._staged: dict[int, set[int]] = {}  # series -> ticks that are taken by staged rows
        self._crowds: dict[int, tuple[int, int]] = {}  # series -> ticks that are all taken, from first to last
        self._note_staged(after_id=0)
        self._move = ReadingsMove(connection, on_moved)

    def look(self, now: float, at: float) -> bool:
        """See whether the hub's clock was set or stepped, and write what that means; True if it was."""
        self._looked = (now, at)
        self._now = -1.0
        changed = self._clock.look(now, at)
        if self._clock.changed:
            save_epochs(self._connection, self._clock)
        return changed

    def learn(self, device: Device) -> Tally:
        """Keep the names and units an agent gives its readings."""
        tally = Tally(refused=self.names.learn(device))
        self.tally.refused += tally.refused
        return tally

    def settle(self, now: float, retained: Callable[[], Mapping[str, Message]]) -> None:
        """Know of what was not known how it is retained, before anything of a start that something came to at `now`.

        `retained` gives all retained messages by topic; it is asked only where something is not known.
        """
        unknown = self._retaining.unknown()
        if not unknown:
            return
        from appliance.store.unsettled import find_out  # noqa: PLC0415 once in the life of most files

        self._tick, self._epoch_id = self._clock.moment(now)
        self._now = -1.0
        tick = self._next_tick()
        topics = {series_id: topic for topic, (series_id, _) in self._series.items() if series_id in unknown}
        self._retaining.settle(find_out(self._connection, topics, retained(), tick, now, self._site), tick)

    def place(self, entry: Entry, group: Group) -> list[Placed]:
        """Give the readings of a message their places, for the caller to stage; none of what is already here."""
        if (group.now, group.at) != self._looked:
            self.look(group.now, group.at)
        message, flags, now, rights = entry
        if now != self._now:
            self._now = now
            clock = self._clock
            epoch = clock.epoch
            if now * 1000 > clock.runs_from_ms:
                self._tick = max(clock.tick(now), self._floor)
            else:  # what waited for the disk keeps the time of its arrival
                self._tick, epoch_id = clock.moment(now)
                if self._tick < self._floor:
                    self._tick, epoch_id = self._floor, max(epoch_id, self._floor_epoch_id)
                epoch = next(one for one in clock.epochs if one.id == epoch_id)
            self._arrived_ms = epoch.unix_ms(self._tick)
            self._epoch_id = epoch.id
        if not flags & BUNDLE:
            placed = self._place_one(message, flags, None if rights is None else rights.agent)
            if placed is not None:
                return placed
        return self._place_all(message, flags & RETAINED, ALL_RIGHTS if rights is None else rights)

    def _place_one(self, message: Message, flags: int, agent: str | None) -> list[Placed] | None:
        """Place the reading of the usual message: a plain value of a series that is known. None of any other message.

        `agent` is whose it may say to be, None for anybody's. What `_place_all` does, for most of all messages, in a
        third of the time.
        """
        series = self._series.get(message.topic)
        if series is None or len(message.payload) > MAX_TEXT_CHARS or message.expires_at is not None:
            return None
        value = plain(message.payload)
        if value is None or value[0] != series[1]:
            return None
        late_ms = 0
        seq: int | None = None
        if not message.properties:
            source = self._sources.nobody
        else:
            parts = apart(message.properties)
            if parts is None or not 0 <= parts.time_ms <= LAST_AT * 1000 or parts.seq > MAX_SEQ:
                return None
            known = self._known_sources.get(parts.frame) or self._sources.find(message.properties, parts)
            if known is None:
                return None
            source = known
            if source.run_id is not None:
                if agent is not None and agent != source.agent:
                    return None
                seq = parts.seq
                if not self._received.add(source.run_id, seq):
                    self.tally.duplicates += 1
                    return []
            late_ms = self._arrived_ms - parts.time_ms
            if source.unsynced or not EARLIEST_MS <= -late_ms <= LATEST_MS or not self._clock.is_trusted:
                late_ms = 0
        series_id = series[0]
        retained = flags & RETAINED
        if not (value[2] if retained else PASSES) & self._mode_of(series_id, PASSES):
            self._keep(series_id, value[2], message, retained)
            if retained:
                self._end(message, {series_id})
        tick = self._tick - late_ms * TICKS_PER_MS
        epoch_id = self._epoch_id
        if source.epoch_id != epoch_id:
            source.stretch_id = self.names.stretch_id(epoch_id, source.run_id, source.frame)
            source.epoch_id = epoch_id
        if tick > self._last_ticks.get(series_id, -1):
            self._last_ticks[series_id] = tick
            self._staged.setdefault(series_id, set()).add(tick)
        else:
            if retained and self._is_overtaken(series_id, tick, late_ms):
                tick = self._next_tick() - late_ms * TICKS_PER_MS
            tick = self._free_tick(series_id, tick)
            self._top = max(self._top, tick + late_ms * TICKS_PER_MS)
        self._clock.passed(tick + late_ms * TICKS_PER_MS)
        self.tally.rows += 1
        return [Placed(series_id, tick, value[1], seq, late_ms, source.stretch_id)]

    def _place_all(self, message: Message, retained: int, rights: Rights) -> list[Placed]:
        """Place all readings of any message."""
        may_publish = rights.may_publish
        backlog = is_backlog(message.topic, self._site)
        placed: list[Placed] = []
        is_again = False
        for one in readings_of(
            message.topic, message.payload, message.properties, at=self._arrived_ms / 1000, site=self._site
        ):
            is_forbidden = backlog and not all(may_publish(value.topic) for value in one.values)
            if one.origin is not None and not backlog and not may_speak_for(one.origin.agent, rights, self._site):
                self.tally.disowned += len(one.values)
                one = one._replace(origin=None)  # noqa: PLW2901 the value is its own, and nobody else's number is taken
            run_id = None if one.origin is None else self.names.run_id(one.origin[:2])
            if one.origin is not None and run_id is not None and not self._received.add(run_id, one.origin.seq):
                self.tally.duplicates += len(one.values)
                is_again = True
                continue
            if is_forbidden:
                self.tally.forbidden += 1
                if run_id is not None:
                    self._received.save_run(run_id)
                continue
            found: list[tuple[int, Value]] = []
            for value in one.values:
                series_id = self.names.series_id(value.topic, value.kind)
                if series_id is None:
                    self.tally.refused += 1
                    continue
                found.append((series_id, value))
                if not backlog:
                    self._keep(series_id, spellings_of(message, value), message, retained, value.topic)
            if run_id is not None and not found:
                self._received.save_run(run_id)
            moment, late_ms = self._moment(one, backlog=backlog)
            if retained and not backlog and any(self._is_overtaken(at[0], moment.tick, late_ms) for at in found):
                self._next_tick()
                moment, late_ms = self._moment(one, backlog=backlog)
            stretch_id = self.names.stretch_id(moment.epoch_id, run_id, one, bundled=backlog)
            seq = None if one.origin is None else one.origin.seq
            for series_id, value in found:
                tick = self._free_tick(series_id, moment.tick)
                if not backlog:
                    self._top = max(self._top, tick + late_ms * TICKS_PER_MS)
                    self._clock.passed(tick + late_ms * TICKS_PER_MS)
                placed.append(Placed(series_id, tick, stored_value(value), seq, late_ms, stretch_id))
        if retained and not backlog and not is_again:
            self._end(message, {one.series_id for one in placed})
        self.tally.rows += len(placed)
        return placed

    def _keep(self, series_id: int, spellings: int, message: Message, retained: int, topic: str | None = None) -> None:
        """Note whether a reading is retained, before it is given its place; `topic` is that of its series."""
        if not retained:
            self._retaining.let_pass(series_id)
            return
        expires_at = message.expires_at
        expiry_s = None if expires_at is None else round(expires_at - self._now)
        self._retaining.retain(
            series_id, spellings, expiry_s, None if topic in (None, message.topic) else message.topic
        )

    def _end(self, message: Message, placed: set[int]) -> None:
        """Note what a topic does not hold any more, now that a retained message brought these series a reading."""
        series = self._series.get(message.topic)
        state = REPLACED if message.payload and not placed else DELETED
        self._retaining.end(message.topic, None if series is None else series[0], state, placed)

    def _next_tick(self) -> int:
        """Give a tick behind everything that has arrived; what is placed from here on arrives then at the earliest.

        The clock may be far ahead of that: of what waited for the disk, and of what still does.
        """
        tick = self._tick = self._floor = max(self._tick, self._top) + 1
        self._floor_epoch_id = self._epoch_id
        self._clock.passed(tick)
        return tick

    @property
    def cut_id(self) -> int:
        """Up to which staged rows are moved, with the move that is begun."""
        return self._move.cut_id

    def move(self, cut_id: int) -> bool:
        """Take one step of bringing staged rows up to that id to where they are read; False when all are there.

        Then, and only then, the rows up to `cut_id` (the attribute: a move that was begun is finished first) may be
        deleted, with `deleted` in the transaction of the last; the next move begins after that.
        """
        if not self._move.is_due(cut_id):
            return False
        if self._move.step():
            return True
        self._received.save()
        self._clock.close()
        save_epochs(self._connection, self._clock)
        self._staged.clear()
        self._note_staged(after_id=self.cut_id)
        return False

    def deleted(self) -> None:
        """Know that all rows up to `cut_id` are gone, so that their ids may be used again."""
        self._move.forget()

    def _moment(self, one: Measured, *, backlog: bool) -> tuple[Moment, int]:
        """Where a reading belongs, and how many ms later it arrived."""
        clock = self._clock
        arrived = Moment(self._tick, self._epoch_id)
        measured_ms = round(one.at * 1000)
        late_ms = self._arrived_ms - measured_ms
        if not late_ms:
            return arrived, 0
        doubtful = one.clock == UNSYNCED
        if not backlog:
            if doubtful or not clock.is_trusted or not EARLIEST_MS <= -late_ms <= LATEST_MS:
                return arrived, 0
            return Moment(arrived.tick - late_ms * TICKS_PER_MS, arrived.epoch_id), late_ms
        if doubtful and (shown := clock.place_shown(measured_ms)) is not None:
            return shown, max(0, self._arrived_ms - clock.unix_ms_of(shown))
        # Whoever claims to come from the future is not believed where the hub knows better.
        if late_ms < -LATEST_MS and (clock.is_trusted or doubtful):
            return arrived, 0
        return clock.place(measured_ms), max(-MAX_LATE_MS, min(late_ms, MAX_LATE_MS))

    def _is_overtaken(self, series_id: int, tick: int, late_ms: int) -> bool:
        """Whether something was measured later that came before: only the tick of arrival tells which came last."""
        last = self._last_ticks.get(series_id, -1)
        return tick <= last and (late_ms != 0 or last > self._clock.last_tick)

    def _free_tick(self, series_id: int, tick: int) -> int:
        """Give the first tick from there on that no reading of the series has, and take it."""
        staged = self._staged.setdefault(series_id, set())
        last = self._last_ticks.get(series_id, -1)
        first = tick
        start, end = self._crowds.get(series_id, (0, -1))
        if start <= tick <= end:  # somebody's clock stands still: do not try all its readings again
            first, tick = start, end + 1
        while tick <= last and (tick in staged or self._is_moved(series_id, tick)):
            tick += 1
        if tick > first:
            self._crowds[series_id] = (first, tick)
        staged.add(tick)
        if tick > last:
            self._last_ticks[series_id] = tick
        return tick

    def _is_moved(self, series_id: int, tick: int) -> bool:
        found = self._ask("SELECT 1 FROM readings WHERE series_id = ? AND tick = ?", (series_id, tick))
        return found.fetchone() is not None

    def _note_staged(self, *, after_id: int) -> None:
        """Know the ticks of staged rows beyond an id."""
        for series_id, tick in self._ask(
            "SELECT series_id, tick FROM journal WHERE id > ? AND series_id IS NOT NULL", (after_id,)
        ):
            self._staged.setdefault(series_id, set()).add(tick)
            if tick > self._last_ticks.get(series_id, -1):
                self._last_ticks[series_id] = tick


def spellings_of(message: Message, value: Value) -> int:
    """Give how a value is written; that of a message of several is shown as if it stood alone."""
    if value.topic != message.topic:
        return ON_OFF if value.kind == BINARY else PLAIN
    return spellings(message.payload, stored_value(value), is_word=value.kind == BINARY)
