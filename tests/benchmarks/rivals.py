"""Brokers written in Python and JavaScript, each installed on demand into a folder of its own below `build/`.

They are no dependency of ours: nothing else imports or needs them, and deleting the folder is all it takes.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .brokers import ROOT, BrokerError, BrokerProcess, free_port, python_version

CACHE = ROOT / "build" / "rivals"
INSTALL_S = 300.0

AMQTT = "amqtt>=0.11"
AMQTT_CONFIG = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""

AEDES = "aedes@>=1"
AEDES_SERVER = """\
import { createServer } from "node:net";
import { Aedes } from "aedes";

const broker = await Aedes.createBroker({ queueLimit: 1000 });
createServer((socket) => {
  socket.setNoDelay(true);
  broker.handle(socket);
}).listen(Number(process.argv[2]), "127.0.0.1");
"""


def _install(name: str, commands: list[list[str]]) -> None:
    for command in commands:
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerError(f"{name} could not be installed: {error}") from error
        if run.returncode:
            raise BrokerError(f"{name} could not be installed: {run.stderr.strip()[-300:]}")


def start_amqtt(scratch: Path, python: str) -> BrokerProcess:
    """Start amqtt on the same Python as ours, in a virtual environment of its own."""
    home = _amqtt_home(python)
    program = home / "bin" / "amqtt"
    if not program.exists():
        create = [python, "-m", "venv", "--clear", str(home)]
        _install("amqtt", [create, [str(home / "bin" / "pip"), "install", "--quiet", AMQTT]])
    port = free_port()
    config = scratch / "amqtt.yaml"
    config.write_text(AMQTT_CONFIG.format(port=port))
    return BrokerProcess("amqtt", [str(program), "-c", str(config)], port, scratch, dict(os.environ))


def _amqtt_home(python: str) -> Path:
    return CACHE / f"amqtt-{python_version(python).partition(',')[0]}"


def amqtt_version(python: str) -> str:
    """Return the version that is installed."""
    run = subprocess.run(
        [str(_amqtt_home(python) / "bin/amqtt"), "--version"], capture_output=True, text=True, check=False
    )
    return run.stdout.strip()


def start_aedes(scratch: Path, python: str) -> BrokerProcess:  # noqa: ARG001 every rival is started alike
    """Start aedes, below a small server of Node's; it listens to MQTT 3.1.1 only."""
    home, node, npm = CACHE / "aedes", shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise BrokerError("aedes wants Node: apt install npm")
    if not (home / "node_modules" / "aedes").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        quietly = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        _install("aedes", [[npm, "install", "--prefix", str(home), *quietly, AEDES]])
    server = home / "server.mjs"
    server.write_text(AEDES_SERVER)
    port = free_port()
    return BrokerProcess("aedes", [node, str(server), str(port)], port, scratch, dict(os.environ))


def aedes_version(python: str) -> str:  # noqa: ARG001 as above
    """Return the version that is installed."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        return str(json.loads((CACHE / "aedes/node_modules/aedes/package.json").read_text())["version"])
    return ""


RIVALS: dict[str, tuple[Callable[[Path, str], BrokerProcess], Callable[[str], str]]] = {
    "amqtt": (start_amqtt, amqtt_version),
    "aedes": (start_aedes, aedes_version),
}
"""Name -> how it is started, and how it calls its version."""
