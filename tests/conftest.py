"""Trip-wires around every test: what a test starts it ends, and nothing listens beyond loopback.

A thread, asyncio task, child process or socket left over fails the test that left it. Fixtures of a wider
scope (one broker for a module) are set up before the wires are laid, and are checked at the end of the run.
"""

import asyncio.runners
import ipaddress
import os
import socket
import threading
import time
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("untimed")

PATIENCE_S = 20.0  # for what is ending by itself: a thread that was told to stop, a child being reaped
NAMES_OF_LOOPBACK = {"localhost"}

_bound_beyond_loopback: list[str] = []
_tasks_left_over: list[str] = []
_skipped: list[str] = []

BEFORE = pytest.StashKey[list[set]]()
FAULTS = pytest.StashKey[list[str]]()


# --- what is there now ---


def threads():
    return {f"thread {t.name}": t.ident for t in threading.enumerate() if t is not threading.main_thread()}


def children():
    """Processes whose parent is this one, by number; ended ones that nobody waited for count too."""
    found = {}
    for process in Path("/proc").iterdir():  # a glob asks whether there is such a file, and stumbles when it just ended
        if not process.name.isdigit():
            continue
        try:
            name, _, rest = (process / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(rest.split()[1]) == os.getpid():
            found[f"process {process.name} {name.partition('(')[2]}"] = process.name
    return found


def sockets():
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = link.readlink()
        except FileNotFoundError:
            continue  # the descriptor of this very listing
        if str(target).startswith("socket:"):
            found[f"{target} (descriptor {link.name})"] = str(target)
    return found


WIRES = (threads, children, sockets)


def left_over(before):
    """What is there now and was not before; waits a little for what is on its way out."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = [
            name
            for wire, known in zip(WIRES, before, strict=True)
            for name, identity in wire().items()
            if identity not in known
        ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def snapshot():
    return [set(wire().values()) for wire in WIRES]


# --- the wires ---


@pytest.fixture(autouse=True)
def _nothing_is_left_over():
    _bound_beyond_loopback.clear()
    _tasks_left_over.clear()
    before = snapshot()
    yield
    found = left_over(before)
    found += [f"asyncio task {task}" for task in _tasks_left_over]
    assert not found, "left over by this test: " + "; ".join(found)
    assert not _bound_beyond_loopback, "bound beyond loopback: " + "; ".join(_bound_beyond_loopback)


def is_loopback(family, address):
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return True  # Unix and netlink sockets stay on this machine
    host = address[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
        return (getattr(found, "ipv4_mapped", None) or found).is_loopback
    except ValueError:
        return host in NAMES_OF_LOOPBACK


def _guard_sockets():
    """A stream counts once it listens, because a client may bind its own end to any address; a datagram at once."""
    bind, listen = socket.socket.bind, socket.socket.listen

    def refuse(self, address):
        if not is_loopback(self.family, address):
            _bound_beyond_loopback.append(str(address))
            raise AssertionError(f"a test opens a socket beyond loopback: {address}")

    def guarded_bind(self, address, /):
        if self.type == socket.SOCK_DGRAM:
            refuse(self, address)
        return bind(self, address)

    def guarded_listen(self, *backlog):
        refuse(self, self.getsockname())
        return listen(self, *backlog)

    socket.socket.bind, socket.socket.listen = guarded_bind, guarded_listen


def _guard_tasks():
    """asyncio.run ends what is left of its tasks without a word; here it is written down first."""
    cancel = asyncio.runners._cancel_all_tasks

    def guarded(loop):
        _tasks_left_over.extend(repr(task) for task in asyncio.all_tasks(loop) if not task.done())
        cancel(loop)

    asyncio.runners._cancel_all_tasks = guarded


_guard_sockets()
_guard_tasks()


# --- the run as a whole ---


def pytest_sessionstart(session):
    session.config.stash[BEFORE] = snapshot()


def pytest_collection_modifyitems(config, items):
    """Long tests run only when asked for by an expression of markers."""
    if config.option.markexpr:
        return
    asked_for = [item for item in items if item.get_closest_marker("soak")]
    if asked_for:
        config.hook.pytest_deselected(items=asked_for)
        items[:] = [item for item in items if item not in asked_for]


def pytest_collectreport(report):
    if report.skipped:
        _skipped.append(f"{report.nodeid}: {report.longrepr[2]}")


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail") and "hardware" not in report.keywords:
        _skipped.append(f"{report.nodeid}: {report.longrepr[2]}")


def _faults(config):
    """What makes a run fail though each test passed."""
    faults = [f"left over at the end of the run: {name}" for name in left_over(config.stash[BEFORE])]
    if os.environ.get("CI") == "true":
        faults += [f"skipped where nothing may be: {name}" for name in _skipped]
    return faults


def pytest_sessionfinish(session, exitstatus):
    passed = exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    session.config.stash[FAULTS] = faults = _faults(session.config) if passed else []
    if faults:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    for fault in config.stash.get(FAULTS, []):
        terminalreporter.write_line(fault, red=True)
