"""Cases 27 to 29 and 68, told by the steps that the broker takes and not by a clock; see tests/steps.py."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from raw import ACCEPTED, connect, puback, publish

ROOT = Path(__file__).parents[2]
MIB = 1_048_576
PATIENCE_S = 30.0


def run(which):
    command = [sys.executable, "-m", "tests.steps", which]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def growth():
    return run("growth")


MEASURED = {  # what -> most steps for one of the largest size
    "c27 a filter of so many levels": 5,
    "c27 a name of so many levels": 1,
    "c27 a topic that so many readers' filters nest around": 20,
    "c28 wildcards against so many retained topics": 12,
    "c29 so many filters that share their beginnings": 100,
    "c29 a filter of so many wildcards against a name": 5,
}


@pytest.mark.parametrize("what", MEASURED)
def test_c27_c28_c29_the_work_grows_no_faster_than_what_there_is(growth, what):
    (_, least), _, (size, most) = growth[what]
    assert most <= MEASURED[what] * size
    assert most <= 4.4 * least + 100  # four times the size
    assert set(growth) == set(MEASURED)


def test_i68_memory_that_is_missing_at_any_step_costs_that_link_and_no_other():
    """Each line that runs for one client's packets finds no memory once; honest clients must not notice."""
    found = run("memory")
    assert found["steps"] > 500
    assert found["wrong"] == []


def test_i68_memory_that_is_missing_while_the_database_is_opened_leaves_it_for_the_next_try():
    found = run("opening")
    assert found["steps"] > 300
    assert found["wrong"] == []


def test_i68_a_service_at_the_end_of_its_memory_serves_on(own):
    """The limits allow more than there is: who asks for it is closed, and what is given back is used again."""
    service = own("max_retained_bytes = 1_000_000_000\nmax_retained_messages = 100_000\n")
    inside = service.client("inside")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{service.pid}/status").read_text().splitlines())
    room = int(status["VmSize"].split()[0]) * 1024 + 48 * MIB
    resource.prlimit(service.pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    greedy = service.client("greedy")
    payload, kept = bytes(200_000), 0
    for number in range(600):  # 120 MB
        greedy.send(publish(f"i68/{number}", payload, 1, 1, retain=True))
        if greedy.packet() == puback(1):
            kept += 1
            continue
        greedy.close()
        inside.silent()
        greedy = service.link()
        greedy.send(connect("greedy"))
        if greedy.packet() != ACCEPTED:
            break
    assert 100 < kept < 600
    inside.silent()
    resource.prlimit(service.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    cleaner = service.client("cleaner")
    cleaner.send(publish("i68/0", b"", 1, 1, retain=True))
    patient_until = time.monotonic() + PATIENCE_S
    while cleaner.packet() != puback(1):  # the store may still be finding out that it can write again
        assert time.monotonic() < patient_until
        cleaner = service.client("cleaner")
        cleaner.send(publish("i68/0", b"", 1, 1, retain=True))
    for number in range(1, 600):
        cleaner.ask(publish(f"i68/{number}", b"", 1, 1, retain=True), puback(1))
    inside.silent()
    errors = [line for line in service.log.read_text().splitlines() if line.endswith("Error")]
    assert set(errors) == {"MemoryError"}
