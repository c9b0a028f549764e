"""What the writer tells: what it found at the start, and what it has done since."""

from dataclasses import dataclass

from appliance.broker.image import Image


@dataclass(slots=True)
class WriterStats:
    """Plain counters, for any thread to read."""

    commits: int = 0
    groups: int = 0
    failures: int = 0  # what the disk refused: commits, steps, tries to open the file
    misfits: int = 0  # messages and records that could not be written through a fault of ours
    given_up: int = 0  # messages and records that were still unwritten at the end, because the disk failed


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the ledger held at the start."""

    image: Image
    next_number: int
    next_key: int
    is_all: bool = True  # False where the file could not be read, and the state is an empty one
