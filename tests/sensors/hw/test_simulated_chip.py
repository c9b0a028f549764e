"""What only a kernel's own chip shows: labels, claims, edges. Runs in the machine of `tests/vm`."""

import errno
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from textwrap import dedent

import msgspec
import pytest
from mosquitto_peer import eventually
from pins import HEADER

from sensors.config import load_config
from sensors.doctor.examination import Examination, World
from sensors.driver import DriverContext, DriverUnavailable
from sensors.drivers.gpio_output import GpioOutput
from sensors.hw import gpio as hw_gpio
from sensors.hw.gpiochips import INPUT, LINE_INFO, OUTPUT, KernelChips, programs

OTHER = "/dev/gpiochip0"
WATCH = 0xC100_B406  # of a line: tells when it is claimed, given back and claimed anew as something else
CHANGE = struct.Struct(f"={LINE_INFO.size}sQI20s")
PATIENCE_S = 20
CLICK = """
    import os
    import gpiozero
    from gpiozero.pins.lgpio import LGPIOFactory
    device = gpiozero.OutputDevice(25, initial_value=True, pin_factory=LGPIOFactory(chip=1))
    os._exit(0)
"""
HOLD = """
    import struct
    import sys
    from sensors.hw.gpiochips import CONFIG, GET_LINE, OUTPUT, REQUEST, KernelChips
    config = CONFIG.pack(OUTPUT, 0, b"", b"")
    request = bytearray(REQUEST.pack(struct.pack("=I", 23), b"octorelay", config, 1, 0, b"", -1))
    KernelChips()._ask(sys.argv[1], GET_LINE, request)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def claims(line):
    """The flags with which a line is claimed, in order, as the kernel tells a bystander."""
    chip = os.open(HEADER, os.O_RDWR | os.O_NONBLOCK)
    seen = []
    try:
        fcntl.ioctl(chip, WATCH, bytearray(LINE_INFO.pack(b"", b"", line, 0, 0, b"", b"")))
        yield seen
        try:
            for info, *_ in CHANGE.iter_unpack(os.read(chip, CHANGE.size * 64)):
                seen.append(LINE_INFO.unpack(info)[4])
        except BlockingIOError:
            pass
    finally:
        os.close(chip)


@pytest.fixture
def held_by_another():
    """Another program that has GPIO23; stopped at the latest at the end."""
    command = [sys.executable, "-c", dedent(HOLD), HEADER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield other


def relay(gpiochip, pin, **keys):
    """A relay of which 0 V is on, at work, and the states that it reports."""
    options = msgspec.convert({"pin": pin, "output": "relay", "active": "low", **keys}, GpioOutput.Options)
    output = GpioOutput.build(options, DriverContext(name="it", gpio=gpiochip.gpio))
    reports = SimpleQueue()
    output.watch(reports.put)
    return output, reports


def test_the_chip_of_the_header_is_found_by_its_label(gpiochip, monkeypatch):
    monkeypatch.setattr(hw_gpio, "_opened", None)
    chips = KernelChips()
    assert [chips.label(path) for path in (OTHER, HEADER)] == ["gpio-brcmstb@107d508500", "pinctrl-rp1"]
    gpio = hw_gpio.open_gpio()
    line = gpio.open_output(5, True, False)
    assert gpiochip.pin(5).state is True
    assert chips.line(HEADER, 5).used
    assert not chips.line(OTHER, 5).used
    line.set(False)
    assert gpiochip.pin(5).state is False
    line.close()
    gpio._factory.close()


@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_every_edge_is_told_in_order(gpiochip, pull):
    line, pin = gpiochip.gpio.open_input(6, pull), gpiochip.pin(6)
    edges = SimpleQueue()
    line.on_edge(lambda level, at: edges.put((at, level)))
    began = not line.level()
    for turn in range(10):
        pin.drive_high() if began is not bool(turn % 2) else pin.drive_low()
    seen = [edges.get(timeout=PATIENCE_S) for _ in range(10)]
    assert [level for _, level in seen] == [began, not began] * 5
    assert seen == sorted(seen)
    line.close()
    assert edges.empty()


def test_edges_have_the_time_of_our_clock(gpiochip):
    line, pin = gpiochip.gpio.open_input(15, "up"), gpiochip.pin(15)
    edges = SimpleQueue()
    line.on_edge(lambda level, at: edges.put((level, at)))
    for level in (False, True, False):
        before = time.monotonic()
        pin.drive_high() if level else pin.drive_low()
        told, at = edges.get(timeout=PATIENCE_S)
        assert told is level
        assert before <= at <= time.monotonic()
    line.close()


def test_a_claimed_line_is_told_and_left_alone(gpiochip, held_by_another):
    chips = KernelChips()
    line = chips.line(HEADER, 23)
    assert (line.used, line.consumer) == (True, "octorelay")
    assert held_by_another.pid in {program.pid for program in programs()}
    with pytest.raises(OSError, match="busy") as caught:
        chips.edges(HEADER, 23, low_s=0, listen_s=0)
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(DriverUnavailable, match="GPIO23 is held by another program"):
        relay(gpiochip, 23)
    held_by_another.stdin.close()
    eventually(lambda: not KernelChips().line(HEADER, 23).used, PATIENCE_S)
    output, _reports = relay(gpiochip, 23)
    output.close()


def test_a_relay_is_claimed_once_with_its_level(gpiochip):
    """Claimed as an input, or low for a moment, it would click."""
    pin = gpiochip.pin(24)
    with claims(24) as seen:
        output, reports = relay(gpiochip, 24)
        assert reports.get(timeout=PATIENCE_S).value is False
        assert pin.state is True
        assert KernelChips().line(HEADER, 24).used
        for on in (True, False):
            output.switch("relay", on)
            assert pin.state is not on
        output.close()
    assert seen, "the kernel told of no claim"
    assert all(flags & OUTPUT and not flags & INPUT for flags in seen), seen
    assert pin.state is True, "it let go of the relay"


def test_the_bystander_would_see_a_relay_that_clicks(gpiochip):  # noqa: ARG001 there must be one
    """gpiozero's own way, in a process of its own: the test before is worth nothing unless it tells."""
    with claims(25) as seen:
        subprocess.run([sys.executable, "-c", dedent(CLICK)], check=True, timeout=10 * PATIENCE_S)
    assert any(flags & INPUT for flags in seen), seen


HOUSE = """
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
"""


def test_the_doctor_tells_open_pins_and_claimed_lines(gpiochip, held_by_another, tmp_path):  # noqa: ARG001 there must be one
    (tmp_path / "sensors.toml").write_text(HOUSE)
    with claims(23) as of_the_pump:
        examination = Examination(load_config(tmp_path / "sensors.toml"), World())
        findings = {finding.about: finding.what for finding in examination.findings()}
    assert findings["GPIO26 (pir)"] == "it floats: nothing drives it"
    assert findings["GPIO27 (damp)"] == "it floats: neither a sensor nor its pull-up is connected"
    assert findings["GPIO23 (pump)"].startswith('it is claimed by "octorelay", it may be ')
    assert f"(process {held_by_another.pid})" in findings["GPIO23 (pump)"]
    assert not {"lgpio", "GPIO"} & findings.keys(), findings
    assert not any(flags & INPUT for flags in of_the_pump), of_the_pump
    assert not any(KernelChips().line(HEADER, pin).used for pin in (26, 27))


@pytest.mark.usefixtures("gpiochip")
def test_the_kernel_calls_pins_as_the_unit_does():
    """What systemd makes of that line, `python -m tests.machines sandbox` shows."""
    unit = Path(__file__).parents[3] / "systemd" / "sensors.service"
    assert "DeviceAllow=char-gpiochip rw" in unit.read_text().splitlines()
    classes = dict(line.split()[::-1] for line in Path("/proc/devices").read_text().splitlines() if line[:3].isdigit())
    assert int(classes["gpiochip"]) == os.major(Path(HEADER).stat().st_rdev)


def test_the_edges_after_a_start_signal_are_counted(gpiochip):
    pin = gpiochip.pin(4)
    pin.drive_high()
    stop = threading.Event()

    def answer():
        while not stop.wait(0.001):
            pin.drive_low()
            pin.drive_high()

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
