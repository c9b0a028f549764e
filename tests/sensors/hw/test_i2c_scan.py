import errno

import pytest
from i2c_chips import Aht20, Bme280, Chip, Clock, Sht4x, Wire

from sensors.hw.i2c_scan import scan


def test_chips_that_answer_are_found_with_the_ids_of_boschs():
    clock = Clock()
    wire = Wire({0x76: Bme280(clock), 0x44: Sht4x(clock), 0x38: Aht20(clock)})
    seen = scan(wire.bus, 1)
    assert (seen.number, seen.answering) == (1, {0x76, 0x44, 0x38})
    assert seen.ids == {0x76: 0x60}
    assert (seen.held, seen.trouble, seen.path) == (frozenset(), "", "/dev/i2c-1")
    assert wire.bus.lock.acquire(blocking=False)


class Shy(Chip):
    """Takes no call without a word in it."""

    def write(self, _sent):
        raise OSError(errno.EREMOTEIO, "Remote I/O error")

    def read(self, count):
        return bytes(count)


class ShyWire(Wire):
    def writeto(self, address, buffer, *, start=0, end=None):
        if not bytes(buffer[start:end]):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        super().writeto(address, buffer, start=start, end=end)


def test_a_bus_without_empty_calls_is_asked_for_a_byte():
    seen = scan(ShyWire({0x44: Shy(), 0x76: Shy()}).bus, 1)
    assert seen.answering == {0x44, 0x76}
    assert seen.ids == {}


class HeldWire(Wire):
    def _chip(self, address):
        if address == 0x76:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return super()._chip(address)


def test_a_chip_of_the_kernels_is_told_apart():
    seen = scan(HeldWire({0x23: Shy()}).bus, 1)
    assert (seen.answering, seen.held) == ({0x23}, {0x76})


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ETIMEDOUT, "the bus hangs"), (errno.EAGAIN, "the bus hangs"), (errno.EACCES, "the bus cannot be used")],
)
def test_a_bus_in_trouble_is_given_up_at_once(number, words):
    wire = Wire({})
    wire.trouble = number
    seen = scan(wire.bus, 1)
    assert seen.trouble.startswith(words)
    assert wire.transfers <= 1
