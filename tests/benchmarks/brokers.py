"""The brokers under test as child processes on free loopback ports, and what the kernel says they cost."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from appliance.auth.passwords import hashed

ROOT = Path(__file__).parents[2]
USERNAME, PASSWORD = "load", "not a secret"  # every client's, so that every broker asks its rules
START_S = 20.0
STOP_S = 10.0

OUR_CONFIG = """\
[accounts]
password_file = "passwords"
rules_file = "rules.toml"

[mqtt]
address = "127.0.0.1"
port = {port}

[web]
port = 0

{store}
[limits]
max_connections = 3_000
max_connections_per_address = 3_000
max_sessions = 3_000
"""
NO_STORE = """\
[store]
enabled = false

[history]
enabled = false
"""
"""What Mosquitto does here: everything is gone at the end."""

STORE = """\
[store]
wait = {wait}
budget_mb_per_day = 1_000_000
"""
"""Everything kept and recorded, on a card that no number of writes could wear out."""

OUR_RULES = f"""\
[[rule]]
user = "{USERNAME}"
publish = ["#"]
subscribe = ["#"]
"""

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous false
password_file {passwords}
acl_file {rules}
persistence false
max_inflight_messages 100
max_queued_messages 0
max_queued_bytes 0
log_type error
user {user}
"""
MOSQUITTO_RULES = f"""\
user {USERNAME}
topic readwrite #
"""


class BrokerError(Exception):
    """A broker did not start, or ended by itself; the text holds its last words."""


class BrokerProcess:
    """One running broker."""

    def __init__(self, name: str, command: list[str], port: int, scratch: Path, env: dict[str, str]) -> None:
        self.name = name
        self.port = port
        self.log = scratch / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pid = self._process.pid
        try:
            self._wait_until_it_listens()
        except BrokerError:
            self.stop()
            raise

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise BrokerError(f"{self.name} did not listen within {START_S:.0f} s: {self.last_words()}")

    def check(self) -> None:
        """Raise BrokerError when the process has ended."""
        if (code := self._process.poll()) is not None:
            raise BrokerError(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:].strip() or "it wrote nothing"

    def cpu_s(self) -> float:
        """CPU seconds used so far by all its threads, user and system."""
        with contextlib.suppress(FileNotFoundError):  # scheduler statistics count nanoseconds
            tasks = Path(f"/proc/{self.pid}/task")
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pin(self, cores: list[int]) -> None:
        """Keep all its threads on these cores."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)

    def rss_bytes(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it politely, then by force."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def free_port() -> int:
    """Return a loopback port that nobody holds at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_path() -> str:
    """Where Debian keeps Mosquitto; BrokerError when it is not installed."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BrokerError("mosquitto is not installed: apt install mosquitto")
    return path


def mosquitto_version() -> str:
    """Return `mosquitto version 2.0.11` or the like."""
    shown = subprocess.run([mosquitto_path(), "-h"], capture_output=True, text=True, check=False).stdout
    return shown.partition("\n")[0]


def start_mosquitto(scratch: Path) -> BrokerProcess:
    """Start Mosquitto without persistence, as the user that runs this."""
    port = free_port()
    config = scratch / "mosquitto.conf"
    passwords, rules = scratch / "mosquitto.passwords", scratch / "mosquitto.rules"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), USERNAME, PASSWORD], check=True)
    rules.write_text(MOSQUITTO_RULES)
    user = pwd.getpwuid(os.geteuid()).pw_name
    config.write_text(MOSQUITTO_CONFIG.format(port=port, user=user, passwords=passwords, rules=rules))
    return BrokerProcess("mosquitto", [mosquitto_path(), "-c", str(config)], port, scratch, dict(os.environ))


def start_ours(
    scratch: Path,
    *,
    python: str,
    command: str | None = None,
    profile: Path | None = None,
    store: str = NO_STORE,
    name: str = "appliance",
) -> BrokerProcess:
    """Start our service with only its broker on; `command` replaces it, `{port}` in it being the port."""
    port = free_port()
    if command is not None:
        arguments = [part.replace("{port}", str(port)) for part in command.split()]
    else:
        config = scratch / "appliance.toml"
        config.write_text(OUR_CONFIG.format(port=port, store=store))
        passwords = scratch / "passwords"
        passwords.write_text(f"{USERNAME}:{hashed(PASSWORD.encode())}\n")
        passwords.chmod(0o600)
        (scratch / "rules.toml").write_text(OUR_RULES)
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile is not None else []
        service = ["-m", "appliance", "run", "--config", str(config), "--data", str(scratch / "data")]
        arguments = [python, *profiler, *service]
    env = dict(os.environ)
    if python != sys.executable:  # another Python of the same version finds our dependencies, not its own
        env["PYTHONPATH"] = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    return BrokerProcess(name, arguments, port, scratch, env)


def python_version(python: str) -> str:
    """Say which Python runs our broker."""
    code = "import sys, platform; print(platform.python_version(), platform.python_compiler(), sep=', ')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
