import subprocess
import sys
from pathlib import Path

import adafruit_dht
import pytest
from dht_wire import Wire, attach, frame, pulses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensors.hw import dht_child
from sensors.hw.dht_child import SPACING_S, failure, measure, open_device, serve


@pytest.fixture
def sensor(monkeypatch):
    def connect(kind, levels=()):
        wire = attach(Wire(levels), monkeypatch.setattr)
        return open_device(kind, 4, "bitbang"), wire

    return connect


DHT22_FRAME = frame(0x02, 0x8C, 0x01, 0x5F)
FRAMES = [
    ("DHT22", DHT22_FRAME, 35.1, 65.2),
    ("DHT22", frame(0x01, 0xF4, 0x80, 0x65), -10.1, 50.0),  # the sign is a bit of its own
    ("DHT22", frame(0x03, 0xE8, 0x00, 0x00), 0.0, 100.0),
    ("DHT22", frame(0, 0, 0, 0), 0.0, 0.0),  # right by its checksum
    ("DHT22", frame(0x01, 0xF4, 0x81, 0x01), -25.7, 50.0),  # 129 is frost as well
    ("DHT22", frame(0x01, 0xF4, 0xFF, 0x9B), -3266.7, 50.0),  # frost in two's complement, taken for a magnitude
    ("DHT11", frame(45, 0, 23, 4), 23.4, 45),
    ("DHT11", frame(45, 0, 5, 0x82), 5.2, 45),  # frost: the library does not know of its sign
    ("DHT21", DHT22_FRAME + bytes(3), 35.1, 65.2),  # three bytes more than its data sheet says
]


@pytest.mark.parametrize(("kind", "sent", "temperature", "humidity"), FRAMES)
def test_reads_what_was_sent(sensor, kind, sent, temperature, humidity):
    device, wire = sensor(kind, pulses(sent))
    assert measure(device) == {
        "temperature": pytest.approx(temperature),
        "humidity": pytest.approx(humidity),
        "pulses": 81 if len(sent) == 5 else 129,
        "frame": sent[:5].hex(" "),
    }
    assert wire.asked == 1
    assert wire.pin == "pin 4"


BAD = [  # what comes, the library's words, how many pulses it saw, the frame
    ([], "DHT sensor not found", 0, b""),
    (pulses(DHT22_FRAME)[:9], "DHT sensor not found", 7, b""),
    (pulses(DHT22_FRAME)[:40], "A full buffer was not returned", 39, b""),
    (pulses(DHT22_FRAME[:4] + b"\xef"), "Checksum did not validate", 81, DHT22_FRAME[:4] + b"\xef"),
    (pulses(frame(0x04, 0x00, 0x01, 0x5F)), "Received unplausible data", 81, frame(0x04, 0x00, 0x01, 0x5F)),
]


@pytest.mark.parametrize(("levels", "words", "count", "seen"), BAD)
def test_says_what_was_wrong_and_what_it_saw(sensor, levels, words, count, seen):
    device, _wire = sensor("DHT22", levels)
    answer = measure(device)
    assert answer["error"] == "RuntimeError"
    assert answer["text"].startswith(words)
    assert (answer["pulses"], answer["frame"]) == (count, seen.hex(" "))


def test_pulses_timed_too_short_are_zeros_with_a_right_checksum(sensor):
    device, _wire = sensor("DHT22", pulses(DHT22_FRAME, one_us=27))
    assert measure(device) == {"temperature": 0, "humidity": 0, "pulses": 81, "frame": "00 00 00 00 00"}


def test_a_dht21_that_sends_no_more_than_its_frame_is_read(sensor):
    """The library waits for three bytes more, and would take the greeting before the frame for its first bit."""
    device, _wire = sensor("DHT21", pulses(DHT22_FRAME))
    answer = measure(device)
    assert answer == {
        "temperature": pytest.approx(35.1),
        "humidity": pytest.approx(65.2),
        "pulses": 83,
        "frame": DHT22_FRAME.hex(" "),
    }
    plain = type(device)(4, use_pulseio=False)
    with pytest.raises(RuntimeError, match="Checksum did not validate"):
        plain.measure()


def test_what_was_seen_is_of_the_last_answer_only(sensor):
    device, wire = sensor("DHT22", pulses(DHT22_FRAME))
    assert measure(device)["frame"] == DHT22_FRAME.hex(" ")
    wire.now += 3
    wire.levels = []
    answer = measure(device)
    assert (answer["pulses"], answer["frame"]) == (0, "")


def test_nothing_was_seen_where_the_pin_could_not_be_asked(sensor, monkeypatch):
    device, wire = sensor("DHT22", pulses(DHT22_FRAME))
    assert measure(device)["frame"] == DHT22_FRAME.hex(" ")
    wire.now += 3
    monkeypatch.setattr(device, "_get_pulses_bitbang", lambda: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    answer = measure(device)
    assert (answer["errno"], answer["pulses"], answer["frame"]) == (5, None, "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(-400, 800))
def test_any_air_comes_through(sensor, humidity, temperature):
    sign = 0x8000 if temperature < 0 else 0
    data = [*humidity.to_bytes(2, "big"), *(sign | abs(temperature)).to_bytes(2, "big")]
    device, _wire = sensor("DHT22", pulses(frame(*data)))
    answer = measure(device)
    assert answer["temperature"] == pytest.approx(temperature / 10)
    assert answer["humidity"] == pytest.approx(humidity / 10)
    assert answer["frame"] == frame(*data).hex(" ")


class Timeline:
    """A clock that moves when somebody sleeps."""

    def __init__(self, wire):
        self.wire = wire
        self.slept = []

    def clock(self):
        return self.wire.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.wire.now += seconds


def test_the_sensor_has_its_pause_whoever_asks(sensor):
    device, wire = sensor("DHT22", pulses(DHT22_FRAME))
    timeline = Timeline(wire)
    answers = []

    def requests():
        yield "first"
        yield "at once"
        wire.now += 60
        yield "a minute later"

    serve(requests(), answers.append, lambda: device, clock=timeline.clock, sleep=timeline.sleep)
    assert answers[0] == {"queues": []}
    assert len(answers) == 4
    assert wire.asked == 3  # measured each time; the library would have repeated the first one
    assert timeline.slept == [0, pytest.approx(SPACING_S, abs=0.5), 0]


def test_the_sensor_has_its_pause_after_the_process_before_this_one(sensor):
    device, wire = sensor("DHT22", pulses(DHT22_FRAME))
    timeline, answers = Timeline(wire), []
    before = wire.now - 0.5
    serve(["x"], answers.append, lambda: device, measured_at=before, clock=timeline.clock, sleep=timeline.sleep)
    assert timeline.slept == [pytest.approx(SPACING_S - 0.5)]
    assert "temperature" in answers[1]


def test_a_failure_is_not_hidden_behind_the_old_value(sensor):
    device, wire = sensor("DHT22", pulses(DHT22_FRAME))
    timeline = Timeline(wire)
    answers = []

    def requests():
        yield "good"
        wire.levels = []
        yield "unplugged"
        yield "still unplugged"

    serve(requests(), answers.append, lambda: device, clock=timeline.clock, sleep=timeline.sleep)
    assert "temperature" in answers[1]
    assert [answer.get("text") for answer in answers[2:]] == ["DHT sensor not found, check wiring"] * 2


def test_what_opening_raises_is_the_only_answer():
    answers = []

    def no_library():
        raise ModuleNotFoundError("No module named 'adafruit_dht'")

    serve(["unheard"], answers.append, no_library)
    assert answers == [{"error": "ModuleNotFoundError", "errno": None, "text": "No module named 'adafruit_dht'"}]


def test_a_system_error_keeps_its_number():
    assert failure(OSError(16, "Device or resource busy")) == {
        "error": "OSError",
        "errno": 16,
        "text": "[Errno 16] Device or resource busy",
    }


def test_the_device_is_let_go(sensor):
    device, _wire = sensor("DHT22")
    left = []
    device.exit = lambda: left.append(True)
    serve([], lambda _answer: None, lambda: device)
    assert left == [True]


@pytest.mark.parametrize(("method", "options"), [("auto", {}), ("pulseio", {"use_pulseio": True})])
def test_the_library_decides_unless_told(sensor, monkeypatch, method, options):
    sensor("DHT22")
    given_options = {}
    real = adafruit_dht.DHT22

    def noting(pin, **keys):
        given_options.update(keys)
        return real(pin, use_pulseio=False)

    monkeypatch.setattr(adafruit_dht, "DHT22", noting)
    open_device("DHT22", 4, method)
    assert given_options == options


def test_a_pin_that_the_board_lacks_is_named(sensor):
    sensor("DHT22")
    with pytest.raises(LookupError, match="no pin D5 on board"):
        open_device("DHT22", 5, "auto")


def test_the_program_ends_with_its_input():
    program = [sys.executable, "-P", str(Path(dht_child.__file__)), "DHT22", "4", "auto"]
    done = subprocess.run(program, input=b"", capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1  # ready, or why not; what libraries print goes elsewhere
