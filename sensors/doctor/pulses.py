"""What a DHT sensor's edges say: how many came after the start signal, and which frame they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from appliance.finding import Finding, note, wrong
from sensors.doctor.computer import Computer
from sensors.doctor.wants import Want
from sensors.hw.gpiochips import Edge

PULL_UP = "put 4.7 to 10 kΩ between data and 3.3 V, shorten the cable"
BITS = 40
USUAL_PIN = 4  # of the overlay dht11 without gpiopin
WHOLE = 80  # two edges a bit; the edges around them may be lost without harm
OWN = 1  # the line's own rise when the start signal ends, which some kernels see
ONE_NS = 50_000  # a high that lasts longer is a 1: 26 to 28 µs are a 0, 70 µs a 1


@dataclass(frozen=True, slots=True)
class Pulses:
    """The edges of one answer."""

    edges: tuple[Edge, ...] = ()

    @property
    def frame(self) -> bytes | None:
        """The five bytes; None where the edges make none."""
        highs = [end - start for (start, rises), (end, again) in pairwise(self.edges) if rises and not again]
        if len(highs) < BITS:
            return None
        number = 0
        for high in highs[-BITS:]:
            number = number << 1 | (high > ONE_NS)
        return number.to_bytes(5, "big")

    @property
    def is_good(self) -> bool:
        """Whether they make a frame that may be true."""
        return self.frame is not None and any(self.frame) and is_sound(self.frame)


def dht_finding(want: Want, answers: Sequence[Pulses]) -> Finding:
    """Judge the best of a few answers."""
    about = f"GPIO{want.pin} ({want.sensor})"
    best = max(answers, key=lambda answer: (answer.is_good, len(answer.edges)))
    count, frame = len(best.edges), best.frame
    if count <= OWN:
        return wrong(
            about, "the sensor gives no edge: no power, or the wrong pin", "check 3.3 V, ground, data and `pin`"
        )
    if count < WHOLE or frame is None:
        cure = f"{PULL_UP}, and look again when the computer is less busy"
        return wrong(about, f"the sensor gives {count} edges of {WHOLE} and more: pull-up or timing", cure)
    if not any(frame):
        cure = "power the sensor off and on, with 3.3 to 5 V; replace it if that does not help"
        return wrong(about, f"the sensor is stuck: {count} edges, all bits zero", cure)
    if not is_sound(frame):
        cure = "look again; if it stays so: a pull-up of 4.7 to 10 kΩ, a shorter cable"
        return wrong(about, f"{count} edges, but the checksum of {frame.hex(' ')} is wrong: timing", cure)
    return note(about, f"the sensor answers: {count} edges, {frame.hex(' ')}")


def overlay_finding(want: Want, computer: Computer) -> Finding:
    """Say why the kernel has no driver at the pin of a sensor that it is to read."""
    about = f"GPIO{want.pin} ({want.sensor})"
    if not computer.is_pi:
        return note(about, "the kernel reads no DHT sensor, and so there is none to look at")
    boot, line = computer.boot, f"dht11,gpiopin={want.pin}"
    # Without a number the overlay means GPIO4.
    if boot.has_overlay(line) or (want.pin == USUAL_PIN and "dtoverlay=dht11" in boot.lines):
        cure = f"restart, if the line was just added to {boot.path}; else `sudo dmesg | grep dht11` says why"
        return wrong(about, "the kernel reads no DHT sensor, though config.txt has its overlay", cure)
    what = f"the kernel reads no DHT sensor there: its overlay {boot.where_overlay(line)}"
    return wrong(about, what, f'{boot.cure(f"dtoverlay={line}")}; or set pulses = "auto"')


def is_sound(frame: bytes) -> bool:
    """Whether the last byte is the sum of the others."""
    return sum(frame[:4]) & 0xFF == frame[4]
