from threading import Event, Thread, get_native_id

import pytest

from appliance.store.stall import STUCK_S, StallDetector
from appliance.thread_state import WAITS_FOR_DISK


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("seconds", "stuck"), [(5.0, False), (STUCK_S - 0.1, False), (STUCK_S, True)])
def test_a_piece_of_work_may_take_a_slow_flush_and_not_a_minute(seconds, stuck):
    clock = Clock()
    seen = StallDetector(clock, state=lambda _: "S")
    with seen:
        clock.now += seconds
        assert seen.is_stuck() is stuck
    assert not seen.is_stuck()


def test_who_waits_for_something_to_do_is_not_stuck():
    clock = Clock()
    seen = StallDetector(clock, state=lambda _: "S")
    with seen:
        pass
    clock.now += 1_000.0
    assert not seen.is_stuck()


def test_a_disk_that_hangs_is_not_the_fault_of_the_thread():
    clock = Clock()
    asked = []
    seen = StallDetector(clock, state=lambda thread: asked.append(thread) or WAITS_FOR_DISK)
    with seen:
        clock.now += 1_000.0
        assert not seen.is_stuck()
    assert asked == [get_native_id()]


def test_a_thread_that_waits_for_ever_is_found():
    clock = Clock()
    seen = StallDetector(clock)
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
    seen = StallDetector(Clock())
    with seen.life():
        assert not seen.is_stuck()
    assert not seen.is_stuck()
    with pytest.raises(RuntimeError), seen.life():
        raise RuntimeError
    assert seen.is_stuck()
