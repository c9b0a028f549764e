"""The demo: the service in this process and a real sensor agent as its child, over a real socket."""

import asyncio
import ctypes
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from appliance import places
from appliance.app import Service, serving
from appliance.data_dir import unusable
from appliance.exits import CommandError, Exit
from appliance.settings import Mqtt, Settings, Web
from appliance.watchdog import Watchdog

AGENT_FILE = "sensors.toml"
RESTART_S = 5.0
GOODBYE_S = 1.2  # the agent's time to say goodbye before it is killed
PR_SET_PDEATHSIG = 1  # linux/prctl.h

AGENT = """\
# The demo's sensors. `appliance demo` writes this file at each start; copy it to keep what you change.
site = "{site}"
agent = "house"
name = "Simulated house"
data_dir = {data_dir}

[broker]
host = "127.0.0.1"
port = {port}

[[sensor]]  # this computer itself
name = "computer"
kind = "host"
room = "utility"
interval_s = 5
"""

SENSOR = """
[[sensor]]
name = "{name}"
kind = "simulated"
room = "{room}"
model = "{model}"
life = "busy"  # nobody who looks has to wait long for a door
"""

HOUSE = (  # room, what the simulated sensor in it plays
    ("kitchen", "room"),
    ("kitchen", "relay"),
    ("livingroom", "room"),
    ("livingroom", "motion"),
    ("bedroom", "room"),
    ("hall", "room"),
    ("livingroom", "lamp"),
    ("hall", "door"),
    ("garden", "outdoor"),
)

BANNER = """\
The demo runs: a broker, its history and page, and a sensor agent that reads this computer and a simulated house.

  page   {page}
  MQTT   mqtt://127.0.0.1:{mqtt_port}{websocket}
  data   {data_dir}

Try, in another terminal:

  {sub}
  {pub}
  {history}

Ctrl-C stops everything."""


def agent_config(settings: Settings, data_dir: Path) -> str:
    """Give the agent's configuration as TOML."""
    sensors = (SENSOR.format(name=f"{room}-{model}", room=room, model=model) for room, model in HOUSE)
    head = AGENT.format(site=settings.site, port=settings.mqtt.port, data_dir=quoted(str(data_dir / "agent")))
    return head + "".join(sensors)


def quoted(text: str) -> str:
    """Write text as a TOML string."""
    return (
        '"'
        + "".join(char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
        + '"'
    )


def command_name(argv0: str) -> str:
    """How the user may call this program again, from any directory."""
    path = Path(argv0)
    if path.name == "__main__.py" or not path.name.startswith("appliance"):
        return f"{shlex.quote(sys.executable)} -m appliance"
    found = shutil.which(path.name)
    if found is not None and Path(found).absolute() == path.absolute():
        return path.name
    return shlex.quote(str(path.absolute()))


def banner(service: Service, argv0: str) -> str:
    """Say where to look and what to try."""
    settings, name = service.settings, command_name(argv0)
    port = "" if service.mqtt_port == Mqtt().port else f" -p {service.mqtt_port}"
    # A bare `history` asks the first service it finds; only where that is this one may --data be left out.
    candidates = [*filter(places.present, places.control_paths(None))]
    found = bool(candidates) and candidates[0] == places.control_path(service.data_dir)
    data = "" if found else f" --data {shlex.quote(str(service.data_dir.absolute()))}"
    return BANNER.format(
        page="off (--http-port 0)" if service.web_port is None else f"http://127.0.0.1:{service.web_port}/",
        mqtt_port=service.mqtt_port,
        websocket="" if service.web_port is None else f" and ws://127.0.0.1:{service.web_port}/mqtt",
        data_dir=service.data_dir,
        sub=f"{name} sub{port} -v -t '{settings.site}/#'",
        pub=f"{name} pub{port} -t {settings.site}/kitchen/relay/set -m ON",
        history=f"{name} history {settings.site}/kitchen/temperature --since 1h{data}",
    )


async def demo(data_dir: Path, *, mqtt_port: int, http_port: int, argv0: str, say: Callable[[str], None]) -> None:
    """Run until a signal comes; CommandError. `say` prints one text for the user."""
    try:
        str(data_dir).encode()
    except UnicodeEncodeError:  # the agent's file names it, and TOML is UTF-8
        raise CommandError(
            f"data directory {data_dir} has a name that is not UTF-8; choose another with --data", Exit.DATA
        ) from None
    settings = Settings(mqtt=Mqtt(port=mqtt_port), web=Web(port=http_port))
    stopped = asyncio.ensure_future(Watchdog().until_signal())
    try:
        async with serving(settings, data_dir) as service, asyncio.TaskGroup() as tasks:
            config = data_dir / AGENT_FILE
            write(config, agent_config(settings, data_dir))
            agent = Agent(config, say)
            keeping = tasks.create_task(agent.keep())
            say(banner(service, argv0))
            await asyncio.wait((stopped, keeping), return_when=asyncio.FIRST_COMPLETED)
            agent.stop()
    finally:
        stopped.cancel()


def write(path: Path, text: str) -> None:
    """Replace a file; CommandError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unusable(path.parent, error) from None


class Agent:
    """The sensor agent's process, started again when it dies."""

    def __init__(self, config: Path, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._stopping = asyncio.Event()

    async def keep(self) -> None:
        """Run the agent until `stop`; when it dies, say so and start it again a little later."""
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sensors", "run", "--config", str(self._config)),
                start_new_session=True,  # Ctrl-C reaches it through us, after which the broker is still there
                preexec_fn=_with_parent,  # calls one function that is loaded already
            )
            stopping = asyncio.ensure_future(self._stopping.wait())
            died = asyncio.ensure_future(process.wait())
            try:
                await asyncio.wait((stopping, died), return_when=asyncio.FIRST_COMPLETED)
                if died.done():
                    why = cause(died.result())
                    self._say(f"the sensor agent {why}; its devices are offline; it starts again in {RESTART_S:g} s")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(stopping), RESTART_S)
            finally:
                stopping.cancel()
                await end(process)
                await died

    def stop(self) -> None:
        """Ask for the end."""
        self._stopping.set()


async def end(process: asyncio.subprocess.Process) -> None:
    """Let a process say goodbye, then see that it is gone."""
    for send in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            send()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GOODBYE_S)


def cause(returncode: int) -> str:
    """Say how a process ended."""
    if returncode >= 0:
        return f"has stopped with exit code {returncode}"
    try:
        return f"was killed ({signal.Signals(-returncode).name})"
    except ValueError:
        return f"was killed (signal {-returncode})"


def _with_parent() -> None:
    """In the child: end when the demo ends, even when that is killed. Linux only, others do without."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
"""Looked up before any fork."""
