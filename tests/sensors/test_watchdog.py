"""What systemd's watchdog hears of an agent that gets on, that hangs, and that waits for its disk."""

import threading
import time
from itertools import pairwise

import pytest
from processes import eventually
from vforked import waiting_for_a_child

from appliance import notify
from appliance.thread_state import WAITS_FOR_DISK
from sensors.watchdog import LOOKS, Watchdog


@pytest.fixture
def heard(monkeypatch):
    words = []
    monkeypatch.setattr(notify, "watchdog", words.append)
    return words


def test_who_gets_on_says_so_when_it_is_due(heard):
    watchdog = Watchdog(10.0)
    for now in (100.0, 105.0, 109.9, 110.0, 125.0):
        watchdog.turned(now, lambda now=now: f"at {now:g}")
    assert heard == ["at 100", "at 110", "at 125"]
    assert watchdog.next_deadline() == 135.0


def test_where_there_is_no_watchdog_nothing_is_said(heard):
    with Watchdog(None) as watchdog:
        watchdog.turned(100.0, lambda: "never asked")
        assert watchdog.next_deadline() is None
        assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    assert heard == []


@pytest.mark.parametrize(("state", "is_spoken_for"), [("S", False), ("R", False), ("", False), (WAITS_FOR_DISK, True)])
def test_who_hangs_is_spoken_for_only_while_it_is_the_disk(heard, state, is_spoken_for):
    asked = []
    with Watchdog(0.01, state=lambda thread: asked.append(thread) or state):
        eventually(lambda: len(asked) > 2)
    assert set(asked) == {threading.get_native_id()}
    assert bool(heard) is is_spoken_for
    assert all("the disk has not answered for 0 s: wait" in text for text in heard)


def test_who_gets_round_needs_nobody(heard):
    asked = []
    with Watchdog(60.0, state=lambda thread: asked.append(thread) or WAITS_FOR_DISK) as watchdog:
        watchdog.turned(100.0, lambda: "well")
        time.sleep(0)
    assert (heard, asked) == (["well"], [])


@pytest.mark.parametrize("phase", [0.0, 0.6, 1.2, 1.8, 2.4])
@pytest.mark.parametrize("got_round_at", [0.0, 5.0, 9.9])
def test_a_disk_is_spoken_for_in_time_however_late_it_began_to_hang(monkeypatch, got_round_at, phase):
    """systemd allows two intervals from word to word, wherever between two words the thread got round last."""
    now, spoke_at = 0.0, []
    monkeypatch.setattr(notify, "watchdog", lambda _: spoke_at.append(now))
    watchdog = Watchdog(10.0, state=lambda _: WAITS_FOR_DISK, clock=lambda: now)
    for now in sorted({0.0, got_round_at}):
        watchdog.turned(now, str)
    for look in range(24):
        now = got_round_at + phase + look * 10.0 / LOOKS
        watchdog._look(10.0)
    assert spoke_at[0] == 0.0
    assert max(after - before for before, after in pairwise(spoke_at)) < 2 * 10.0
    assert spoke_at[-1] == now


def test_a_thread_that_the_kernel_does_not_let_go_is_spoken_for(heard):
    """As for a disk that hangs, but with a child; the watchdog hears nothing once that is over."""
    with waiting_for_a_child() as thread:
        watchdog = Watchdog(0.01)
        watchdog._watched = thread
        watching = threading.Thread(target=watchdog._watch, args=(0.01,))
        watching.start()
        eventually(lambda: heard)
    watchdog._ended.set()
    watching.join()
