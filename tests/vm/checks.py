"""What the drivers do on a real gpiochip that the kernel simulates; runs in the machine, as a file of its own.

Each check is a function; the console gets a line for each.
"""

import errno
import faulthandler
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from sensors.config import load_config
from sensors.doctor.examination import Examination, World
from sensors.driver import DriverContext, DriverUnavailable
from sensors.drivers.gpio_input import GpioInput
from sensors.drivers.gpio_output import GpioOutput
from sensors.hw.gpio import open_gpio
from sensors.hw.gpiochips import LINE_INFO, KernelChips, programs

LINES = Path("/tmp/lines")
OTHER, HEADER = "/dev/gpiochip0", "/dev/gpiochip1"
PATIENCE_S = 20
LONGEST_S = 100
WATCH = 0xC100_B406  # of a line: tells when it is claimed, given back and claimed anew as something else
CHANGE = struct.Struct("=256sQI20s")
IS_INPUT, IS_OUTPUT = 1 << 2, 1 << 3
CLICK = """
import os
import gpiozero
from gpiozero.pins.lgpio import LGPIOFactory
device = gpiozero.OutputDevice(25, initial_value=True, pin_factory=LGPIOFactory(chip=1))
os._exit(0)
"""
HOLD = """
import sys
from sensors.hw.gpiochips import CONFIG, GET_LINE, OUTPUT, REQUEST, KernelChips
import struct
request = bytearray(REQUEST.pack(struct.pack("=I", 23), b"octorelay", CONFIG.pack(OUTPUT, 0, b"", b""), 1, 0, b"", -1))
KernelChips()._ask(sys.argv[1], GET_LINE, request)
print("held", flush=True)
sys.stdin.read()
"""


def drive(line, high):
    (LINES / f"sim_gpio{line}" / "pull").write_text("pull-up" if high else "pull-down")


def level(line):
    return (LINES / f"sim_gpio{line}" / "value").read_text().strip() == "1"


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


@contextmanager
def watched(kind, **keys):
    """A driver at work, and the values that it reports."""
    driver = kind.build(msgspec.convert(keys, kind.Options), DriverContext(name="it"))
    reports = SimpleQueue()
    driver.watch(lambda reading: reports.put(reading.value))
    try:
        yield driver, reports
    finally:
        driver.close()


def next_of(reports):
    return reports.get(timeout=PATIENCE_S)


def heard(reports, value):
    """Hear a value; a command that was carried out is told more than once."""
    until(lambda: next_of(reports) is value)


def silent(reports, seconds):
    try:
        found = reports.get(timeout=seconds)
    except Empty:
        return True
    raise AssertionError(f"it said {found}")


def refusal(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


@contextmanager
def claims(line):
    """The flags with which a line is claimed, in order, as the kernel tells a bystander."""
    chip = os.open(HEADER, os.O_RDWR)
    seen = []
    try:
        fcntl.ioctl(chip, WATCH, bytearray(LINE_INFO.pack(b"", b"", line, 0, 0, b"", b"")))
        os.set_blocking(chip, False)
        yield seen
        try:
            for info, *_ in CHANGE.iter_unpack(os.read(chip, CHANGE.size * 64)):
                seen.append(LINE_INFO.unpack(info)[4])
        except BlockingIOError:
            pass
    finally:
        os.close(chip)


@contextmanager
def held_by_another():
    with subprocess.Popen([sys.executable, "-c", HOLD, HEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        try:
            yield other
        finally:
            other.stdin.close()


def check_the_chip_of_the_header_is_found_by_its_label():
    chips = KernelChips()
    assert [chips.label(path) for path in (OTHER, HEADER)] == ["gpio-brcmstb@107d508500", "pinctrl-rp1"]
    line = open_gpio().open_output(5, True, False)
    assert level(5)
    assert chips.line(HEADER, 5).used
    assert not chips.line(OTHER, 5).used
    line.set(False)
    assert not level(5)
    line.close()


def check_every_edge_becomes_a_report_in_order():
    drive(6, high=True)
    with watched(GpioInput, pin=6, input="door", debounce_s=0.01) as (_, reports):
        assert next_of(reports) is True
        for _ in range(10):
            drive(6, high=False)
            assert next_of(reports) is False
            drive(6, high=True)
            assert next_of(reports) is True
        silent(reports, 0.2)


def check_a_bouncing_contact_is_reported_once():
    drive(12, high=True)
    with watched(GpioInput, pin=12, input="door", debounce_s=0.5) as (_, reports):
        assert next_of(reports) is True
        for bounce in range(21):
            drive(12, high=bool(bounce % 2))
        assert next_of(reports) is False
        silent(reports, 1.0)
        for bounce in range(20):  # a burst that ends where it began is none
            drive(12, high=not bounce % 2)
        silent(reports, 1.5)


def check_a_button_tells_its_presses():
    drive(13, high=True)
    with watched(GpioInput, pin=13, input="button", debounce_s=0.02, double_s=0, hold_s=30) as (_, reports):
        for _ in range(3):
            drive(13, high=False)
            time.sleep(0.2)
            drive(13, high=True)
            assert next_of(reports) == "press"
            time.sleep(0.2)


def check_an_input_is_free_when_its_sensor_is_closed():
    drive(14, high=True)
    for _ in range(3):  # and can be taken again
        with watched(GpioInput, pin=14, input="door", debounce_s=0.01) as (_, reports):
            assert next_of(reports) is True
            assert KernelChips().line(HEADER, 14).used
            drive(14, high=False)
            assert next_of(reports) is False
            drive(14, high=True)
            assert next_of(reports) is True
        assert not KernelChips().line(HEADER, 14).used
    with watched(GpioOutput, pin=14, output="lamp") as (lamp, reports):
        heard(reports, False)
        lamp.switch("lamp", True)
        heard(reports, True)
        assert level(14)


def check_edges_have_the_time_of_our_clock():
    drive(15, high=True)
    line, edges = open_gpio().open_input(15, "up"), SimpleQueue()
    line.on_edge(lambda high, at: edges.put((high, at)))
    for high in (False, True, False):
        before = time.monotonic()
        drive(15, high=high)
        told, at = edges.get(timeout=PATIENCE_S)
        assert told is high
        assert before <= at <= time.monotonic()
    line.close()


def check_a_claimed_line_is_told_and_left_alone():
    with held_by_another() as other:
        chips = KernelChips()
        line = chips.line(HEADER, 23)
        assert (line.used, line.consumer) == (True, "octorelay")
        assert other.pid in {program.pid for program in programs()}
        error = refusal(OSError, lambda: chips.edges(HEADER, 23, low_s=0, listen_s=0))
        assert error.errno == errno.EBUSY
        options = msgspec.convert({"pin": 23, "output": "relay"}, GpioOutput.Options)
        error = refusal(DriverUnavailable, lambda: GpioOutput.build(options, DriverContext(name="it")))
        assert "held by another program" in str(error)
    until(lambda: not KernelChips().line(HEADER, 23).used)


def check_a_relay_is_claimed_once_with_its_level():
    """A relay of which 0 V is on: claimed as an input, or low for a moment, it would click."""
    with claims(24) as seen, watched(GpioOutput, pin=24, output="relay", active="low") as (relay, reports):
        heard(reports, False)
        assert level(24)
        before = KernelChips().line(HEADER, 24)
        assert before.used
        relay.switch("relay", True)
        heard(reports, True)
        assert not level(24)
        relay.switch("relay", False)
        heard(reports, False)
        assert level(24)
    assert seen, "the kernel told of no claim"
    assert all(flags & IS_OUTPUT and not flags & IS_INPUT for flags in seen), seen
    assert level(24), "it let go of the relay"


def check_the_bystander_would_see_a_relay_that_clicks():
    """gpiozero's own way, in a process of its own: the check above is worth nothing unless it tells."""
    with claims(25) as seen:
        subprocess.run([sys.executable, "-c", CLICK], check=True, timeout=60)
    assert any(flags & IS_INPUT for flags in seen), seen


def check_the_doctor_tells_open_pins_and_claimed_lines():
    house = Path("/tmp/sensors.toml")
    house.write_text("""
data_dir = "/tmp/data"
[[sensor]]
name = "pir"
kind = "gpio_input"
room = "hall"
pin = 26
input = "motion"
[[sensor]]
name = "damp"
kind = "dht"
room = "cellar"
pin = 27
model = "DHT22"
[[sensor]]
name = "pump"
kind = "gpio_output"
room = "cellar"
pin = 23
output = "relay"
""")
    with held_by_another() as other, claims(23) as of_the_pump:
        findings = {finding.about: finding for finding in Examination(load_config(house), World()).findings()}
    assert findings["GPIO26 (pir)"].what == "it floats: nothing drives it"
    assert findings["GPIO27 (damp)"].what == "it floats: neither a sensor nor its pull-up is connected"
    assert findings["GPIO23 (pump)"].what.startswith('it is claimed by "octorelay", it may be ')
    assert f"(process {other.pid})" in findings["GPIO23 (pump)"].what
    assert not {"lgpio", "GPIO"} & findings.keys(), findings
    assert not any(flags & IS_INPUT for flags in of_the_pump), of_the_pump
    assert not any(KernelChips().line(HEADER, pin).used for pin in (26, 27))


def check_the_edges_after_a_start_signal_are_counted():
    drive(4, high=True)
    stop = threading.Event()

    def answer():
        while not stop.wait(0.001):
            drive(4, high=False)
            drive(4, high=True)

    chips = KernelChips()
    assert len(chips.edges(HEADER, 4, low_s=0.02, listen_s=0.2)) <= 1  # its own rise
    sensor = threading.Thread(target=answer)
    sensor.start()
    try:
        heard = chips.edges(HEADER, 4, low_s=0.02, listen_s=1.0)
    finally:
        stop.set()
        sensor.join()
    assert len(heard) > 4
    times = [at_ns for at_ns, _ in heard]
    assert times == sorted(times)
    assert {rises for _, rises in heard} == {True, False}
    assert not chips.line(HEADER, 4).used


def main():
    failed = 0
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            faulthandler.dump_traceback_later(LONGEST_S, exit=True)  # one that hangs says where
            try:
                check()
            except BaseException:  # noqa: BLE001 the others go on
                failed += 1
                traceback.print_exc()
                print(f"vm: failed {name}", flush=True)
            else:
                print(f"vm: ok {name}", flush=True)
    return failed


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(bool(status))  # threads of the libraries may outlive the checks
