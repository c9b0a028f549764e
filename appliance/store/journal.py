"""The loop's side of the store: collects what the core hands over into groups, and decides when a group closes.

Everything here runs on the event loop and costs next to nothing a message. A group closes when it is full; when its
window is over; and, while nothing is owed to the wear budget, at the end of the turn in which as many links wait for it
as the last commit let go, because then nobody else is coming. (Closing it at half as many, so that one half sends while
the other is written, was measured: no more messages a second, for twice the commits.) Until the group before it is
written it stays open unless it is full: it could not be written earlier. No timer runs while no group is open.

What waits is bounded in bytes. Beyond that nothing is promised any more, and what the core hands over all the same
(whose link is gone, which wills were told) is let go. Then the file is astray of the core, and before anything counts
as durable again, the core describes anew what it holds.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import Final, Protocol

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import AnyRecord, Opened, Replayed, Subscribed, Unsubscribed, WillKept
from appliance.broker.rights import Rights
from appliance.devices import Device, encode_about
from appliance.store.gaps import GapNote
from appliance.store.group import Group, count
from appliance.store.wear import WINDOW_S

RETAINED: Final = int(RouteFlag.RETAINED)
BUNDLE: Final = int(RouteFlag.BUNDLE)  # an IntFlag computes too slowly for every message
FULL_BYTES: Final = 65_536
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024  # of all that is not written yet
LAG_BYTES: Final = 1_048_576  # waiting, from which acknowledgements wait though they need not: the disk sets the pace
MESSAGE_BYTES: Final = 300  # what a message costs in memory beside its texts
RECORD_BYTES: Final = 200
WORDY: Final = frozenset((WillKept, Subscribed, Opened, Unsubscribed, Replayed))  # whose texts may be long
MOST_GAPS: Final = 100  # that are kept of an open group which finds no room


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Do not."""


class Loop(Protocol):
    """What is needed of an event loop."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call after what is going on now."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call after some time."""


class GroupJournal:
    """The journal of the broker's core."""

    def __init__(
        self,
        loop: Loop,
        submit: Callable[[Group], None],
        *,
        run: int,
        next_number: int,
        next_key: int,
        links_waiting: Callable[[], int],
        window_s: Callable[[float], float] = lambda _now: WINDOW_S,
        rights_of: Callable[[str], Rights],
        on_astray: Callable[[], None] = lambda: None,
        waits: bool = True,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        self._loop = loop
        self._submit = submit
        self._run = run
        self._next_number = next_number
        self._next_key = next_key
        self._links_waiting = links_waiting
        self._window_s = window_s
        self._rights_of = rights_of
        self._on_astray = on_astray
        self._waits = waits
        self._max_waiting_bytes = max_waiting_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self.refuses = False
        self.dropped = 0  # messages that found no room: of QoS 0, or nobody waits for them
        self.waiting_bytes = 0  # of groups handed over and not written
        self.group = 1 if waits else 0
        self._open = Group(1, run=run)
        self._opened_at: float | None = None
        self._handed_over: deque[tuple[int, int, float]] = deque()  # number, bytes and time of groups not written
        self._calm = True  # nobody looks at the open group before something comes
        self._brimming = 0  # number of the group that is full and about to close
        self._released = 0  # links that the last commit let go
        self._timer: Timer | None = None
        self._due = 0.0  # when the timer rings
        self._full = False  # more waits than may
        self._fails = False  # what waits cannot be written
        self._astray = False  # something was let go: what will be in the file is not what the core holds
        self._asked = False  # for a new description
        self._closed = False

    # --- what the core calls ---

    def append(self, message: Message, flags: int, now: float) -> None:
        """Take one message; of QoS 0 only while there is room."""
        if self._full and not message.qos:
            self.dropped += 1
            self._astray |= flags & RETAINED != 0
            return
        group = self._open
        asks = message.properties or flags & BUNDLE  # without properties it says of nobody to be its reading
        group.entries.append((message, flags, now, self._rights_of(message.client_id) if asks else None))
        group.size_bytes += len(message.payload) + len(message.properties) + len(message.topic) + MESSAGE_BYTES
        if self._calm or group.size_bytes >= FULL_BYTES:
            self._stir()

    def note(self, record: AnyRecord) -> None:
        """Take one change of a session."""
        group = self._open
        group.records.append(record)
        group.size_bytes += RECORD_BYTES
        if type(record) in WORDY:
            group.size_bytes += sum(len(part) for part in record if isinstance(part, (str, bytes)))
        if self._calm or group.size_bytes >= FULL_BYTES:
            self._stir()

    def take_number(self) -> int:
        """Give a number for a message that a `Queued` refers to."""
        number = self._next_number
        self._next_number = number + 1
        return number

    def take_key(self) -> int:
        """Give the key for the next session or will."""
        key = self._next_key
        self._next_key = key + 1
        return key

    def begin(self) -> None:
        """Hand over the first group, be it empty: with it ends what was open while the service was down."""
        if self._open.number == 1:
            self._hand_over()

    # --- what the features call ---

    def learn(self, device: Device) -> None:
        """Take the names and units that an agent gives its readings."""
        group = self._open
        group.devices.append(device)
        group.size_bytes += len(encode_about(device)) + MESSAGE_BYTES * (1 + len(device.sensors))
        if self._calm or group.size_bytes >= FULL_BYTES:
            self._stir()

    def miss(self, gap: GapNote) -> None:
        """Take what is to be put down of a gap."""
        group = self._open
        group.gaps.append(gap)
        group.size_bytes += RECORD_BYTES + len(gap.name) + len(gap.detail)
        if self._calm or group.size_bytes >= FULL_BYTES:
            self._stir()

    # --- what the writer's side calls ---

    def committed(self, number: int, released: int) -> None:
        """Take note that the groups up to this one are durable, and how many links their commit let go."""
        handed_over = self._handed_over
        while handed_over and handed_over[0][0] <= number:
            self.waiting_bytes -= handed_over.popleft()[1]
        self._released = released
        self._number(self._open.number)
        if self._full and self.waiting_bytes < self._max_waiting_bytes // 2:
            if self._astray:
                self._ask()
            else:
                self._full = False
        self.refuses = self._full or self._fails
        self._look()

    def failed(self) -> None:
        """Refuse until further notice: what was handed over cannot be written. It stays handed over."""
        self._fails = self.refuses = True

    def recovered(self) -> None:
        """Take again: writing works."""
        self._fails = False
        self.refuses = self._full

    def amend(self, describe: Callable[[], None]) -> int:
        """Hand over what is open with all that is described to it now, as one group; gives its number."""
        self._full = self._astray = self._asked = False
        describe()
        number = self._open.number
        self._hand_over()
        self.refuses = self._full or self._fails
        return number

    def oldest_s(self) -> float:
        """Give how long the oldest group that was handed over is waiting to be durable."""
        return self._clock() - self._handed_over[0][2] if self._handed_over else 0.0

    def close(self) -> None:
        """Hand over what is there, and from now on everything at once; may be called twice."""
        self._closed = True
        self._calm = True
        if self._astray:
            self._ask()
        if not self._is_empty():
            self._hand_over()

    # --- when a group closes ---

    def _stir(self) -> None:
        """Act on the first thing that comes, or on the last that fits.

        A group closes between two packets only: what belongs to one must not fall into two.
        """
        if self._closed:
            self._hand_over()
        elif self._open.size_bytes < FULL_BYTES:
            self._calm = False
            self._loop.call_soon(self._look)  # so that all that came with it is in
        elif self._brimming != self._open.number:
            self._brimming = self._open.number
            self._loop.call_soon(self._close_full)

    def _close_full(self) -> None:
        if self._open.size_bytes < FULL_BYTES:
            return
        if self._full and not self._closed:
            self._let_go()
        else:
            self._hand_over()

    def _let_go(self) -> None:
        """Empty the open group, which there is no room for: it holds nothing that was promised, since `refuses` is set.

        Of gaps the last words are kept: nobody says them again.
        """
        group = self._open
        self.dropped += len(group.entries)
        last = {gap[:3]: gap for gap in group.gaps}
        self._open = Group(group.number, run=self._run, gaps=list(last.values())[-MOST_GAPS:])
        self._brimming = 0
        self._astray = True

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._on_astray()

    def _look(self) -> None:
        """Close the group if it is time, else see that it is looked at again."""
        if self._handed_over or (self._astray and not self._closed):
            self._calm = False  # nobody needs to look before that is written, or described anew
            return
        self._calm = True
        if self._is_empty():
            return
        now = self._clock()
        if self._opened_at is None:
            self._opened_at = self._open.entries[0][2] if self._open.entries else now
        window_s = self._window_s(now)
        due = self._opened_at + window_s
        if now >= due:
            self._hand_over()
            return
        if window_s <= WINDOW_S:
            waiting = self._links_waiting()
            if waiting and waiting >= self._released:
                self._hand_over()
                return
        if self._timer is None or due < self._due:
            self._disarm()
            self._due = due
            self._timer = self._loop.call_later(due - now, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._look()

    def _hand_over(self) -> None:
        group = self._open
        number = group.number + 1
        self._open = Group(number, run=self._run)
        self._opened_at = None
        self._disarm()
        group.now = self._clock()
        group.at = self._wall_clock()
        self._handed_over.append((group.number, group.size_bytes, group.now))
        self.waiting_bytes += group.size_bytes
        if self.waiting_bytes > self._max_waiting_bytes:
            self._full = self.refuses = True
        self._number(number)
        self._calm = self._closed
        self._submit(group)

    def _number(self, number: int) -> None:
        """Say what an acknowledgement waits for: the open group, or nothing where the disk keeps up and none need."""
        self.group = number if self._waits or self.waiting_bytes > LAG_BYTES else 0

    def _is_empty(self) -> bool:
        return not count(self._open)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
