"""What sensors must know again after a restart: a meter's total, the last state of a relay.

One small JSON file, replaced as a whole, so that it is never half written. Drivers put from any thread; one thread, the
agent's, writes: what may wait at most once a minute (a card wears out), what may not at the next turn.
"""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from appliance.encoding import from_json, to_json

WRITE_EVERY_S = 60.0
RETRY_S = 10.0  # after the disk refused

Value = float | int | bool | str


class Keepsakes:
    """Values by sensor and name; without a path they last as long as the process.

    `problem` is a line about the file: that it cannot be written now, or could not be read at the start. The second
    stays for the run: totals that begin anew stay wrong when the file is written again.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; one that is missing holds nothing.

        Nor does one that cannot be read, which the first write keeps aside as `<path>.damaged`.
        """
        self._path = path
        self._lock = Lock()
        self._values: dict[str, dict[str, Value]] = {}
        self._changed = self._urgent = False
        self._write_at = 0.0
        self._is_unread = False  # what is in the file, which a person may still read
        self._not_read_why = self._not_written_why = ""
        if path is not None:
            self._read(path)

    @property
    def problem(self) -> str:
        """What is wrong; empty while all is well."""
        return self._not_written_why or self._not_read_why

    def get(self, sensor: str, name: str) -> Value | None:
        """Give what was put last; None where nothing was."""
        with self._lock:
            return self._values.get(sensor, {}).get(name)

    def put(self, sensor: str, name: str, value: Value, *, urgent: bool = False) -> None:
        """Keep a value; `urgent`: written at the next turn and not within a minute."""
        with self._lock:
            values = self._values.setdefault(sensor, {})
            if name in values and values[name] == value and type(values[name]) is type(value):
                return
            values[name] = value
            self._changed = True
            self._urgent |= urgent

    def next_deadline(self) -> float | None:
        """When `tick` has something to write, in monotonic seconds; None while nothing changed."""
        with self._lock:
            if not self._changed or self._path is None:
                return None
            return 0.0 if self._urgent and not self._not_written_why else self._write_at

    def tick(self, now: float) -> None:
        """Write what is due."""
        due = self.next_deadline()
        if due is not None and now >= due:
            self.write(now)

    def write(self, now: float) -> None:
        """Write what changed; a disk that refuses is told in `problem` and tried again later."""
        with self._lock:
            if not self._changed or self._path is None:
                return
            content = to_json(self._values)
            self._changed = self._urgent = False
        try:
            if self._is_unread:
                with suppress(FileNotFoundError):
                    self._path.replace(_aside(self._path))
                self._is_unread = False
            _replace(self._path, content)
        except OSError as error:
            why = f"{self._path} cannot be written ({error.strerror}); totals and states would be lost"
            self._not_written_why = why
            self._write_at = now + RETRY_S
            with self._lock:
                self._changed = True
        else:
            self._not_written_why = ""
            self._write_at = now + WRITE_EVERY_S

    def _read(self, path: Path) -> None:
        try:
            self._values = from_json(path.read_bytes(), dict[str, dict[str, Value]])
        except FileNotFoundError:
            pass
        except OSError as error:
            self._not_read(path, f"cannot be read ({error.strerror})")
        except msgspec.DecodeError:
            self._not_read(path, "is damaged")

    def _not_read(self, path: Path, why: str) -> None:
        self._is_unread = True
        self._not_read_why = f"{path} {why}; totals begin at nothing, it is kept aside as {_aside(path).name}"


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def _replace(path: Path, content: bytes) -> None:
    """Put content in the place of a file, whole or not at all, also when the power goes."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
