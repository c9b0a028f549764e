"""The real service as a process of its own, and raw sockets to it."""

import itertools
import os
import sys
from pathlib import Path

from benchmarks.brokers import BrokerProcess, free_port
from raw import ACCEPTED, Raw, connect, publish, subscribe

CONFIG = """\
[web]
port = 0

[history]
enabled = false

[store]
budget_mb_per_day = 1_000_000

[limits]
connect_timeout_s = 1.0
"""

_numbers = itertools.count(1)


class Service(BrokerProcess):
    """`appliance run` with its own data directory; every socket to it is closed at the end."""

    def __init__(self, scratch, config=CONFIG, prefix=(), env=None):
        scratch.mkdir(exist_ok=True)
        self.scratch = scratch
        path = scratch / "appliance.toml"
        path.write_text(config)
        port = free_port()
        run = [sys.executable, "-m", "appliance", "run", "--config", str(path)]
        more = ["--data", str(scratch / "data"), "--mqtt-port", str(port)]
        self.links = []
        super().__init__("appliance", [*prefix, *run, *more], port, scratch, dict(os.environ) if env is None else env)

    def link(self, **options):
        """Open a socket."""
        raw = Raw(self.port, **options)
        self.links.append(raw)
        return raw

    def client(self, client_id="", *, receive_buffer=None, answer=ACCEPTED, **fields):
        """Open a socket and connect."""
        raw = self.link(receive_buffer=receive_buffer)
        raw.ask(connect(client_id, **fields), answer)
        return raw

    def reader(self, *topic_filters, qos=0, **fields):
        """Connect and subscribe."""
        raw = self.client(**fields)
        raw.send(subscribe(*topic_filters, qos=qos))
        assert raw.packet()[:4] == b"\x90" + bytes([2 + len(topic_filters)]) + b"\x00\x01"
        return raw

    def lives(self):
        return Path(f"/proc/{self.pid}/exe").exists()

    def close_links(self):
        for link in self.links:
            link.close()
        self.links.clear()

    def descriptors(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def check_health(self):
        """Assert that it lives, serves an honest client and had no error of its own."""
        self.check()
        reader = self.reader("honest/#")
        publisher = self.client()
        payload = b"%d" % next(_numbers)
        publisher.send(publish("honest/topic", payload))
        reader.expect(publish("honest/topic", payload))
        self.close_links()
        assert "Traceback" not in self.last_words()
