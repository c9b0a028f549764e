"""The same bytes at the real service's socket, a burst to a connection, with a witness and scales beside it."""

import random
import socket
import tempfile
import time
from pathlib import Path

from raw import PATIENCE_S, PINGREQ, PINGRESP, publish
from service import Service

from tests.fuzz.corpus import vectors
from tests.fuzz.engines import Finding, change
from tests.fuzz.targets import greeting

BATCH = 32  # connections at a time
CHECKED = 16  # batches between two looks at the witness and the scales
GROWTH_KB = 64 << 10  # what the service may keep for all of it

CONFIG = """\
[web]
port = 0

[history]
enabled = false

[limits]
max_sessions = 100
"""

KNOWN = vectors()


def burst(rng: random.Random) -> bytes:
    """Draw what one connection says: mostly a greeting in order, then vectors, some of them spoilt."""
    said = greeting(rng.randrange(256), rng.randrange(4)) if rng.random() < 0.8 else b""
    parts = [data for _, data in rng.choices(KNOWN, k=rng.randrange(1, 6))]
    if rng.random() < 0.5:
        parts = [change(parts[:1], rng.randrange(1 << 32)), *parts[1:]]
        rng.shuffle(parts)
    return said + b"".join(parts)


def with_service(runs: int, seconds: int, seed: int) -> int:
    """Run the service and send bursts; give their number."""
    rng = random.Random(seed)
    ends = time.monotonic() + (seconds or float("inf"))
    executions = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        service = Service(Path(scratch, "service"), CONFIG)
        try:
            witness = service.reader("witness/#", client_id="witness")
            _batch(service, rng, 0)
            before = _resident_kb(service)
            while (not runs or executions < runs) and time.monotonic() < ends:
                for number in range(CHECKED):
                    _batch(service, rng, number)
                    executions += BATCH
                _look(service, witness, before, executions)
            service.check_health()
        except (AssertionError, OSError) as error:
            raise Finding(f"by execution {executions + BATCH}: {error!r}; {service.last_words()}") from error
        finally:
            service.close_links()
            service.stop()
    return executions


def _batch(service: Service, rng: random.Random, number: int) -> None:
    """Open connections, say everything in two pieces, and wait until the service has read it."""
    links = []
    try:
        for _ in range(BATCH):
            link = socket.socket()
            links.append(link)
            link.settimeout(PATIENCE_S)
            link.bind((f"127.0.1.{1 + number}", 0))
            link.connect(("127.0.0.1", service.port))
        said = [burst(rng) for _ in links]
        cuts = [rng.randrange(len(data)) for data in said]
        for link, data, cut in zip(links, said, cuts, strict=True):
            _send(link, data[:cut])
        for link, data, cut in zip(links, said, cuts, strict=True):
            _send(link, data[cut:])
            _end(link)
        for link in links:
            _until_closed(link)
    finally:
        for link in links:
            link.close()


def _send(link: socket.socket, data: bytes) -> None:
    try:
        link.sendall(data)
    except ConnectionError:
        return  # it has heard enough


def _end(link: socket.socket) -> None:
    try:
        link.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _until_closed(link: socket.socket) -> None:
    """TimeoutError when the service never closes, though we have."""
    try:
        while link.recv(65_536):
            pass
    except ConnectionError:
        return


def _look(service: Service, witness: object, before: int, executions: int) -> None:
    payload = b"%d" % executions
    witness.send(publish("witness/alive", payload), PINGREQ)
    witness.expect(publish("witness/alive", payload), PINGRESP)
    service.check()
    assert "Traceback" not in service.last_words()
    grown = _resident_kb(service) - before
    assert grown < GROWTH_KB, f"the service has grown by {grown} KiB"


def _resident_kb(service: Service) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
