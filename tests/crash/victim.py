"""The service that is to be killed, as a process of its own."""

import os
import signal
import sys
import time
from pathlib import Path

from tests.benchmarks.brokers import BrokerProcess, free_port

CONFIG = """\
[mqtt]
sys_interval_s = 0

[web]
port = 0

[limits]
max_inflight = 1_000
max_queued_messages = 100_000
max_queued_bytes = 100_000_000
max_retained_messages = 200_000
max_retained_bytes = 500_000_000

[store]
budget_mb_per_day = 100_000
"""  # the budget stretches groups, and these are no ordinary days


FILE = "appliance.toml"


def command(scratch: Path, data: Path, port: int, *changes: str) -> list[str]:
    """Give the command that runs it, its configuration being there."""
    named = ",".join(filter(None, changes))
    module = ["-m", "tests.crash.planted", named] if named else ["-m", "appliance"]
    more = ["--config", str(scratch / FILE), "--data", str(data), "--mqtt-port", str(port)]
    return [sys.executable, *module, "run", *more]


class Victim(BrokerProcess):
    """`appliance run` on one data directory, changed from outside in the ways that are named."""

    def __init__(self, scratch: Path, data: Path, *changes: str, env: dict[str, str] | None = None) -> None:
        (scratch / FILE).write_text(CONFIG)
        port = free_port()
        super().__init__("appliance", command(scratch, data, port, *changes), port, scratch, os.environ | (env or {}))

    def kill_while_it_stops(self, after_s: float) -> None:
        """Tell it to stop, and end it so much later."""
        self._process.send_signal(signal.SIGTERM)
        time.sleep(after_s)
        self.kill()

    def kill(self) -> None:
        """End it at once, as nothing can prevent."""
        self._process.kill()
        self._process.wait()
