"""Chips on an I²C bus, for Adafruit's real drivers: what their data sheets say of registers, commands and checksums.

`Wire` stands where `busio.I2C` does. Time is a `Clock` that moves when somebody sleeps or looks at it, so that chips
are busy for as long as they should be and no test waits for them.
"""

import errno
import struct
from importlib import import_module

import msgspec

from sensors.driver import DriverContext
from sensors.hw.i2c import I2cBus

LOOK_S = 1e-4


class Clock:
    """Stands in for the module time where a driver imported it."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        self.now += LOOK_S
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def rule(self, monkeypatch, kind):
        """Take the place of time in a driver of ours and in Adafruit's."""
        for name in (kind.__module__, kind.library.partition(":")[0]):
            module = import_module(name)
            for word, stand_in in (("time", self), ("sleep", self.sleep)):
                if hasattr(module, word):
                    monkeypatch.setattr(module, word, stand_in)


class Wire:
    """The bus: chips by address; `trouble` is raised by every transfer, as an errno."""

    def __init__(self, chips):
        self.chips = dict(chips)
        self.trouble = None
        self.transfers = 0
        self.bus = I2cBus(self)

    def _chip(self, address):
        self.transfers += 1
        if self.trouble is not None:
            raise OSError(self.trouble, "trouble")
        try:
            return self.chips[address]
        except KeyError:
            raise OSError(errno.EREMOTEIO, "Remote I/O error") from None

    def writeto(self, address, buffer, *, start=0, end=None):
        chip = self._chip(address)
        sent = bytes(buffer[start:end])
        if sent:
            chip.write(sent)

    def readfrom_into(self, address, buffer, *, start=0, end=None):
        chip = self._chip(address)
        end = len(buffer) if end is None else end
        frame = chip.read(end - start)
        if chip.says is not None and end - start > 1:
            frame = (chip.says * (end - start))[: end - start]
        assert len(frame) == end - start, "the driver reads more than the chip gives"
        buffer[start:end] = frame

    def writeto_then_readfrom(
        self, address, buffer_out, buffer_in, *, out_start=0, out_end=None, in_start=0, in_end=None
    ):
        self.writeto(address, buffer_out, start=out_start, end=out_end)
        self.readfrom_into(address, buffer_in, start=in_start, end=in_end)


def build(kind, wire, clock, monkeypatch, *, name="chip", **keys):
    """A driver on this bus, in this time."""
    clock.rule(monkeypatch, kind)
    context = DriverContext(name=name, i2c=lambda _number: wire.bus, clock=clock.monotonic)
    return kind.build(msgspec.convert(keys, kind.Options), context)


def values(sensor):
    """What one read gives, by measurement."""
    return {reading.measurement: reading.value for reading in sensor.read()}


def nack():
    """A chip that does not acknowledge."""
    return OSError(errno.EREMOTEIO, "Remote I/O error")


def crc8(data):
    """Sensirion's: polynomial 0x31 from 0xFF."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31 if crc & 0x80 else crc << 1) & 0xFF
    return crc


class Chip:
    says = None  # bytes in place of every answer of more than one, as when a line is stuck


class Bme280(Chip):
    """BST-BME280-DS002: registers, calibration, forced mode, and what a reset forgets."""

    # The worked example of BST-BMP280-DS001, 3.12; its humidity is that of a chip on a desk.
    PRESSURE = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
    TEMPERATURE = (27504, 26435, -1000)
    HUMIDITY = (75, 362, 0, 313, 50, 30)

    def __init__(self, clock, *, chip_id=0x60, t=519_888, p=415_148, h=30_000):
        self.clock = clock
        self.t, self.p, self.h = t, p, h
        self.memory = bytearray(256)
        self.memory[0xD0] = chip_id
        self.memory[0x88:0xA0] = struct.pack("<HhhHhhhhhhhh", *self.TEMPERATURE, *self.PRESSURE)
        h1, h2, h3, h4, h5, h6 = self.HUMIDITY
        self.memory[0xA1] = h1
        self.memory[0xE1:0xE8] = struct.pack("<hBBBBb", h2, h3, h4 >> 4, (h4 & 0xF) | (h5 & 0xF) << 4, h5 >> 4, h6)
        self.pointer = 0
        self.done_at = 0.0
        self.power_on()

    def power_on(self):
        self.humidity_too = False
        self.memory[0xF2] = self.memory[0xF4] = self.memory[0xF5] = 0
        self.memory[0xF7:0xFF] = bytes.fromhex("800000 800000 8000")

    def write(self, sent):
        self.pointer, *values = sent
        for offset, value in enumerate(values):
            self.put(self.pointer + offset, value)

    def put(self, register, value):
        if (register, value) == (0xE0, 0xB6):
            self.power_on()
            return
        self.memory[register] = value
        if register == 0xF4:
            self.humidity_too = bool(self.memory[0xF2] & 7)  # becomes effective with ctrl_meas
            if value & 3:
                self.measure(temperature=bool(value & 0xE0), pressure=bool(value & 0x1C))

    def measure(self, *, temperature, pressure):
        self.done_at = self.clock.now + 0.045
        self.memory[0xF7:0xFA] = ((self.p if pressure else 0x80000) << 4).to_bytes(3, "big")
        self.memory[0xFA:0xFD] = ((self.t if temperature else 0x80000) << 4).to_bytes(3, "big")
        self.memory[0xFD:0xFF] = (self.h if self.humidity_too else 0x8000).to_bytes(2, "big")

    def read(self, count):
        self.memory[0xF3] = 0x08 if self.clock.monotonic() < self.done_at else 0
        frame = bytes(self.memory[self.pointer : self.pointer + count])
        self.pointer += count
        return frame


def bosch_humidity(t_fine, raw, calibration=Bme280.HUMIDITY):
    """Percent as the data sheet computes it, 4.2.3, in integers."""
    h1, h2, h3, h4, h5, h6 = calibration
    v = t_fine - 76_800
    v = (((raw << 14) - (h4 << 20) - h5 * v + 16_384) >> 15) * (
        (((((v * h6) >> 10) * (((v * h3) >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8_192 >> 14
    )
    v -= ((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4
    return min(max(v, 0), 419_430_400) / 4096 / 1024


class Sensirion(Chip):
    """What SHT and SCD chips share: words with checksums; `damage` is XORed over each answer."""

    damage = b""
    answer = b""

    def words(self, *values):
        frame = b"".join(word + bytes([crc8(word)]) for word in (struct.pack(">H", value) for value in values))
        self.answer = bytes(a ^ b for a, b in zip(frame, self.damage.ljust(len(frame), b"\0"), strict=False))

    def read(self, count):
        if not self.answer:
            raise nack()
        answer, self.answer = self.answer, b""
        return answer[:count]


class Sht4x(Sensirion):
    """Sensirion's data sheet of the SHT4x: commands of one byte, no answer before the measurement is done."""

    def __init__(self, clock, *, t=0x6666, h=0x8000, serial=0x0F1E_2D3C):
        self.clock = clock
        self.t, self.h, self.serial = t, h, serial
        self.ready_at = 0.0

    def write(self, sent):
        command = sent[0] if len(sent) == 1 else None
        match command:
            case 0x94:
                self.answer = b""
            case 0x89:
                self.words(self.serial >> 16, self.serial & 0xFFFF)
            case 0xFD:
                self.words(self.t, self.h)
                self.ready_at = self.clock.now + 0.0083
            case _:
                raise nack()

    def read(self, count):
        if self.clock.now < self.ready_at:
            raise nack()
        return super().read(count)


class Sht31(Sensirion):
    """Sensirion's data sheet of the SHT3x-DIS: commands of two bytes."""

    def __init__(self, clock, *, t=0x6666, h=0x8000, serial=0x0BAD_CAFE):
        self.clock = clock
        self.t, self.h, self.serial = t, h, serial
        self.ready_at = 0.0

    def write(self, sent):
        if len(sent) == 1:  # half a command, of which nothing comes
            return
        match struct.unpack(">H", sent)[0]:
            case 0x3093 | 0x30A2:
                self.answer = b""
            case 0x3780 if self.serial is not None:
                self.words(self.serial >> 16, self.serial & 0xFFFF)
            case 0x2400:
                self.words(self.t, self.h)
                self.ready_at = self.clock.now + 0.0155
            case _:
                raise nack()

    def read(self, count):
        if self.clock.now < self.ready_at:
            raise nack()
        return super().read(count)


class Aht20(Chip):
    """ASAIR's data sheet of the AHT20: status byte with busy 0x80 and calibrated 0x08, 20 bits each."""

    def __init__(self, clock, *, t=0x60000, h=0x80000, old_command=True):
        self.clock = clock
        self.t, self.h = t, h
        self.old_command = old_command  # newer chips do not acknowledge 0xE1
        self.calibrates = True
        self.busy_until = 0.0
        self.power_on()

    def power_on(self):
        self.calibrated = False

    def write(self, sent):
        match sent[0]:
            case 0xBA:
                self.calibrated = False
            case 0xE1 if not self.old_command:
                raise nack()
            case 0xE1 | 0xBE:
                self.calibrated = self.calibrates
            case 0xAC:
                assert sent[1:] == b"\x33\x00"
                self.busy_until = max(self.busy_until, self.clock.now + 0.08)

    def read(self, count):
        status = 0x10 | 0x08 * self.calibrated | 0x80 * (self.clock.now < self.busy_until)
        data = ((self.h << 20) | self.t).to_bytes(5, "big")
        return (bytes([status]) + data)[:count]


class Bh1750(Chip):
    """ROHM's data sheet of the BH1750: a register of zeros until a measurement is ordered; `raw` is in half steps."""

    def __init__(self, clock, *, raw=1000):
        self.clock = clock
        self.raw = raw
        self.power_on()

    def power_on(self):
        self.mode = 0
        self.ready_at = 0.0

    def write(self, sent):
        (self.mode,) = sent
        self.ready_at = self.clock.now + 0.18

    def read(self, count):
        measuring = self.mode & 0x30 == 0x10 and self.clock.now >= self.ready_at
        raw = self.raw if self.mode & 0x03 == 0x01 else self.raw // 2
        return (min(raw, 0xFFFF) if measuring else 0).to_bytes(2, "big")[:count]


class Scd4x(Sensirion):
    """Sensirion's data sheet of the SCD4x: a measurement every 5 s; what is for rest alone is not acknowledged."""

    EVERY_S = 5.0

    def __init__(self, clock, *, co2=612, t=0x6666, h=0x8000, serial=(0xF896, 0x31A4, 0xBB07)):
        self.clock = clock
        self.co2, self.t, self.h, self.serial = co2, t, h, serial
        self.silent = False
        self.power_on()

    def power_on(self):
        self.started_at = None
        self.read_until = 0
        self.starts = 0
        self.altitude, self.self_calibration = 0, 1

    @property
    def measured(self):
        if self.started_at is None or self.silent:
            return 0
        return int((self.clock.now - self.started_at) / self.EVERY_S)

    def write(self, sent):
        command, value = struct.unpack(">H", sent[:2])[0], sent[2:4]
        if value:
            assert sent[4:] == bytes([crc8(value)])
        match command:
            case 0x2427 if self.started_at is None:
                self.altitude = int.from_bytes(value, "big")
            case 0x2416 if self.started_at is None:
                self.self_calibration = int.from_bytes(value, "big")
            case 0x3F86:
                self.started_at = None
            case 0x21B1:
                self.started_at, self.read_until = self.clock.now, 0
                self.starts += 1
            case 0x3682 if self.started_at is None:
                self.words(*self.serial)
            case 0xE4B8:
                self.words(0x8000 | 0x0006 * (self.measured > self.read_until))
            case 0xEC05 if self.measured > self.read_until:
                self.read_until = self.measured
                self.words(self.co2, self.t, self.h)
            case _:
                raise nack()
