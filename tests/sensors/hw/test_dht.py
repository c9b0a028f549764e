import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import pytest
from dht_wire import frame
from processes import eventually

from sensors.driver import (
    CutShort,
    Disconnected,
    DriverUnavailable,
    SensorError,
    TimedOut,
    WrongChecksum,
)
from sensors.hw.dht import FAILURES, DhtProcess, FakeDht, OutOfSheet, explain, signed

TESTS = Path(__file__).parents[2]
ROOT = TESTS.parent
GOOD = frame(2, 140, 1, 95).hex()
MEASURED = (pytest.approx(35.1), pytest.approx(65.2), "02 8c 01 5f ee")


@pytest.fixture
def process(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{TESTS}")
    made = []

    def make(what, **keys):
        program = [sys.executable, str(TESTS / "dht_wire.py"), what, str(tmp_path / "notes")]
        made.append(DhtProcess("DHT22", 4, "bitbang", program=program, **keys))
        return made[-1]

    make.notes = tmp_path / "notes"
    yield make
    for one in made:
        one.close()


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between opening and reading
        return False
    return state not in "ZX"


def test_measures_in_another_process(process):
    sensor = process(GOOD)
    assert sensor.measure() == MEASURED
    child = sensor._child
    assert is_running(child.pid)
    sensor.close()
    sensor.close()
    assert child.returncode == 0  # in order: the library could let go of the pin


def test_what_libraries_print_is_no_answer(process):
    assert process("chatty").measure() == MEASURED


def test_a_bad_frame_leaves_the_process_alone(process):
    sensor = process(f"{GOOD[:-2]}00")
    with pytest.raises(
        WrongChecksum, match=r"the answer on GPIO4 is damaged: its checksum is wrong \(02 8c 01 5f 00\)"
    ):
        sensor.measure()
    assert is_running(sensor._child.pid)


def test_a_hung_measurement_is_killed_with_its_helper_and_the_next_one_works(process):
    sensor = process("hang", measure_timeout_s=0.3)
    with pytest.raises(TimedOut, match=r"the measurement on GPIO4 hung for 0\.3 s and was ended"):
        sensor.measure()
    pids = json.loads(process.notes.read_text())
    eventually(lambda: not any(map(is_running, pids.values())))
    sensor._measure_timeout_s = 30
    assert sensor.measure() == MEASURED


def test_a_process_that_does_not_start_is_killed(process):
    with pytest.raises(TimedOut):
        process("mute", start_timeout_s=0.3).start()


def test_a_process_that_dies_is_told_and_started_again(process):
    sensor = process("die")
    with pytest.raises(SensorError, match=r"ended \(killed by signal 9\); it is started again"):
        sensor.measure()
    pids = json.loads(process.notes.read_text())
    eventually(lambda: not any(map(is_running, pids.values())))
    assert sensor.measure() == MEASURED


def test_a_process_killed_between_two_measurements_is_told(process):
    sensor = process(GOOD)
    sensor.start()
    os.kill(sensor._child.pid, signal.SIGKILL)
    with pytest.raises(SensorError, match="it is started again"):
        sensor.measure()
    assert sensor.measure() == MEASURED


def told(child):
    """The last argument of a child: when one before it has measured at the latest."""
    return float(Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")[-2])


def test_an_answer_behind_noise_is_not_taken_for_the_next_one():
    program = """
        import sys
        print("{}", flush=True)
        for number, _ in enumerate(iter(lambda: sys.stdin.buffer.read(1), b"")):
            noise = "" if number else "noise\\n"
            print(noise + '{"temperature": %d, "humidity": 50, "frame": ""}' % number, flush=True)
    """
    sensor = DhtProcess("DHT22", 4, program=[sys.executable, "-c", dedent(program)])
    try:
        with pytest.raises(SensorError, match="said b'noise'; it is started again"):
            sensor.measure()
        with pytest.raises(SensorError, match="said b'noise'"):  # the next process's own first
            sensor.measure()
    finally:
        sensor.close()


def test_the_sensor_has_its_pause_also_when_its_process_is_started_again(process):
    sensor = process("die")
    sensor.start()
    assert told(sensor._child) == -math.inf
    begun = time.monotonic()
    with pytest.raises(SensorError, match="it is started again"):
        sensor.measure()
    sensor.start()
    assert begun < told(sensor._child) < time.monotonic()


def closed_once(sensor, is_measuring):
    """Close it in the middle of a measurement; gives how that ended."""
    caught = []

    def measure():
        try:
            sensor.measure()
        except SensorError as error:
            caught.append(str(error))

    thread = threading.Thread(target=measure)
    thread.start()
    eventually(is_measuring)
    sensor.close()
    thread.join(10)
    return caught


def test_closing_ends_a_measurement_under_way(process):
    sensor = process("hang")
    assert closed_once(sensor, process.notes.exists) == ["the sensor on GPIO4 is closed"]
    with pytest.raises(SensorError, match="is closed"):
        sensor.measure()


def test_our_sigterm_handler_stays_ours(process):
    def ours(_signal, _frame):
        raise AssertionError("nobody sent a signal")

    before = signal.signal(signal.SIGTERM, ours)
    try:
        assert process("pulsein").measure() == MEASURED
        assert process.notes.read_text() == "True"  # there the library has replaced it
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_library_is_never_imported_here(process):
    program = f"""
        import sys
        from sensors.hw.dht import DhtProcess
        rig = [sys.executable, {str(TESTS / "dht_wire.py")!r}, {GOOD!r}, {str(process.notes)!r}]
        sensor = DhtProcess("DHT22", 4, "bitbang", program=rig)
        sensor.measure()
        sensor.close()
        print([name for name in sys.modules if name in ("adafruit_dht", "board", "pulseio")])
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_process_outlives_its_agent_by_a_second_at_most(process):
    """A left-over process would hold the pin and spoil the next agent's readings."""
    program = f"""
        import os, sys, threading
        from sensors.hw.dht import DhtProcess
        rig = [sys.executable, {str(TESTS / "dht_wire.py")!r}, "hang", {str(process.notes)!r}]
        threading.Thread(target=DhtProcess("DHT22", 4, "bitbang", program=rig).measure, daemon=True).start()
        while not os.path.exists({str(process.notes.with_suffix(".asked"))!r}):  # before, it would end in order
            threading.Event().wait(0.01)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pids = json.loads(process.notes.read_text())
    eventually(lambda: not any(map(is_running, pids.values())))


def queues():
    """The System V message queues of this computer, by id."""
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/msg").read_text().splitlines()[1:]}


def pulseio(process, what, **keys):
    sensor = process(what, **keys)
    sensor._argv[-1] = "pulseio"
    return sensor


def left_by(notes):
    left = json.loads(notes.read_text())
    return [name for name in ("child", "helper") if is_running(left[name])] + [
        q for q in queues() if q == left["queue"]
    ]


def test_the_librarys_helper_and_queue_are_gone_after_an_orderly_end(process):
    sensor = pulseio(process, "pulseio")
    assert sensor.measure() == MEASURED
    assert len(left_by(process.notes)) == 3  # there they are
    sensor.close()
    eventually(lambda: not left_by(process.notes))


def test_the_librarys_helper_and_queue_are_gone_after_a_kill(process):
    sensor = pulseio(process, "pulseio")
    assert sensor.measure() == MEASURED
    os.kill(sensor._child.pid, signal.SIGKILL)
    with pytest.raises(SensorError, match="it is started again"):
        sensor.measure()
    eventually(lambda: not left_by(process.notes))


def test_a_helper_that_hangs_is_killed_and_its_queue_removed(process):
    sensor = pulseio(process, "deaf", measure_timeout_s=1.0)
    with pytest.raises(TimedOut):
        sensor.measure()
    eventually(lambda: not left_by(process.notes))


def test_a_helper_that_hears_nothing_any_more_is_replaced(process, monkeypatch):
    monkeypatch.setattr("sensors.hw.dht.FRESH_AFTER", 1)
    sensor = pulseio(process, "worn")
    sensor.start()
    first = json.loads(process.notes.read_text())
    with pytest.raises(Disconnected):
        sensor.measure()
    eventually(lambda: not is_running(first["helper"]))
    assert sensor.measure() == MEASURED
    assert json.loads(process.notes.read_text())["helper"] != first["helper"]


def test_a_sensor_that_is_unplugged_keeps_its_helper_for_a_while(process):
    sensor = pulseio(process, "worn")
    with pytest.raises(Disconnected):
        sensor.measure()
    assert len(left_by(process.notes)) == 3


def test_only_failures_in_a_row_make_a_helper_suspect(process, monkeypatch):
    monkeypatch.setattr("sensors.hw.dht.FRESH_AFTER", 2)
    sensor = pulseio(process, "pulseio")
    sensor.start()
    child = sensor._child
    sensor._failed(child)
    assert sensor.measure() == MEASURED
    sensor._failed(child)
    assert sensor._child is child
    sensor._failed(child)
    assert sensor._child is None


def test_closing_during_a_hung_measurement_leaves_no_queue(process):
    sensor = pulseio(process, "deaf")
    sensor.start()
    assert closed_once(sensor, sensor._busy.locked) == ["the sensor on GPIO4 is closed"]
    eventually(lambda: not left_by(process.notes))


@pytest.mark.parametrize("what", ["pulseio", "deaf"])
def test_nothing_is_left_of_an_agent_that_was_killed(process, what):
    program = f"""
        import os, sys, threading
        from sensors.hw.dht import DhtProcess
        rig = [sys.executable, {str(TESTS / "dht_wire.py")!r}, {what!r}, {str(process.notes)!r}]
        sensor = DhtProcess("DHT22", 4, "pulseio", program=rig)
        sensor.start()
        measuring = threading.Thread(target=sensor.measure, daemon=True)
        measuring.start()
        while not sensor._busy.locked() and measuring.is_alive():  # it may be over before we look
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: not left_by(process.notes))


def test_a_process_that_has_nobody_to_answer_leaves_no_helper(process):
    """Its agent was killed while it opened the sensor."""
    rig = [sys.executable, str(TESTS / "dht_wire.py"), "hang", str(process.notes), "DHT22", "4", "bitbang"]
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(rig, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.DEVNULL, start_new_session=True):
        os.close(write)
        eventually(process.notes.exists)
        pids = json.loads(process.notes.read_text())
        eventually(lambda: not any(map(is_running, pids.values())))


def test_this_computer_measures_or_says_why_not_in_one_line():
    sensor, words = DhtProcess("DHT22", 4), ""
    try:
        sensor.start()
    except DriverUnavailable as error:
        words = str(error)
    sensor.close()
    assert "\n" not in words


EXPLANATIONS = [
    ("RuntimeError", None, "DHT sensor not found, check wiring", Disconnected, "check power, wiring and pin"),
    ("RuntimeError", None, "A full buffer was not returned. Try again.", CutShort, "stopped after 81 of 81"),
    ("RuntimeError", None, "Checksum did not validate. Try again.", WrongChecksum, "checksum is wrong (ab cd)"),
    ("RuntimeError", None, "Received unplausible data. Try again.", OutOfSheet, "above 100 % on GPIO4"),
    (
        "RuntimeError",
        None,
        "Timed out waiting for PulseIn message. Make sure libgpiod is installed.",
        DriverUnavailable,
        'pulses = "bitbang"',
    ),
    ("RuntimeError", None, "Message queue creation failed", DriverUnavailable, "message queue"),
    ("RuntimeError", None, "The platform library 'gpiod' was not found.", DriverUnavailable, "gpiod is missing; `"),
    ("ModuleNotFoundError", None, "No module named 'adafruit_dht'", DriverUnavailable, "adafruit_dht'); `"),
    ("NotImplementedError", None, "Board not supported", DriverUnavailable, "knows no GPIO4"),
    ("LookupError", None, "no pin D4 on board X", DriverUnavailable, "knows no GPIO4"),
    ("OSError", errno.EBUSY, "[Errno 16] Device or resource busy", DriverUnavailable, "GPIO4 is held by another"),
    ("PermissionError", errno.EACCES, "[Errno 13] Permission denied", DriverUnavailable, "group that owns it (gpio)"),
    ("FileNotFoundError", errno.ENOENT, "[Errno 2] /dev/gpiochip0", DriverUnavailable, "no GPIO chip for GPIO4"),
    ("IndexError", None, "pop from\nempty list", SensorError, "IndexError: pop from empty list"),
]


@pytest.mark.parametrize(("error", "number", "text", "kind", "words"), EXPLANATIONS)
def test_failures_are_told_apart(error, number, text, kind, words):
    pulses = 0 if kind is Disconnected else 81
    answer = {"error": error, "errno": number, "text": text, "pulses": pulses, "frame": "ab cd"}
    failure = explain(answer, "GPIO4")
    assert type(failure) is kind
    assert failure.raw == "ab cd" or kind not in {CutShort, OutOfSheet, WrongChecksum}
    assert words in str(failure)
    assert "\n" not in str(failure)


def test_a_few_pulses_are_an_answer_cut_short():
    """The library calls fewer than ten of them no sensor; no power and a wrong pin give none at all."""
    answer = {"error": "RuntimeError", "errno": None, "text": "DHT sensor not found, check wiring", "pulses": 7}
    failure = explain(answer, "GPIO4")
    assert type(failure) is CutShort
    assert "stopped after 7 of 81 pulses" in str(failure)
    assert type(explain(answer | {"pulses": 0}, "GPIO4")) is Disconnected


@pytest.mark.parametrize(
    ("kind", "sent", "library", "temperature"),
    [
        ("DHT11", frame(45, 0, 5, 0x00), 5.0, 5.0),
        ("DHT11", frame(45, 0, 5, 0x80), 5.0, -5.0),
        ("DHT11", frame(45, 0, 10, 0x81), 10.1, -10.1),
        ("DHT22", frame(1, 0xF4, 0x00, 0x85), 13.3, 13.3),
        ("DHT21", b"", -1.0, -1.0),
    ],
)
def test_a_dht11_has_its_sign(kind, sent, library, temperature):
    assert signed(kind, sent, library) == temperature


def test_a_dht11_whose_frame_is_not_seen_is_not_believed():
    with pytest.raises(DriverUnavailable, match="shows no frames"):
        signed("DHT11", b"", 5.0)


def test_every_failure_in_the_table_is_explained():
    assert {beginning for beginning, _, _ in FAILURES} <= {
        beginning for _, _, text, _, _ in EXPLANATIONS for beginning, _, _ in FAILURES if text.startswith(beginning)
    }


def test_the_fake_answers_in_order():
    fake = FakeDht([(21.0, 50.0), Disconnected("no answer")])
    assert fake.measure() == (21.0, 50.0, "")
    with pytest.raises(Disconnected):
        fake.measure()
    fake.close()
    assert fake.closed


def test_closing_before_the_start_is_harmless(process):
    sensor = process(GOOD)
    sensor.close()
    with pytest.raises(SensorError, match="is closed"):
        sensor.start()
