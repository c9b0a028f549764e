import subprocess
import sys
from threading import Event, Thread, get_native_id

import pytest

from appliance.store import pulse
from appliance.store.pulse import STUCK_S, WAITS_FOR_DISK, Pulse, thread_state


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("seconds", "stuck"), [(5.0, False), (STUCK_S - 0.1, False), (STUCK_S, True)])
def test_a_piece_of_work_may_take_a_slow_flush_and_not_a_minute(seconds, stuck):
    clock = Clock()
    seen = Pulse(clock, state=lambda _: "S")
    with seen:
        clock.now += seconds
        assert seen.is_stuck() is stuck
    assert not seen.is_stuck()


def test_who_waits_for_something_to_do_is_not_stuck():
    clock = Clock()
    seen = Pulse(clock, state=lambda _: "S")
    with seen:
        pass
    clock.now += 1_000.0
    assert not seen.is_stuck()


def test_a_disk_that_hangs_is_not_the_fault_of_the_thread():
    clock = Clock()
    asked = []
    seen = Pulse(clock, state=lambda thread: asked.append(thread) or WAITS_FOR_DISK)
    with seen:
        clock.now += 1_000.0
        assert not seen.is_stuck()
    assert asked == [get_native_id()]


def test_a_thread_that_waits_for_ever_is_found():
    clock = Clock()
    seen = Pulse(clock)
    begun, end = Event(), Event()

    def work():
        with seen:
            begun.set()
            end.wait()

    thread = Thread(target=work)
    thread.start()
    begun.wait()
    clock.now += STUCK_S
    try:
        assert seen.is_stuck()
    finally:
        end.set()
        thread.join()


def test_a_thread_that_an_error_ended_is_found_and_one_that_is_done_is_not():
    seen = Pulse(Clock())
    with seen.life():
        assert not seen.is_stuck()
    assert not seen.is_stuck()
    with pytest.raises(RuntimeError), seen.life():
        raise RuntimeError
    assert seen.is_stuck()


def test_the_state_of_a_thread_is_the_kernel_s():
    assert thread_state(get_native_id()) == "R"
    assert thread_state(2**22 + 1) == ""


def test_a_name_with_brackets_does_not_lead_astray():
    program = "import threading; from appliance.store.pulse import thread_state as state\n"
    program += "open('/proc/self/comm', 'w').write('a) Z (b'); print(state(threading.get_native_id()))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "R"
    assert pulse.WAITS_FOR_DISK == "D"
