"""A thread in the state of one that waits for a disk which does not answer, without such a disk."""

import ctypes
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from processes import eventually

CLONE_VFORK = 0x4000
SYS_CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]


@contextmanager
def waiting_for_a_child():
    """Give the number of a thread that cannot be interrupted until the block ends, as after vfork(2)."""
    numbers = []

    def wait():
        numbers.append(threading.get_native_id())
        # The child has memory of its own; if another thread held Python's lock at this moment, it gets no further.
        child = ctypes.CDLL(None).syscall(SYS_CLONE, CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            time.sleep(60)
            os._exit(0)
        os.waitpid(child, 0)

    def child():
        text = Path(f"/proc/self/task/{numbers[0]}/children").read_text() if numbers else ""
        return int(text) if text else None

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(child)
    try:
        yield numbers[0]
    finally:
        os.kill(child(), signal.SIGKILL)
        thread.join()
