"""One reading on its way to the broker, with all that it came with. Pure."""

from dataclasses import dataclass

OVERHEAD_BYTES = 96  # what a row costs beside its text, on disk and as JSON


@dataclass(frozen=True, slots=True)
class Entry:
    """A reading and its number. `time` is RFC 3339; `value` the payload as it travels."""

    seq: int
    run: str
    topic: str
    value: str
    time: str
    quality: str
    clock: str

    @property
    def size(self) -> int:
        """Bytes that the entry counts for."""
        texts = (self.topic, self.value, self.time, self.quality, self.clock)
        return OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)
