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
