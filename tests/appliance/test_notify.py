"""What systemd hears, and silence everywhere else."""

import os
import sys
from types import ModuleType

import pytest

from appliance import notify


@pytest.fixture
def heard(monkeypatch):
    """Stand in for systemd-python, which is not there on every computer."""
    said = []
    package, daemon = ModuleType("systemd"), ModuleType("systemd.daemon")
    daemon.notify = said.append
    package.daemon = daemon
    monkeypatch.setitem(sys.modules, "systemd", package)
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    return said


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (notify.ready, "READY=1"),
        (lambda: notify.ready("5 sensors"), "READY=1\nSTATUS=5 sensors"),
        (notify.stopping, "STOPPING=1"),
        (lambda: notify.status("a\nb"), "STATUS=a b"),
        (notify.watchdog, "WATCHDOG=1"),
        (lambda: notify.watchdog("5 clients"), "WATCHDOG=1\nSTATUS=5 clients"),
    ],
)
def test_words(heard, say, words):
    say()
    assert heard == [words]


def test_nothing_is_said_without_systemd(heard, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.ready("x")
    assert heard == []


def test_without_its_library_the_log_says_once_what_to_install(monkeypatch, caplog):
    notify._tell_of_the_library.cache_clear()
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setitem(sys.modules, "systemd", None)
    monkeypatch.setitem(sys.modules, "systemd.daemon", None)
    notify.ready("x")
    notify.watchdog()
    (record,) = caplog.records
    assert "python3-systemd" in record.message


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    "trouble",
    [FileNotFoundError(2, "No such file or directory"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates")],
)
def test_a_systemd_that_hears_nothing_ends_nothing_and_the_log_says_so_once(monkeypatch, caplog, trouble):
    def deaf(_):
        raise trouble

    notify._tell_of_deafness.cache_clear()
    monkeypatch.setattr(sys.modules["systemd.daemon"], "notify", deaf)
    notify.ready("x")
    notify.watchdog()
    (record,) = caplog.records
    assert record.message == f"systemd cannot be told how the service is: {trouble}"


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),  # systemd watches another process
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
    ],
)
def test_watchdog_interval(monkeypatch, environment, interval_s):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert notify.watchdog_interval_s() == interval_s


def test_no_watchdog_without_systemd(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    assert notify.watchdog_interval_s() is None
