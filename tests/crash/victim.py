"""The service that is to be killed, as a process of its own."""

import os
import sys
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

[store]
budget_mb_per_day = 100_000
"""  # the budget stretches groups, and these are no ordinary days


class Victim(BrokerProcess):
    """`appliance run` on one data directory, or a wrapper of it that has a bug planted."""

    def __init__(self, scratch: Path, data: Path, *, bug: str = "", env: dict[str, str] | None = None) -> None:
        path = scratch / "appliance.toml"
        path.write_text(CONFIG)
        port = free_port()
        module = ["-m", "tests.crash.planted", bug] if bug else ["-m", "appliance"]
        more = ["--config", str(path), "--data", str(data), "--mqtt-port", str(port)]
        super().__init__(
            "appliance", [sys.executable, *module, "run", *more], port, scratch, {**os.environ, **(env or {})}
        )

    def kill(self) -> None:
        """End it at once, as nothing can prevent."""
        self._process.kill()
        self._process.wait()
