"""A DHT sensor's wire, for the real adafruit_dht: its waveform over simulated time.

Of what the library uses, two things are replaced: the pin (DigitalInOut) and the clock (time). Run as a program, this
file is a child process like sensors/hw/dht_child.py, with such a wire on GPIO4; the first argument says what happens:
a frame in hexadecimal, or one of the names in TROUBLES.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

LOOK_S = 3e-6  # what a look at the pin or at the clock costs, as on a Pi


def frame(*data):
    """The bytes that a sensor sends: its data and their sum."""
    return bytes([*data, sum(data) % 256])


def pulses(sent, *, zero_us=27, one_us=70):
    """Microseconds that the wire keeps each level, high first, from its release on: the answer to a start signal."""
    levels = [25, 80, 80]
    for byte in sent:
        for bit in f"{byte:08b}":
            levels += [50, one_us if bit == "1" else zero_us]
    return [*levels, 50]


class Wire:
    """Stands in for DigitalInOut and for the module time: what the pin shows depends on when it is looked at."""

    def __init__(self, levels=()):
        self.levels = list(levels)
        self.now = 1000.0
        self.released_at = None
        self.asked = 0  # start signals seen
        self.pull = None

    def monotonic(self):
        self.now += LOOK_S
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def __call__(self, pin):
        self.pin = pin
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def __setattr__(self, name, value):
        if name == "direction":
            import adafruit_dht

            self.released_at = self.now if value is adafruit_dht.Direction.INPUT else None
            self.asked += self.released_at is not None
        elif name != "value":
            super().__setattr__(name, value)

    def __getattr__(self, name):
        if name != "value":
            raise AttributeError(name)
        since_us = (self.now - self.released_at) * 1e6
        for position, length_us in enumerate(self.levels):
            if since_us < length_us:
                return position % 2 == 0
            since_us -= length_us
        self.now += 0.01  # nothing more comes; the rest of the library's quarter of a second need not be looked through
        return True  # the pull-up


def write_down(notes, text):
    """Leave a note: it is there whole or not at all, for whoever waits for the file."""
    fresh = notes.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(notes)


def attach(wire, patch):
    """Put a wire between the library and the pin; `patch` sets an attribute of an object."""
    import adafruit_dht
    import board

    patch(adafruit_dht, "DigitalInOut", wire)
    patch(adafruit_dht, "time", wire)
    patch(board, "D4", "pin 4", False)
    return wire


def hang(wire, notes):
    """The first process ignores SIGTERM, starts a helper and hangs once it is asked; the next one works."""
    if notes.exists():
        wire.levels = pulses(frame(2, 140, 1, 95))
        return
    helper = subprocess.Popen(["sleep", "600"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_down(notes, json.dumps({"child": os.getpid(), "helper": helper.pid}))

    def measure(_seconds):
        write_down(notes.with_suffix(".asked"), "")
        threading.Event().wait()

    wire.sleep = measure


def die(wire, notes):
    """The first process ends in the middle of a measurement, as by a fault of a C library; its helper stays."""
    if notes.exists():
        wire.levels = pulses(frame(2, 140, 1, 95))
        return
    helper = subprocess.Popen(["sleep", "600"])
    write_down(notes, json.dumps({"child": os.getpid(), "helper": helper.pid}))
    wire.sleep = lambda _seconds: os.kill(os.getpid(), signal.SIGKILL)


def pulsein(wire, notes):
    """The import that replaces the SIGTERM handler, for real."""
    from adafruit_blinka.microcontroller.bcm283x.pulseio import PulseIn

    write_down(notes, str(signal.getsignal(signal.SIGTERM) is PulseIn._signal_handler))
    wire.levels = pulses(frame(2, 140, 1, 95))


def chatty(wire, _notes):
    """A library that prints, as Blinka does."""
    print("WARNING: this is no answer")
    os.write(1, b"nor is this\n")
    wire.levels = pulses(frame(2, 140, 1, 95))


def mute(_wire, _notes):
    """A process that does not even start."""
    threading.Event().wait()


class Helper:
    """Blinka's helper for PulseIn, which times pulses on a real pin: a process that answers on the message queue."""

    def __init__(self, key, levels):
        import sysv_ipc

        self.queue = sysv_ipc.MessageQueue(key)
        self.levels = levels
        self.pulses = []

    def serve(self):
        self.queue.send(b"!", type=2)
        while True:
            order = self.queue.receive(type=1)[0]
            if order.startswith(b"t"):  # the start signal; the first pulse is the sensor's own
                self.pulses = self.levels[1:][-81:]
            elif order == b"l":
                self.queue.send(b"%d" % len(self.pulses), type=2)
            elif order == b"^":
                self.queue.send(b"%d" % (self.pulses.pop(0) if self.pulses else -1), type=2)


class DeafHelper(Helper):
    """One that stops answering: the library waits for it without a limit."""

    def serve(self):
        self.queue.send(b"!", type=2)
        threading.Event().wait()


class WornHelper(Helper):
    """One that hears no pulses any more."""

    def __init__(self, key, _levels):
        super().__init__(key, [])


def use_helper(notes, kind):
    """Have the library time pulses with its PulseIn, on a real message queue, and with a helper of ours."""
    import adafruit_dht
    import board
    from adafruit_blinka.microcontroller.bcm283x.pulseio import PulseIn as library  # noqa: N813 it is a module

    def start(command):
        key = command[command.index("--queue") + 1]
        helper = subprocess.Popen([sys.executable, __file__, kind.__name__, key])
        write_down(notes, json.dumps({"child": os.getpid(), "helper": helper.pid, "queue": library.queues[0].id}))
        return helper

    receive = library.PulseIn._wait_receive_msg
    library.PulseIn._wait_receive_msg = lambda pulses, timeout=0: receive(pulses, timeout and 20)  # ours starts slowly
    library.subprocess = SimpleNamespace(Popen=start)
    adafruit_dht.PulseIn = library.PulseIn
    board.D4 = SimpleNamespace(id=4)


def pulseio(_wire, notes):
    """The library with its helper and its message queue, all in order."""
    use_helper(notes, Helper)


def deaf(_wire, notes):
    """The library's helper hangs, and the library waits for it in C."""
    use_helper(notes, DeafHelper)


def worn(_wire, notes):
    """The first process's helper hears nothing; the next one does."""
    use_helper(notes, Helper if notes.exists() else WornHelper)


TROUBLES = {trouble.__name__: trouble for trouble in (hang, die, pulsein, chatty, mute, pulseio, deaf, worn)}
HELPERS = {helper.__name__: helper for helper in (Helper, DeafHelper, WornHelper)}

if __name__ == "__main__" and sys.argv[1] in HELPERS:
    HELPERS[sys.argv[1]](int(sys.argv[2]), pulses(frame(2, 140, 1, 95))).serve()
elif __name__ == "__main__":
    from sensors.hw import dht_child

    what, notes, *arguments = sys.argv[1:]
    wire = Wire()
    open_device = dht_child.open_device

    def open_on_wire(kind, pin, method):
        attach(wire, lambda owner, name, value, *_: setattr(owner, name, value))
        if what in TROUBLES:
            TROUBLES[what](wire, Path(notes))
        else:
            wire.levels = pulses(bytes.fromhex(what))
        return open_device(kind, pin, method)

    dht_child.open_device = open_on_wire
    dht_child.main(*arguments)
