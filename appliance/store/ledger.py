"""What the writer's thread writes with: the seam between when something is written and how."""

from typing import Protocol

from appliance.store.group import Group


class Ledger(Protocol):
    """Everything that is written to one open database, by one thread; after an error it is closed and made anew."""

    def write(self, group: Group) -> None:
        """Make the group durable: one transaction, one flush. sqlite3.Error says that nothing of it is."""

    def step(self) -> bool:
        """Do one small piece of what may wait (moving, rolling up, pruning, checkpoints), some milliseconds at most.

        Its own transaction. False when there is nothing to do; called only while no group waits.
        """

    def close(self) -> None:
        """Let go of the database; may be called twice."""
