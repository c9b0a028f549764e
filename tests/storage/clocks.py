"""A service whose wall clock is set from outside: Debian's libfaketime, and an adjtimex(2) that says who keeps it."""

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from appliance.store.epochs import BOOT_ID_VARIABLE
from tests.benchmarks.brokers import BrokerProcess, free_port

SOURCE = Path(__file__).with_name("adjtimex.c")
CONFIG = "[mqtt]\nsys_interval_s = 0\n[web]\nport = 0\n"


@cache
def libfaketime() -> Path | None:
    """Find it; None where Debian's package libfaketime is missing."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


@cache
def library() -> Path:
    """Compile it once; it stays until `forget`."""
    made = Path(mkdtemp(prefix="appliance-clock-")) / "adjtimex.so"
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, SOURCE], check=True)
    return made


def forget() -> None:
    """Remove what was compiled."""
    if library.cache_info().currsize:
        library().unlink(missing_ok=True)
        library().parent.rmdir()
        library.cache_clear()


class Dated(BrokerProcess):
    """`appliance run` under a clock of its own. `offset_s`: what is added to the true time of day.

    boot: name of the machine's boot, where it is not this machine's. change: of `tests.crash.planted`.
    """

    def __init__(self, scratch: Path, offset_s: float, *, is_set: bool, boot: str = "", change: str = "") -> None:
        self.scratch = scratch
        self._unset = scratch / "unset"
        self._file = scratch / "faketime"
        self.offset_s = 0.0
        self.turn(offset_s, is_set=is_set)
        config = scratch / "appliance.toml"
        config.write_text(CONFIG)
        port = free_port()
        module = ["tests.crash.planted", change] if change else ["appliance"]
        run = [sys.executable, "-m", *module, "run", "--config", config, "--data", scratch / "data"]
        env = {
            **os.environ,
            "LD_PRELOAD": f"{libfaketime()} {library()}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "CLOCK_UNSET": str(self._unset),
            BOOT_ID_VARIABLE: boot,
        }
        super().__init__("appliance", [str(one) for one in (*run, "--mqtt-port", port)], port, scratch, env)

    @property
    def database(self) -> Path:
        """Where its history is."""
        return self.scratch / "data" / "appliance.db"

    def turn(self, offset_s: float, *, is_set: bool) -> None:
        """Set its clock, and whether it is known to be right."""
        self.offset_s = offset_s
        new = self._file.with_name("faketime.new")
        new.write_text(f"{offset_s:+.3f}\n")
        new.replace(self._file)
        if is_set:
            self._unset.unlink(missing_ok=True)
        else:
            self._unset.touch()

    def cut(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def at(self) -> float:
        """Give what its wall clock says."""
        return time.time() + self.offset_s
