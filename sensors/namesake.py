"""Whether another agent goes by our name, as that of a cloned card does. Pure.

Two clients with one id throw each other out, and not every broker says so. But an agent's retained health message names
its run: where another's stands in the place of ours, somebody has spoken in our name since.
"""

import msgspec

from appliance.encoding import from_json


class _Said(msgspec.Struct):
    run: str
    computer: str = ""


class Namesake:
    """What was said on our health topic, by us and by another."""

    def __init__(self) -> None:
        self._runs: set[str] = set()  # our own: a disk that fails begins another one
        self._is_there = False  # a message of ours is on the broker, or was
        self._other = b""

    def said(self, run: str) -> None:
        """Know that we send a message of this run."""
        self._runs.add(run)

    def arrived(self) -> None:
        """Know that the broker has it; what stood there before is no sign of anybody."""
        self._is_there = True

    def heard(self, payload: bytes) -> str | None:
        """Take the message that stands there; gives the computer of another agent that lives, None where there is none.

        The same message twice is of one that has gone since.
        """
        try:
            said = from_json(payload, _Said)
        except msgspec.DecodeError:
            return None
        if said.run in self._runs:
            self._is_there = True
            return None
        if not self._is_there or payload == self._other:
            return None
        self._other = payload
        return said.computer or "a computer that it does not name"
