import errno
import os
import subprocess
import sys
import threading
from textwrap import dedent

import pytest
from i2c_chips import Bh1750, Clock, Wire

from sensors.driver import BadFrame, DriverUnavailable, SensorError, TimedOut
from sensors.hw import i2c
from sensors.hw.i2c import I2cBus, I2cPort, line_fault, load, open_bus


@pytest.fixture
def no_bus_is_open(monkeypatch):
    monkeypatch.setattr(i2c, "_opened", {})


def device(root, name):
    (root / "dev").mkdir(exist_ok=True)
    path = root / "dev" / name
    path.touch()
    return path


@pytest.mark.usefixtures("no_bus_is_open")
def test_a_bus_that_is_off_is_told_with_the_cure(tmp_path):
    with pytest.raises(DriverUnavailable, match=r"no /dev/i2c-1; switch it on with .*do_i2c 0.* \(dtparam=i2c_arm=on"):
        open_bus(1, tmp_path)
    device(tmp_path, "i2c-20")
    with pytest.raises(DriverUnavailable, match=r"no /dev/i2c-1; switch it on .*, or set `bus`: there is i2c-20"):
        open_bus(1, tmp_path)


@pytest.mark.usefixtures("no_bus_is_open")
def test_a_bus_that_is_not_ours_to_open_is_told(tmp_path, monkeypatch):
    device(tmp_path, "i2c-1")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DriverUnavailable, match=r"not allowed to open /dev/i2c-1; add the agent's user .*\(i2c\)"):
        open_bus(1, tmp_path)


@pytest.mark.usefixtures("no_bus_is_open")
def test_what_blinka_refuses_is_told(tmp_path):
    device(tmp_path, "i2c-99")
    with pytest.raises(DriverUnavailable, match=r"/dev/i2c-99 cannot be opened: No device found for /dev/i2c-99"):
        open_bus(99, tmp_path)


class KernelBus:
    """Stands where Blinka opens /dev/i2c-1; a chip that is not there fails as the kernel's does."""

    def __init__(self, number):
        self.number = number
        self.wire = Wire({0x23: Bh1750(Clock())})

    def write_bytes(self, address, data):
        self.wire.writeto(address, data)

    def read_bytes(self, address, count):
        data = bytearray(count)
        self.wire.readfrom_into(address, data)
        return bytes(data)

    def read_i2c_block_data(self, address, command, length):
        self.wire.writeto(address, command)
        return bytearray(self.read_bytes(address, length))


@pytest.mark.usefixtures("no_bus_is_open")
def test_transfers_go_through_blinka_to_the_kernel(tmp_path, monkeypatch):
    """Blinka itself looks for /dev/i2c-1 in vain here; the rest of it is the real one."""
    bus_class = load("adafruit_extended_bus:ExtendedI2C")
    blinka = sys.modules["adafruit_blinka.microcontroller.generic_linux.i2c"]
    monkeypatch.setattr(blinka.smbus, "SMBus", KernelBus)
    monkeypatch.setattr(sys.modules[bus_class.__module__].path, "exists", lambda _path: True)
    device(tmp_path, "i2c-1")
    bus = open_bus(1, tmp_path)
    assert open_bus(1, tmp_path) is bus
    port = I2cPort(bus, lambda _frame: "")
    port.allow(5)
    buffer = bytearray(3)
    port.writeto(0x23, b"\x11")
    port.readfrom_into(0x23, buffer, start=1)
    assert port.frames == [b"\0\0"]
    port.writeto_then_readfrom(0x23, b"\x10", buffer, in_start=1)
    assert len(port.frames) == 2
    with pytest.raises(OSError, match="Remote I/O"):
        port.writeto(0x24, b"\x11")
    assert port.failure.errno == errno.EREMOTEIO


def test_bytes_of_one_kind_are_a_stuck_line_and_one_byte_is_not():
    assert line_fault(b"\0\0") == line_fault(b"\xff\xff\xff") != ""
    assert [line_fault(frame) for frame in (b"\0", b"\xff", b"\0\xff", b"")] == ["", "", "", ""]


class Frames:
    """A chip that sends what it is given."""

    says = None

    def __init__(self, *frames):
        self.frames = list(frames)

    def write(self, sent):
        pass

    def read(self, _count):
        return self.frames.pop(0)


def port_to(*frames, clock=None):
    return I2cPort(Wire({0x40: Frames(*frames)}).bus, line_fault, (clock or Clock()).monotonic)


def test_a_frame_at_fault_is_refused_before_it_is_decoded():
    port = port_to(b"\x12\x34", b"\xff\xff")
    port.allow(5)
    port.readfrom_into(0x40, bytearray(2))
    with pytest.raises(BadFrame, match="the chip sent ff ff: the line is stuck"):
        port.readfrom_into(0x40, bytearray(2))
    assert port.frames == [b"\x12\x34", b"\xff\xff"]
    port.allow(5)
    assert port.frames == []


def test_what_takes_too_long_is_ended():
    clock = Clock()
    port = port_to(b"\x12\x34", b"\x12\x34", clock=clock)
    port.allow(5)
    port.readfrom_into(0x40, bytearray(2))
    clock.sleep(5)
    with pytest.raises(TimedOut, match="the chip on /dev/i2c-1 stays busy and was given up"):
        port.readfrom_into(0x40, bytearray(2))
    port.allow(5)
    port.readfrom_into(0x40, bytearray(2))


def test_chips_of_one_bus_talk_one_after_the_other():
    bus = Wire({}).bus
    mine, other = (I2cPort(bus, line_fault) for _ in range(2))
    mine.allow(5)
    other.allow(0.02)
    assert mine.try_lock()
    with pytest.raises(TimedOut, match="other chips keep /dev/i2c-1 busy"):
        other.try_lock()
    other.allow(5)
    waiting = threading.Thread(target=other.try_lock)
    waiting.start()
    mine.unlock()
    waiting.join(5)
    assert bus.lock.locked()
    other.unlock()
    assert not bus.lock.locked()


def test_after_closing_nothing_passes():
    port = port_to(b"\x12\x34")
    port.allow(5)
    port.close()
    with pytest.raises(SensorError, match="closed"):
        port.readfrom_into(0x40, bytearray(2))


def test_a_chip_has_one_reader():
    bus = I2cBus(Wire({}))
    bus.claim(0x76, "in")
    bus.claim(0x76, "in")
    with pytest.raises(DriverUnavailable, match='at 0x76 on /dev/i2c-1 is read by sensor "in"'):
        bus.claim(0x76, "out")
    assert bus.is_free(0x76, "in")
    assert not bus.is_free(0x76, "out")
    bus.release("in")
    bus.claim(0x76, "out")


EXPLAINED = [
    (RuntimeError("Invalid CRC calculated"), BadFrame, "its checksum is wrong"),
    (RuntimeError("CRC mismatch"), BadFrame, "its checksum is wrong"),
    (RuntimeError("Failed to find BME280! Chip ID 0x58"), DriverUnavailable, 'is a BMP280.*set kind = "bmp280"'),
    (
        RuntimeError("Failed to find BMP280! Chip ID 0x12"),
        DriverUnavailable,
        "it says 0x12 of itself; is `address` right",
    ),
    (RuntimeError("Failed to find BMP280! Chip ID 0xff"), BadFrame, "says 0xff of itself: the line is stuck"),
    (ArithmeticError("Invalid result"), BadFrame, "no sound calibration"),
    (KeyError("x"), SensorError, "the XY1 at 0x40 on /dev/i2c-1 could not be read: KeyError: 'x'"),
]


@pytest.mark.parametrize(("error", "kind", "words"), EXPLAINED)
def test_what_a_driver_raised_is_explained(error, kind, words):
    failure = port_to().explain(error, "XY1", 0x40)
    assert type(failure) is kind
    with pytest.raises(kind, match=words):
        raise failure


def test_our_own_errors_stay_what_they_are():
    error = TimedOut("late")
    assert port_to().explain(error, "XY1", 0x40) is error


def test_a_driver_is_loaded_by_its_name(monkeypatch):
    assert load("adafruit_bh1750:BH1750").__name__ == "BH1750"
    assert os.environ["BLINKA_SKIP_DEPENDENCY_CHECK"] == "1"
    monkeypatch.setitem(sys.modules, "adafruit_bh1750", None)
    with pytest.raises(
        DriverUnavailable,
        match=r"the library adafruit_bh1750 is missing; `\S+/pip install adafruit-circuitpython-bh1750`$",
    ):
        load("adafruit_bh1750:BH1750")


def test_blinka_leaves_signals_and_the_output_alone():
    program = """
        import signal
        from sensors.hw.i2c import load
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for library in ("adafruit_bme280.basic:Adafruit_BME280_I2C", "adafruit_extended_bus:ExtendedI2C"):
            load(library)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("", "")
