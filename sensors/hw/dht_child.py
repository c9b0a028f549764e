"""The program that holds a DHT sensor's pin: one byte in, one measurement, one line of JSON out.

It is a process of its own because the library's waits have no limit, because its PulseIn replaces the SIGTERM handler
at import, and because Blinka prints on stdout. It ends when its stdin does, even out of a measurement that hangs.
Run by sensors.hw.dht as a file, so it imports nothing of ours.

Arguments: class of adafruit_dht, GPIO number, how to time the pulses: auto, pulseio or bitbang, and, where a process
before this one may have measured, when at the latest, in seconds of the monotonic clock.
Answers: {"queues": ids of the library's message queues} when ready; {"temperature": °C, "humidity": %};
{"error": class, "errno": number or null, "text": words}. With the last two, as far as it came: the number of "pulses",
and the "frame" in hexadecimal.
"""

import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol

SPACING_S = 2.1  # the sensor needs 2 s, and sooner the library would repeat the old value without measuring
FRAME_PULSES = 81  # 40 bits of a low and a high one, and the last low
PULSEIN = "pulseio.PulseIn"
GRACE_S = 1.0  # for an orderly end: the library removes its message queue and its helper process


class Seen:
    """What the library saw of the last answer, and does not tell."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be ready for the next answer."""
        self.pulses: int | None = None
        self.frame = b""

    def listen_in(self, device: Any) -> None:
        """Note what passes between the steps of adafruit_dht: pulses, then byte after byte."""
        for name in ("_get_pulses_bitbang", "_get_pulses_pulseio"):
            setattr(device, name, self._noting_pulses(getattr(device, name)))
        device._pulses_to_binary = self._noting_bytes(device._pulses_to_binary)  # noqa: SLF001 nowhere else is a frame

    def _noting_pulses(self, get: Callable[[], Any]) -> Callable[[], Any]:
        def noting() -> Any:
            pulses = get()
            self.pulses, self.frame = len(pulses), b""
            # The library waits for the three more bytes of a DHT21. Of one that sends none it would take the sensor's
            # greeting, two pulses before the frame, for a bit.
            return pulses[-FRAME_PULSES:] if FRAME_PULSES < len(pulses) <= FRAME_PULSES + 4 else pulses

        return noting

    def _noting_bytes(self, decode: Callable[[Any, int, int], int]) -> Callable[[Any, int, int], int]:
        def noting(pulses: Any, start: int, stop: int) -> int:
            byte = decode(pulses, start, stop)
            self.frame += bytes([byte])
            return byte

        return noting

    def answer(self) -> dict[str, object]:
        """Give it as a part of an answer."""
        return {"pulses": self.pulses, "frame": self.frame.hex(" ")}


class Device(Protocol):
    """What this program uses of adafruit_dht's classes."""

    seen: Seen
    temperature: float | None
    humidity: float | None

    def measure(self) -> None:
        """Ask the sensor; RuntimeError says what was wrong with the answer."""

    def exit(self) -> None:
        """Let go of the pin."""


def open_device(kind: str, pin: int, method: str) -> Device:
    """Import the library and take the pin; whatever it raises is for the parent to explain."""
    os.environ["BLINKA_SKIP_DEPENDENCY_CHECK"] = "1"  # it would ask at the terminal whether to install something
    import adafruit_dht  # noqa: PLC0415 only this process may import it
    import board  # noqa: PLC0415

    device_class: Any = getattr(adafruit_dht, kind)
    if not hasattr(board, f"D{pin}"):
        raise LookupError(f"no pin D{pin} on board {getattr(board, 'board_id', 'unknown')}")
    options = {} if method == "auto" else {"use_pulseio": method == "pulseio"}
    device: Device = device_class(getattr(board, f"D{pin}"), **options)
    device.seen = Seen()
    device.seen.listen_in(device)
    return device


def failure(error: Exception) -> dict[str, object]:
    """Give an exception as an answer."""
    return {"error": type(error).__name__, "errno": getattr(error, "errno", None), "text": str(error)}


def measure(device: Device) -> dict[str, object]:
    """Ask once. The values are looked at only after a measurement that did not raise: else they are the old ones."""
    device.seen.forget()
    try:
        device.measure()
        answer: dict[str, object] = {"temperature": device.temperature, "humidity": device.humidity}
    except Exception as error:  # noqa: BLE001 the parent judges it
        answer = failure(error)
    return answer | device.seen.answer()


def serve(
    requests: Iterable[str],
    answer: Callable[[dict[str, object]], None],
    open_it: Callable[[], Device],
    *,
    measured_at: float = -math.inf,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Answer requests until they end, never measuring within SPACING_S of the last time, or of `measured_at`."""
    try:
        device = open_it()
    except Exception as error:  # noqa: BLE001 the parent judges it
        answer(failure(error))
        return
    try:
        answer({"queues": [queue.id for queue in library_queues()]})
        for _request in requests:
            sleep(max(0.0, measured_at + SPACING_S - clock()))
            measured_at = clock()
            answer(measure(device))
    finally:
        device.exit()


def requests_until_end(descriptor: int) -> Iterator[str]:
    """Give what comes in, a byte a request; once it has ended, this process does too, at the latest after GRACE_S."""
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def listen() -> None:
        # Not through sys.stdin: a thread that waits in its buffer makes the interpreter abort when it ends.
        while data := os.read(descriptor, 64):
            for _ in data:
                requests.put("measure")
        requests.put(None)
        time.sleep(GRACE_S)
        end_at_once()

    threading.Thread(target=listen, daemon=True).start()
    return iter(requests.get, None)


def library_queues() -> list[Any]:
    """Give the message queues of Blinka's PulseIn; the system keeps them when this process has ended."""
    modules = [module for name, module in list(sys.modules.items()) if name.endswith(PULSEIN)]
    return [queue for module in modules for queue in getattr(module, "queues", ())]


def end_at_once() -> None:
    """Kill this process, and the library's helper with it where the group is ours."""
    for left in library_queues():
        with suppress(Exception):  # it may be gone already
            left.remove()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main(kind: str, pin: str, method: str, measured_at: str = "-inf") -> None:
    """Serve on stdin and stdout."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer

        def answer(values: dict[str, object]) -> None:
            print(json.dumps(values), file=answers, flush=True)

        try:
            requests = requests_until_end(0)
            serve(requests, answer, lambda: open_device(kind, int(pin), method), measured_at=float(measured_at))
        except BrokenPipeError:  # the parent is gone: nobody else would end the library's helper
            end_at_once()


if __name__ == "__main__":
    main(*sys.argv[1:])
