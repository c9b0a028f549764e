"""A DHT temperature and humidity sensor on a pin, read by adafruit_dht in a child process that can be killed."""

import ctypes
import errno
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple, Protocol

from sensors.driver import (
    CutShort,
    Disconnected,
    DriverUnavailable,
    Implausible,
    SensorError,
    TimedOut,
    WrongChecksum,
)
from sensors.hw import dht_child
from sensors.library import cure

Kind = Literal["DHT11", "DHT21", "DHT22"]
Method = Literal["auto", "pulseio", "bitbang"]

START_TIMEOUT_S = 20.0  # a Pi Zero imports for ten
MEASURE_TIMEOUT_S = dht_child.SPACING_S + 3.0
END_TIMEOUT_S = 0.5
FRESH_AFTER = 6  # failures in a row: after hours the library's helper may hear no pulses any more, and spin
IPC_RMID = 0


class OutOfSheet(Implausible):
    """A frame that came whole and says what the model cannot measure."""

    cause = "range"


NOT_FOUND = "DHT sensor not found"
NO_GPIOD = "The platform library"
FAILURES: tuple[tuple[str, type[SensorError], str], ...] = (  # beginning of the library's words → what they mean
    (NOT_FOUND, Disconnected, "no answer on {pin}: check power, wiring and pin number"),
    (
        "A full buffer was not returned",
        CutShort,
        "the answer on {pin} stopped after {pulses} of 81 pulses: a pull-up (4.7 to 10 kΩ) or a shorter cable helps",
    ),
    ("Checksum did not validate", WrongChecksum, "the answer on {pin} is damaged: its checksum is wrong ({frame})"),
    ("Received unplausible data", OutOfSheet, "humidity above 100 % on {pin} ({frame}); is the model right?"),
    (
        "Timed out waiting for PulseIn message",
        DriverUnavailable,
        'Blinka\'s helper for {pin} does not start; is the pin free, and libgpiod there? Or set pulses = "bitbang"',
    ),
    (
        "Message queue creation failed",
        DriverUnavailable,
        'Blinka\'s helper for {pin} gets no message queue; set pulses = "bitbang"',
    ),
    (NO_GPIOD, DriverUnavailable, "the library gpiod is missing; {cure}"),
)


class Measurement(NamedTuple):
    """What one frame said: °C, relative humidity in percent, and the frame as it came."""

    temperature: float
    humidity: float
    raw: str = ""


class DhtSensor(Protocol):
    """One sensor."""

    def measure(self) -> Measurement:
        """Give what the sensor measures now, after the pause that it needs. Blocks for seconds. Raises SensorError."""

    def close(self) -> None:
        """Let go of the pin; ends a measurement under way. May be called twice and from any thread."""


class DhtProcess:
    """The real one: a child process, started again after it hung or died."""

    def __init__(
        self,
        kind: Kind,
        pin: int,
        method: Method = "auto",
        *,
        program: Sequence[str] = (sys.executable, "-P", str(Path(dht_child.__file__))),
        start_timeout_s: float = START_TIMEOUT_S,
        measure_timeout_s: float = MEASURE_TIMEOUT_S,
    ) -> None:
        self._kind = kind
        self._pin = f"GPIO{pin}"
        self._argv = [*program, kind, str(pin), method]
        self._start_timeout_s = start_timeout_s
        self._measure_timeout_s = measure_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._queues: list[int] = []  # the library's message queues: they outlast a child that was killed
        self._asked = False  # this child
        self._failures = 0  # in a row
        self._measured_at = -math.inf  # at the latest, by a child that has ended
        self._closed = False
        self._busy = Lock()  # held for a whole measurement: only its holder touches the pipes
        self._state = Lock()  # held for moments: which child, and whether closed

    def start(self) -> None:
        """Start the child and wait until it holds the pin. Raises SensorError."""
        with self._busy:
            self._ensure_started()

    def measure(self) -> Measurement:
        """See DhtSensor."""
        with self._busy:
            child = self._ensure_started()
            self._asked = True
            assert child.stdin is not None  # noqa: S101 for the type: Popen was given a pipe
            try:
                child.stdin.write(b"\n")
                child.stdin.flush()
            except OSError as error:
                raise self._ended(child) from error
            answer = self._answer(child, self._measure_timeout_s)
            if "error" in answer:
                self._failed(child)
                raise explain(answer, self._pin)
            self._failures = 0
            temperature = signed(self._kind, bytes.fromhex(answer["frame"]), float(answer["temperature"]))
            return Measurement(temperature, float(answer["humidity"]), answer["frame"])

    def close(self) -> None:
        """See DhtSensor."""
        with self._state:
            self._closed = True
            child = self._child
        if child is None:
            return
        if self._busy.acquire(timeout=0.05):
            self._busy.release()
        else:  # the measuring thread hears the pipe end, and leaves
            _kill(child)
        with self._busy:
            self._drop(child)

    def _ensure_started(self) -> subprocess.Popen[bytes]:
        with self._state:
            if self._closed:
                raise SensorError(f"the sensor on {self._pin} is closed")
            if self._child is not None:
                return self._child
            child = subprocess.Popen(  # noqa: S603 our own file, and arguments from two enums and an integer
                [*self._argv, str(self._measured_at)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the agent; and the library's helper dies with the group
            )
            self._child, self._pending, self._asked = child, b"", False
        answer = self._answer(child, self._start_timeout_s)
        if "error" in answer:
            self._drop(child)
            raise explain(answer, self._pin)
        self._queues = answer.get("queues", [])
        return child

    def _answer(self, child: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
        """Wait for one line of the child; a child that says nothing in time or ends is dropped."""
        assert child.stdout is not None  # noqa: S101 for the type: Popen was given a pipe
        deadline = time.monotonic() + timeout_s
        poller = select.poll()
        poller.register(child.stdout, select.POLLIN)
        while b"\n" not in self._pending:
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                with suppress(ProcessLookupError):
                    child.terminate()  # first the library's own handler: it removes its message queue
                self._drop(child)
                raise TimedOut(
                    f"the measurement on {self._pin} hung for {timeout_s:g} s and was ended; it is tried again"
                )
            if not (data := os.read(child.stdout.fileno(), 4096)):
                raise self._ended(child)
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:  # the answer may follow it, and be taken for that to the next question
            self._drop(child)
            raise SensorError(
                f"the process that measures on {self._pin} said {line[:40]!r}; it is started again"
            ) from error
        return answer

    def _failed(self, child: subprocess.Popen[bytes]) -> None:
        """Let the next measurement have a fresh helper where this one may be the reason."""
        self._failures += 1
        if self._queues and self._failures >= FRESH_AFTER:
            self._failures = 0
            self._drop(child)

    def _ended(self, child: subprocess.Popen[bytes]) -> SensorError:
        self._drop(child)
        if self._closed:
            return SensorError(f"the sensor on {self._pin} is closed")
        return SensorError(
            f"the process that measures on {self._pin} ended ({_how(child.returncode)}); it is started again"
        )

    def _drop(self, child: subprocess.Popen[bytes]) -> None:
        """End the child, in order if it can, and forget it. Called by the holder of `_busy`; may be called twice."""
        with self._state:
            if self._child is child:
                self._child = None
        if self._asked:
            self._measured_at = time.monotonic()  # or before: it may have been waiting, or measuring
        if child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()  # asks it to end
        if child.returncode is None:
            _wait_for_end(child, END_TIMEOUT_S)
            _kill(child)  # and a helper of the library that was left behind: it would hold the pin
            child.wait()
            if child.returncode != 0:
                _remove_queues(self._queues)
        if child.stdout is not None:
            child.stdout.close()


class FakeDht:
    """Gives the answers it was made with, one after the other; an exception among them is raised."""

    def __init__(self, answers: Sequence[tuple[float, float] | SensorError]) -> None:
        self._answers = iter(answers)
        self.closed = False

    def measure(self) -> Measurement:
        """See DhtSensor."""
        answer = next(self._answers)
        if isinstance(answer, SensorError):
            raise answer
        return Measurement(*answer)

    def close(self) -> None:
        """See DhtSensor."""
        self.closed = True


def signed(kind: Kind, frame: bytes, temperature: float) -> float:
    """Give °C with the sign that the library misses: it reads the -5 of a DHT11 as +5.

    A DHT11 that measures frost says so in the highest bit of the tenths.
    """
    if kind != "DHT11":
        return temperature
    if len(frame) < 4:
        raise DriverUnavailable(
            "this release of adafruit_dht shows no frames, and takes the frost of a DHT11 for warmth"
        )
    return -temperature if frame[3] & 0x80 else temperature


def explain(answer: dict[str, Any], pin: str) -> SensorError:
    """Tell in our terms what the library raised in the child."""
    text = " ".join(str(answer["text"]).split())
    pulses, frame = answer.get("pulses"), answer.get("frame")
    if pulses and text.startswith(NOT_FOUND):  # the library says so of fewer than ten pulses
        text = "A full buffer was not returned"
    for beginning, kind, words in FAILURES:
        if text.startswith(beginning):
            failure = kind(words.format(pin=pin, pulses=pulses, frame=frame, cure=cure("gpiod")))
            failure.raw = frame or ""
            return failure
    match answer:
        case {"error": "ImportError" | "ModuleNotFoundError"}:
            found = re.search(r"No module named '([\w.]+)'", text)
            library = found[1] if found else "adafruit_dht"
            return DriverUnavailable(f"a library for DHT sensors is missing ({text}); {cure(library)}")
        case {"error": "LookupError" | "NotImplementedError"}:
            return DriverUnavailable(
                f"Blinka knows no {pin} on this computer ({text}); a DHT sensor needs a Raspberry Pi's pins"
            )
        case {"errno": errno.EBUSY}:
            return DriverUnavailable(f"{pin} is held by another program or by an overlay; `gpioinfo` tells by which")
        case {"errno": errno.EACCES | errno.EPERM}:
            return DriverUnavailable(
                f"not allowed to open {pin}; add the agent's user to the group that owns it (gpio)"
            )
        case {"errno": errno.ENOENT}:
            return DriverUnavailable(f"this computer has no GPIO chip for {pin} ({text})")
        case _:
            return SensorError(f"the library could not measure on {pin}: {answer['error']}: {text}")


def _wait_for_end(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait, and leave the dead one in the process table: while it is there, no other group can have its number."""
    deadline = time.monotonic() + timeout_s
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return
        time.sleep(0.01)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the whole group of a child that was not waited for yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _remove_queues(queues: Sequence[int]) -> None:
    """Remove System V message queues of a child that could not do so itself; those that are gone are no matter."""
    if queues:
        libc = ctypes.CDLL(None)
        for queue in queues:
            libc.msgctl(queue, IPC_RMID, None)


def _how(returncode: int) -> str:
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
