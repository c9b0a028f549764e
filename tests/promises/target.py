"""The broker that keeps the promises, or the careless one that breaks them, as a process of its own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance import settings
from tests.accounts import PASSWORDS, write_accounts
from tests.benchmarks.brokers import BrokerProcess, free_port

CONFIG = """\
[mqtt]
address = "127.0.0.1"
port = {port}

[web]
port = 0

[history]
enabled = false

[limits]
max_connections_per_address = 1000
max_handshakes_per_address = 1000
"""  # the other limits are those that everybody has; here all come from one address

TLS_LISTENER = """
[[listener]]
port = {port}
certificate = "{authority.certificate}"
key = "{authority.key}"
"""


class Target(BrokerProcess):
    """One that may have a port for TLS too; 0 where it has none."""

    tls_port = 0


def tls_listener(scratch: Path, port: int) -> str:
    """Configure a port for TLS, where this version has such."""
    if not hasattr(settings, "Listener"):
        return ""
    from tests.authority import Authority

    return TLS_LISTENER.format(port=port, authority=Authority(scratch / "authority"))


@contextmanager
def target(*, planted: bool, tls: bool = False, users: tuple[str, ...] = ()) -> Iterator[Target]:
    """Run it, and end it."""
    with TemporaryDirectory(prefix="promise-") as directory:
        scratch, port, tls_port = Path(directory), free_port(), free_port()
        more = tls_listener(scratch, tls_port) if tls and not planted else ""
        if users:
            write_accounts(scratch, users=users)
        if planted:
            command = [sys.executable, "-m", "tests.promises.careless", str(port)]
        else:
            config = scratch / "appliance.toml"
            config.write_text(CONFIG.format(port=port) + more + (PASSWORDS if users else ""))
            run = ["-m", "appliance", "run", "--config", str(config), "--data", str(scratch / "data")]
            command = [sys.executable, *run]
        broker = Target("careless" if planted else "appliance", command, port, scratch, dict(os.environ))
        broker.tls_port = tls_port if more else 0
        try:
            yield broker
        finally:
            broker.stop()


def log_of(broker: BrokerProcess) -> str:
    """Return all that it wrote."""
    return broker.log.read_text(errors="replace")
