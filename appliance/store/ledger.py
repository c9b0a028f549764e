"""What the writer's thread writes with: the seam between when something is written and how."""

from typing import Protocol

from appliance.broker.image import Image
from appliance.store.group import Group


class Ledger(Protocol):
    """Everything that is written to one open database, by one thread; after an error it is closed and made anew."""

    last_stamp: tuple[int, int]
    """Run and number of the last group that is in: what a failed commit really left is read from here."""

    next_number: int
    """First number for messages that was never used; known once it is loaded."""

    next_key: int
    """First key for sessions and wills that was never used; known once it is loaded."""

    damaged: int
    """Records that were not as they were written when it was loaded; they are left out."""

    short_of_space: bool
    """Set from outside: the disk is nearly full, `step` shall make room before anything else."""

    def load(self, now: float) -> Image:
        """Give the state as the last group left it, `now` being monotonic; asked once, at the start."""

    def settle(self) -> None:
        """Move the whole log into the file and flush it: after a failure, only then is what was found durable.

        StoreError says that a reader keeps some of it there.
        """

    def write(self, group: Group) -> None:
        """Make the group durable: one transaction, one flush. sqlite3.Error says that nothing of it is."""

    def suspect(self, why: str) -> None:
        """Have the file salvaged when it is opened next."""

    def step(self) -> bool:
        """Do one small piece of what may wait (moving, rolling up, pruning, checkpoints), some milliseconds at most.

        Its own transaction. False when there is nothing to do; called only while no group waits.
        """

    def trim(self) -> bool:
        """Give up a small piece of the oldest history to make room in the file; False when there is enough or none."""

    def finish(self) -> None:
        """Bring everything into its tables, as far as a second allows, and note that the service stops in order."""

    def close(self) -> None:
        """Let go of the database; may be called twice."""
