"""The kernel's GPIO character devices as linux/gpio.h has them, by ctypes, so that a mistake in our packing shows."""

import ctypes
import errno
import os
from ctypes import Structure, c_char, c_int32, c_uint32, c_uint64

USED, PULL_UP = 1, 1 << 8


class ChipInfo(Structure):
    _fields_ = [("name", c_char * 32), ("label", c_char * 32), ("lines", c_uint32)]


class Attribute(Structure):
    _fields_ = [("id", c_uint32), ("padding", c_uint32), ("value", c_uint64)]


class LineInfo(Structure):
    _fields_ = [
        ("name", c_char * 32),
        ("consumer", c_char * 32),
        ("offset", c_uint32),
        ("num_attrs", c_uint32),
        ("flags", c_uint64),
        ("attrs", Attribute * 10),
        ("padding", c_uint32 * 4),
    ]


class ConfigAttribute(Structure):
    _fields_ = [("attr", Attribute), ("mask", c_uint64)]


class Config(Structure):
    _fields_ = [
        ("flags", c_uint64),
        ("num_attrs", c_uint32),
        ("padding", c_uint32 * 5),
        ("attrs", ConfigAttribute * 10),
    ]


class Request(Structure):
    _fields_ = [
        ("offsets", c_uint32 * 64),
        ("consumer", c_char * 32),
        ("config", Config),
        ("num_lines", c_uint32),
        ("event_buffer_size", c_uint32),
        ("padding", c_uint32 * 5),
        ("fd", c_int32),
    ]


class Event(Structure):
    _fields_ = [
        ("timestamp_ns", c_uint64),
        ("id", c_uint32),
        ("offset", c_uint32),
        ("seqno", c_uint32),
        ("line_seqno", c_uint32),
        ("padding", c_uint32 * 6),
    ]


class Values(Structure):
    _fields_ = [("bits", c_uint64), ("mask", c_uint64)]


class FakeChip:
    """One chip: its label, who holds which line, what drives a line, and the edges that come when one is let go."""

    def __init__(self, label="pinctrl-rp1", held=None, edges=()):
        self.label = label
        self.held = dict(held or {})
        self.driven = {}  # line -> level; others follow the resistor
        self.taken = []  # lines, in order
        self.edges = edges
        self.configs = []  # flags that a line was given, in order
        self.pipes = {}

    def ioctl(self, descriptor, request, packed):
        size = request >> 16 & 0x3FFF
        assert size == len(packed)
        match request & 0xFFFF:
            case 0xB401:
                assert size == ctypes.sizeof(ChipInfo)
                info = ChipInfo.from_buffer(packed)
                info.name, info.label, info.lines = b"gpiochip0", self.label.encode(), 54
            case 0xB405:
                info = LineInfo.from_buffer(packed)
                if info.offset >= 54:
                    raise OSError(errno.EINVAL, "Invalid argument")
                info.name = b"GPIO"
                if info.offset in self.held:
                    info.flags, info.consumer = USED, self.held[info.offset].encode()
            case 0xB407:
                asked = Request.from_buffer(packed)
                assert (asked.num_lines, asked.config.num_attrs) == (1, 0)
                if asked.offsets[0] in self.held:
                    raise OSError(errno.EBUSY, "Device or resource busy")
                self.configs.append(asked.config.flags)
                self.taken.append(asked.offsets[0])
                reader, writer = os.pipe()
                os.set_blocking(reader, False)
                self.pipes[reader] = writer
                asked.fd = reader
            case 0xB40D:
                self.configs.append(Config.from_buffer(packed).flags)
                writer = self.pipes[descriptor]
                for at_ns, rises in self.edges:
                    os.write(writer, bytes(Event(timestamp_ns=at_ns, id=1 if rises else 2)))
            case 0xB40E:
                values = Values.from_buffer(packed)
                assert values.mask == 1
                values.bits = self.driven.get(self.taken[-1], bool(self.configs[-1] & PULL_UP))
            case other:
                raise AssertionError(hex(other))

    def close(self):
        for writer in self.pipes.values():
            os.close(writer)
