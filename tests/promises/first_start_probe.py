"""What P15 sees of one computer: before it is set up, while, and after. Run in a network of its own if there is one."""

import base64
import contextlib
import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from tests.promises.first_start import secrets
from tests.raw import ACCEPTED, connect

CONFIG = """\
data_dir = "data"

[accounts]
managed_file = "data/accounts.json"

[mqtt]
port = {mqtt}

[web]
port = {web}

[mdns]
enabled = false

[[listener]]
address = "::"
port = {secure_mqtt}
certificate = "data/tls/server.pem"
key = "data/tls/server.key"

[[listener]]
serve = "web"
address = "::"
port = {secure_web}
certificate = "data/tls/server.pem"
key = "data/tls/server.key"
"""
USUAL = {"mqtt": 1883, "web": 8080, "secure_mqtt": 8883, "secure_web": 8443}
PATIENCE_S = 20.0
LISTENS = "0A"
OURS = [sys.executable, "-m", "appliance"]
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


def begin_alone() -> bool:
    """Bring the loopback up, where this network is ours; whether it is."""
    with contextlib.suppress(OSError), socket.socket() as any_socket:
        name = struct.pack("16sh14x", b"lo", 0x1)  # IFF_UP
        if sorted(name for _, name in socket.if_nameindex()) == ["lo"]:
            fcntl.ioctl(any_socket, 0x8914, name)  # SIOCSIFFLAGS
            return True
    return False


def ports_to_use(*, ours: bool) -> dict[str, int]:
    """Give the usual ports, or some that are free where others may have those."""
    if ours:
        return USUAL
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("", 0))) for _ in USUAL]
        return dict(zip(USUAL, (one.getsockname()[1] for one in taken), strict=True))


def listeners(process: int) -> list[tuple[bool, int]]:
    """Give whether only this computer reaches it, and the port, of each socket on which a process listens."""
    inodes = set()
    with contextlib.suppress(OSError):  # it has ended
        for link in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                inodes.add(str(link.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            address, port = row[1].split(":")
            if row[3] == LISTENS and f"socket:[{row[9]}]" in inodes:
                found.append((address in LOOPBACK or address.endswith("7F"), int(port, 16)))
    return found


class Running:
    """A service, and what it says."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log"
        self._out = self.log.open("ab")
        self.process = subprocess.Popen([*OURS, "run", *arguments], stdout=self._out, stderr=subprocess.STDOUT)

    def ready(self, ports: int) -> list[tuple[bool, int]]:
        """Wait until it has so many ports, or is gone; gives all that it ever had."""
        ever: set[tuple[bool, int]] = set()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self.process.poll() is None and len(ever) < ports:
            ever |= set(listeners(self.process.pid))
            time.sleep(0.005)
        return sorted(ever)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self._out.close()


def says(port: int, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Give the first answer to some bytes; empty where there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as link:
            if context is None:
                link.sendall(data)
                return link.recv(4_096)
            with context.wrap_socket(link, server_hostname="127.0.0.1") as encrypted:
                encrypted.sendall(data)
                return encrypted.recv(4_096)
    except OSError:
        return b""


def asked(path: str, password: str = "") -> bytes:
    """Ask for a page."""
    proof = base64.b64encode(f"admin:{password}".encode()).decode()
    login = f"Authorization: Basic {proof}\r\n" if password else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{login}Connection: close\r\n\r\n".encode()


def is_let_in(answer: bytes) -> bool:
    """Whether an answer is that of somebody who was let in."""
    return answer.startswith((ACCEPTED, b"HTTP/1.1 200"))


def old(authority: Path) -> ssl.SSLContext:
    """Give a client that knows TLS 1.1 at most."""
    import warnings

    context = ssl.create_default_context(cafile=str(authority))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def told(data_dir: Path, process: int, log: Path, said: bytes) -> int:
    """Count where a secret stands that it should not: arguments, environment, output and log."""
    of_process = [Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ")]
    places = [*of_process, log.read_bytes(), said]
    texts = [line for name in ("tls/ca.key", "tls/server.key") for line in (data_dir / name).read_bytes().split(b"\n")]
    hidden = [*secrets(data_dir).values(), *(line for line in texts if len(line) > 30 and b"-" not in line)]
    return sum(secret in place for secret in hidden for place in places)


class Open:
    """A careless service: it listens everywhere from the start and lets everybody in, without TLS."""

    def __init__(self, ports: list[int]) -> None:
        self._sockets = [socket.create_server(("", port)) for port in ports]
        for one in self._sockets:
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    @staticmethod
    def _serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = listening.accept()
                with link:
                    asks_page = link.recv(4_096).startswith(b"GET")
                    link.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if asks_page else ACCEPTED)

    def close(self) -> None:
        """Stop."""
        for one in self._sockets:
            one.shutdown(socket.SHUT_RDWR)  # wakes who waits in it
            one.close()


def main(folder: Path, *, careless: bool) -> dict[str, int]:
    """Start for the first time; say what was seen."""
    ports = ports_to_use(ours=begin_alone())
    config, data_dir = folder / "appliance.toml", folder / "data"
    config.write_text(CONFIG.format(**ports))
    here = ["--mqtt-port", str(ports["mqtt"]), "--http-port", str(ports["web"])]
    with Running(folder, "--data", str(folder / "bare"), *here) as bare:
        seen_bare = bare.ready(2)
        seen_bare += [one for one in listeners(bare.process.pid) if one not in seen_bare]
    early = Open([ports["secure_mqtt"]]) if careless else None
    with Running(folder, "--config", str(config)) as without_setup:
        seen_before = without_setup.ready(1) + (listeners(os.getpid()) if early else [])
        ended_with = without_setup.process.wait(PATIENCE_S)
    assert ended_with == 78, f"without setup it ended with {ended_with}"
    if early is not None:
        early.close()
    made = subprocess.run([*OURS, "setup", "--config", str(config)], capture_output=True, check=True)
    if careless:
        for path in data_dir.rglob("*"):
            path.chmod(0o755)
    with Running(folder, "--config", str(config)) as home:
        home.ready(4)
        seen_after = listeners(home.process.pid)
        seen = judge(seen_after, ports, data_dir)
        seen["told"] = told(data_dir, home.process.pid, home.log, made.stdout + made.stderr)
    if careless:
        late = Open([ports["secure_mqtt"], ports["secure_web"]])
        seen |= judge([(False, ports["secure_mqtt"]), (False, ports["secure_web"])], ports, data_dir)
        late.close()
    return seen | {
        "bare": sum(not loopback for loopback, _ in seen_bare),
        "bare_loopback": sum(loopback for loopback, _ in seen_bare),
        "before": sum(not loopback for loopback, _ in seen_before),
        "secrets": len(secrets(data_dir)),
    }


def judge(seen: list[tuple[bool, int]], ports: dict[str, int], data_dir: Path) -> dict[str, int]:
    """Try every port that was seen."""
    outside = [port for loopback, port in seen if not loopback]
    trust = ssl.create_default_context(cafile=str(data_dir / "tls" / "ca.pem"))
    secret = (data_dir / "admin-secret").read_text().strip()
    requests = connect("stranger"), asked("/api/status")
    without = [says(port, data, old_tls) for port in outside for data in requests
               for old_tls in (None, old(data_dir / "tls" / "ca.pem"))]  # fmt: skip
    strangers = [says(port, data, trust) for port in outside for data in requests]
    strangers += [says(ports["mqtt"], connect("stranger")), *(answer for answer in without if is_let_in(answer))]
    known = [
        says(ports["secure_mqtt"], connect("admin", username="admin", password=secret), trust),
        says(ports["secure_web"], asked("/api/status", secret), trust),
    ]
    names = "tls/ca.key", "tls/server.key", "admin-secret", "accounts.json"
    return {
        "after": len(outside),
        "unexpected": len(set(outside) - {ports["secure_mqtt"], ports["secure_web"]}),
        "plain": sum(bool(answer) and answer[:1] != b"\x15" for answer in without),  # a TLS alert is no answer
        "anonymous": sum(map(is_let_in, strangers)),
        "admin": sum(map(is_let_in, known)),
        "readable": sum((data_dir / name).stat().st_mode & 0o077 != 0 for name in names),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), careless="careless" in sys.argv[2:])))
