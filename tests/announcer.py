"""Brokers that announce themselves by mDNS on the loopback interface, in a process of its own: real zeroconf."""

import json
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def announced(*services):
    """Announce (service, name, port, site) until the block ends."""
    with subprocess.Popen(
        [sys.executable, __file__, json.dumps(services)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "announced\n"
            yield
        finally:
            process.communicate(timeout=30)  # ends its input


def announce(services):
    """Announce until the input ends."""
    from zeroconf import ServiceInfo, Zeroconf

    zeroconf = Zeroconf(interfaces=["127.0.0.1"])
    for service, name, port, site in services:
        zeroconf.register_service(
            ServiceInfo(
                f"{service}.local.",
                f"{name}.{service}.local.",
                parsed_addresses=["127.0.0.1"],
                port=port,
                server=f"{name}.local.",
                properties={"txtvers": "1", **({"site": site} if site else {})},
            ),
            cooperating_responders=True,  # no probing, which takes most of a second
        )
    print("announced", flush=True)
    sys.stdin.read()
    zeroconf.close()


if __name__ == "__main__":
    announce(json.loads(sys.argv[1]))
