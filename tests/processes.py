"""Services as processes of their own, for tests that talk to them from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 30  # on a busy machine; nothing waits so long when all is well


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def eventually(find):
    """Ask until the answer is true; gives it."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := find()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)
    return found


def environment(home):
    """Give an environment in which nothing of this user's own is found."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "PYTHONPATH"}}
    return {**kept, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}


def appliance(home, *arguments, stdin=None):
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *map(str, arguments)],
        env=environment(home),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        text=True,
        input=stdin,
    )


class Running:
    """A command that runs until it is told to stop."""

    def __init__(self, process):
        self.process = process

    def line(self):
        """Give the next line of its output."""
        return self.process.stdout.readline()

    def lines_until(self, text):
        """Give the lines up to the one that contains the text."""
        lines = []
        while not lines or text not in lines[-1]:
            lines.append(self.line())
            assert lines[-1], f"ended: {''.join(lines)}"
        return lines

    def stop(self, number=signal.SIGINT):
        """End it; gives exit code and complaints."""
        self.process.send_signal(number)
        _, complaints = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, complaints

    def children(self):
        """Give the ids of its child processes."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        return [int(child) for child in (task / "children").read_text().split()]


@contextmanager
def running(home, *arguments, program="appliance"):
    """Run a command beside the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", program, *map(str, arguments)],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Running(process)
        finally:
            process.kill()
