"""The program that holds a DHT sensor's pin: one byte in, one measurement, one line of JSON out.

It is a process of its own because the library's waits have no limit, because its PulseIn replaces the SIGTERM handler
at import, and because Blinka prints on stdout. It ends when its stdin does, even out of a measurement that hangs.
Run by sensors.hw.dht as a file, so it imports nothing of ours.

Arguments: class of adafruit_dht, GPIO number, and how to time the pulses: auto, pulseio or bitbang.
Answers: {} when ready; {"temperature": °C, "humidity": %}; {"error": class, "errno": number or null, "text": words}.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

SPACING_S = 2.1  # the sensor needs 2 s, and sooner the library would repeat the old value without measuring
GRACE_S = 1.0  # for an orderly end: the library removes its message queue and its helper process


class Device(Protocol):
    """What this program uses of adafruit_dht's classes."""

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
    return device


def failure(error: Exception) -> dict[str, object]:
    """Give an exception as an answer."""
    return {"error": type(error).__name__, "errno": getattr(error, "errno", None), "text": str(error)}


def measure(device: Device) -> dict[str, object]:
    """Ask once. The values are looked at only after a measurement that did not raise: else they are the old ones."""
    try:
        device.measure()
        answer: dict[str, object] = {"temperature": device.temperature, "humidity": device.humidity}
    except Exception as error:  # noqa: BLE001 the parent judges it
        return failure(error)
    return answer


def serve(
    requests: Iterable[str],
    answer: Callable[[dict[str, object]], None],
    open_it: Callable[[], Device],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Answer requests until they end, never measuring twice within SPACING_S."""
    try:
        device = open_it()
    except Exception as error:  # noqa: BLE001 the parent judges it
        answer(failure(error))
        return
    try:
        answer({})
        measured_at = None
        for _request in requests:
            if measured_at is not None:
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


def end_at_once() -> None:
    """Kill this process, and the library's helper with it where the group is ours."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main(kind: str, pin: str, method: str) -> None:
    """Serve on stdin and stdout."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer

        def answer(values: dict[str, object]) -> None:
            print(json.dumps(values), file=answers, flush=True)

        try:
            serve(requests_until_end(0), answer, lambda: open_device(kind, int(pin), method))
        except BrokenPipeError:  # the parent is gone: nobody else would end the library's helper
            end_at_once()


if __name__ == "__main__":
    main(*sys.argv[1:])
