"""The broker that keeps the promises, or the careless one that breaks them, as a process of its own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.brokers import BrokerProcess, free_port

CONFIG = """\
[mqtt]
address = "127.0.0.1"
port = {port}

[web]
port = 0

[history]
enabled = false
"""  # the limits are those that everybody has


@contextmanager
def target(*, planted: bool) -> Iterator[BrokerProcess]:
    """Run it, and end it."""
    with TemporaryDirectory(prefix="promise-") as directory:
        scratch, port = Path(directory), free_port()
        if planted:
            command = [sys.executable, "-m", "tests.promises.careless", str(port)]
        else:
            config = scratch / "appliance.toml"
            config.write_text(CONFIG.format(port=port))
            run = ["-m", "appliance", "run", "--config", str(config), "--data", str(scratch / "data")]
            command = [sys.executable, *run]
        broker = BrokerProcess("careless" if planted else "appliance", command, port, scratch, dict(os.environ))
        try:
            yield broker
        finally:
            broker.stop()


def log_of(broker: BrokerProcess) -> str:
    """Return all that it wrote."""
    return broker.log.read_text(errors="replace")
