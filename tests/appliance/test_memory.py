"""Threads share what the C library takes from the system."""

import subprocess
import sys

ARENAS = """
import threading
from appliance.memory import share_arenas

def take():  # beyond what Python's own allocator takes, below what is mapped on its own
    kept.append(bytes(60_000))
    taken.wait()

told = share_arenas() if SHARES else None
kept, taken = [], threading.Barrier(5)
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
print(told, sum(" 00:00 0" in line and int(line[:12], 16) % 2**26 == 0 for line in open("/proc/self/maps")))
taken.wait()
"""


def arenas(shares):
    code = ARENAS.replace("SHARES", str(shares))
    told, count = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return told, int(count)


def test_threads_have_no_arenas_of_their_own():
    told, shared = arenas(shares=True)
    _, apart = arenas(shares=False)
    assert apart - shared >= (4 if told == "True" else 0)


def test_what_only_the_start_needed_is_given_back():
    code = """
from pathlib import Path
from appliance.memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kept = [b"%d" % n * 20_000 for n in range(100, 500)]  # below what is mapped on its own
last = b"last" * 15_000  # nothing before it goes by itself
high = resident()
del kept
told = give_back()
print(told, high - resident())
"""
    told, freed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == "True"
    assert int(freed) > 20_000_000
