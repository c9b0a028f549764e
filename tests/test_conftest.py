"""Negative controls of the trip-wires: each planted leftover fails its test, and a clean test passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = """
import asyncio, socket, threading

def test_planted(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
    thread = threading.Thread(target=print)
    thread.start()
    asyncio.run(asyncio.sleep(0))
    thread.join()
"""

THREAD = """
import threading

def test_planted():
    threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
"""

TASK = """
import asyncio

async def main():
    main.task = asyncio.create_task(asyncio.sleep(3600), name="forgotten")
    await asyncio.sleep(0)

def test_planted():
    asyncio.run(main())
"""

CHILD = """
import subprocess, sys

CHILDREN = []

def test_planted():
    CHILDREN.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
"""

SOCKET = """
import socket

KEPT = []

def test_planted():
    KEPT.append(socket.create_server(("127.0.0.1", 0)))
"""

BEYOND_LOOPBACK = """
import contextlib, socket

def test_planted():
    with contextlib.suppress(AssertionError), socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
"""

DATAGRAM = """
import contextlib, socket

def test_planted():
    with contextlib.suppress(AssertionError), socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("", 0))
"""

BY_A_WIDER_FIXTURE = """
import socket, pytest

KEPT = []

@pytest.fixture(scope="module")
def server():
    KEPT.append(socket.create_server(("127.0.0.1", 0)))

def test_planted(server):
    pass
"""

SKIP = """
import pytest

def test_planted():
    pytest.skip("no time")
"""

SKIPPED_FILE = """
import pytest

pytest.skip("no time", allow_module_level=True)
"""

HARDWARE = """
import pytest

@pytest.mark.hardware
def test_planted():
    pytest.skip("no Pi")
"""

SOAK = """
import pytest

@pytest.mark.soak
def test_planted():
    raise AssertionError("nobody asked for it")
"""


@pytest.fixture
def run(tmp_path):
    wires = Path(__file__).with_name("conftest.py").read_text()
    assert wires.count("PATIENCE_S = 20.0") == 1
    (tmp_path / "conftest.py").write_text(wires.replace("PATIENCE_S = 20.0", "PATIENCE_S = 0.2"))
    markers = "markers =\n hardware: wired\n soak: long\n"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n{markers}")

    def run(test, *arguments, ci=False):
        (tmp_path / "test_it.py").write_text(test)
        env = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path, env=env | ({"CI": "true"} if ci else {}), capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_a_clean_test_passes(run):
    assert run(CLEAN, ci=True).returncode == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (THREAD, "left over by this test: thread forgotten"),
        (TASK, "left over by this test: asyncio task <Task pending name='forgotten'"),
        (CHILD, "left over by this test: process "),
        (SOCKET, "left over by this test: socket:["),
        (BEYOND_LOOPBACK, "bound beyond loopback: ('0.0.0.0', "),
        (DATAGRAM, "bound beyond loopback: ('', 0)"),
        (BY_A_WIDER_FIXTURE, "left over at the end of the run: socket:["),
    ],
)
def test_what_is_left_over_fails_the_run(run, test, said):
    result = run(test)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert said in result.stdout


@pytest.mark.parametrize("test", [SKIP, SKIPPED_FILE])
def test_a_skip_fails_the_run_where_everything_is_installed(run, test):
    assert run(test).returncode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    result = run(test, ci=True)
    assert result.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert "skipped where nothing may be" in result.stdout


def test_a_pi_may_be_missing(run):
    assert run(HARDWARE, ci=True).returncode == pytest.ExitCode.OK


def test_long_tests_run_when_asked_for(run):
    assert run(SOAK).returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert run(SOAK, "-m", "soak").returncode == pytest.ExitCode.TESTS_FAILED
