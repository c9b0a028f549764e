"""Who publishes readings that come one to a message: the same of many messages, so it is worked out once."""

from typing import Final

from appliance.clock import UNSYNCED
from appliance.store.names import Names
from appliance.store.readings import Frame, frame_of
from appliance.store.templates import Parts

MAX_CACHED: Final = 1_024


class Source:
    """One of them, and where the last of its readings went."""

    __slots__ = ("agent", "epoch_id", "frame", "run_id", "stretch_id", "unsynced")

    def __init__(self, frame: Frame, run_id: int | None) -> None:
        self.frame = frame
        self.agent = None if frame.origin is None else frame.origin[0]
        self.run_id = run_id
        self.unsynced = frame.clock == UNSYNCED
        self.epoch_id = 0  # which `stretch_id` is of
        self.stretch_id = 0


class Sources:
    """Sources by what the property blocks of their messages share. Make a new one with new `names`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.nobody = Source(Frame(), None)  # of messages without properties
        self.known: dict[tuple[bytes, bytes, bytes], Source | None] = {}

    def find(self, properties: bytes, parts: Parts) -> Source | None:
        """Give who sends blocks of this frame; None where one cannot be taken for another."""
        if parts.frame in self.known:
            return self.known[parts.frame]
        frame = frame_of(properties, parts)
        source = None
        if frame is not None:
            source = Source(frame, None if frame.origin is None else self._names.run_id(frame.origin))
        if len(self.known) >= MAX_CACHED:
            self.known.clear()
        self.known[parts.frame] = source
        return source
