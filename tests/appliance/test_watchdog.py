"""What systemd hears while the service waits for its end."""

import asyncio
import logging
import os
import signal

import pytest
from processes import PATIENCE_S

from appliance import notify, watchdog
from appliance.watchdog import Watchdog


class Patient:
    """Is watched: gets on or not, turn by turn, then has the process ended."""

    def __init__(self, *turns):
        self.turns = list(turns)

    def gets_on(self):
        if len(self.turns) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.turns.pop(0) if self.turns else True

    def summary(self):
        return f"{len(self.turns)} left"


@pytest.fixture
def heard(monkeypatch):
    words = []
    for name in ("ready", "watchdog", "stopping"):
        monkeypatch.setattr(notify, name, lambda status="", name=name: words.append((name, status)))
    return words


def keep(patient, interval_s=0.001):
    async def waits():
        watchdog = Watchdog(interval_s)
        if patient is not None:
            watchdog.watch(patient)
        await watchdog.until_signal()
        watchdog.end()

    asyncio.run(waits())


def test_a_service_that_gets_on_is_told_of_with_how_it_is(heard):
    keep(Patient(True, True))
    assert heard == [("ready", "2 left"), ("watchdog", "1 left"), ("watchdog", "0 left"), ("stopping", "stopping")]


def test_of_one_that_does_not_get_on_nothing_is_told_and_the_log_says_so_once(heard, caplog):
    keep(Patient(False, False, True))
    assert [name for name, _ in heard] == ["ready", "watchdog", "stopping"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "does not get on" in record.message


def test_while_it_starts_the_watchdog_hears_that_the_loop_turns(heard, monkeypatch):
    def watchdog(status=""):
        heard.append(("watchdog", status))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(notify, "watchdog", watchdog)
    keep(None)
    assert heard[0] == ("watchdog", "")


def test_where_nobody_watches_nothing_is_told_until_the_end(heard, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    patient = Patient(True)

    async def waits():
        watchdog = Watchdog()
        watchdog.watch(patient)
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        await watchdog.until_signal()

    asyncio.run(waits())
    assert heard == [("ready", "1 left")]


def test_sighup_asks_for_reading_again_and_ends_nothing():
    async def scenario():
        asked = asyncio.Event()
        stopped = asyncio.ensure_future(Watchdog().until_signal(asked.set))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        assert not stopped.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped, PATIENCE_S)

    asyncio.run(scenario())


def test_sighup_of_a_terminal_that_was_closed_is_a_reason_to_stop(monkeypatch):
    there = {0: True, 1: False, 2: True}
    monkeypatch.setattr(watchdog, "is_terminal", there.get)

    async def scenario():
        asked = asyncio.Event()
        stopped = asyncio.ensure_future(Watchdog().until_signal(asked.set))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)  # somebody's `kill -HUP`: the terminal is there
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        asked.clear()
        there[0] = False
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(stopped, PATIENCE_S)
        assert not asked.is_set()

    asyncio.run(scenario())


def test_a_terminal_that_is_closed_is_none():
    ours, theirs = os.openpty()
    try:
        assert watchdog.is_terminal(theirs)
        os.close(ours)
        ours = None
        assert not watchdog.is_terminal(theirs)
    finally:
        for fd in (ours, theirs):
            if fd is not None:
                os.close(fd)
    assert not watchdog.is_terminal(theirs)
