"""The service as systemd has it: started at boot, restarted when it hangs, and the computer with it."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.finding import Finding, note, wrong

NAME: Final = "appliance.service"
ASKED: Final = ("LoadState", "ActiveState", "UnitFileState", "Result", "WatchdogUSec", "NRestarts", "MemoryMax")
OFF: Final = {"", "0", "off", "infinity"}
ASK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says; all empty where it knows no such unit."""

    load: str = ""
    active: str = ""
    file: str = ""  # enabled, disabled …
    result: str = ""
    watchdog: str = ""
    restarts: int = 0
    computers_watchdog: str = ""
    has_watchdog_chip: bool = False
    memory: str = ""  # its bound
    counts_memory: bool = True  # the kernel does

    @property
    def is_there(self) -> bool:
        """Whether the unit is installed."""
        return self.load not in {"", "not-found"}


def unit(root: Path = Path("/")) -> Unit | None:
    """Ask systemd; None where it does not run this computer."""
    if not (root / "run/systemd/system").is_dir():
        return None
    try:
        told = _shown(NAME, *ASKED)
        manager = _shown("", "RuntimeWatchdogUSec")
    except (OSError, subprocess.SubprocessError):
        return None
    restarts = told.get("NRestarts", "")
    return Unit(
        load=told.get("LoadState", ""),
        active=told.get("ActiveState", ""),
        file=told.get("UnitFileState", ""),
        result=told.get("Result", ""),
        watchdog=told.get("WatchdogUSec", ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
        computers_watchdog=manager.get("RuntimeWatchdogUSec", ""),
        has_watchdog_chip=(root / "dev/watchdog0").exists(),
        memory=told.get("MemoryMax", ""),
        counts_memory=_counts_memory(root / "sys/fs/cgroup/cgroup.controllers"),
    )


def _counts_memory(controllers: Path) -> bool:
    """Whether the kernel bounds the memory of units; also where that cannot be told, as with older hierarchies."""
    try:
        return "memory" in controllers.read_text().split()
    except OSError:
        return True


def _shown(name: str, *properties: str) -> Mapping[str, str]:
    """Ask for properties of a unit, or of systemd itself."""
    command = ["systemctl", "show", *([name] if name else []), f"--property={','.join(properties)}"]
    done = subprocess.run(command, capture_output=True, timeout=ASK_S, check=True, text=True)  # noqa: S603 our own words
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def unit_findings(seen: Unit | None) -> Iterator[Finding]:
    """Judge it."""
    if seen is None:
        yield note(NAME, "systemd does not run this computer: whoever starts the service has to start it again too")
        return
    if not seen.is_there:
        yield note(NAME, "it is not installed: the service ends with the terminal that it was started from")
        return
    if seen.active == "failed":
        cure = f"`sudo journalctl -u {NAME} -n 50` says why; then `sudo systemctl restart {NAME}`"
        yield wrong(NAME, f"it has failed ({seen.result})", cure)
    elif seen.active not in {"active", "activating", "reloading"}:
        yield wrong(NAME, f"it does not run ({seen.active})", f"`sudo systemctl start {NAME}`")
    elif seen.restarts:
        cure = f"`sudo journalctl -u {NAME}` says why"
        yield note(NAME, f"it was started again {seen.restarts} times since somebody started it", cure)
    if not seen.file.startswith("enabled"):
        yield wrong(NAME, f"it does not start with the computer ({seen.file})", f"`sudo systemctl enable {NAME}`")
    if seen.watchdog in OFF:
        yield note(NAME, "systemd does not see when it hangs", "give it WatchdogSec=20")
    if seen.memory not in OFF and not seen.counts_memory:
        cure = "on a Raspberry Pi, add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt, and restart"
        yield note(NAME, "its bound of memory (MemoryMax=) does nothing, as the kernel does not count memory", cure)
    if seen.has_watchdog_chip and seen.computers_watchdog in OFF:
        cure = "RuntimeWatchdogSec=15 in a file of /etc/systemd/system.conf.d, then restart"
        yield note("watchdog", "the computer has a watchdog that nobody uses: when it hangs, it stays so", cure)
