"""The tests of pins on a chip that a kernel simulates: `python -m tests.vm`, with pytest's own options behind it.

Boots a small virtual machine, by software alone, and runs in it, through lgpio, the tests that take the fixture `pins`
or `gpiochip`. What pytest says there is said here, and its exit code is the command's.
"""

import argparse
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .image import made, missing, pack

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/sensors/drivers/test_gpio_input.py",
    "tests/sensors/drivers/test_gpio_output.py",
    "tests/sensors/drivers/test_pulse_counter.py",
    "tests/sensors/hw/test_gpio.py",
    "tests/sensors/hw/test_simulated_chip.py",
)
QUIET_S = 180.0  # without a word from the machine; a test that hangs there tells where after HANGS_S
HANGS_S = 90
EXIT = "vm: exit "


def layer(folder, options):
    """Put into a folder what the machine has beside its image: our code, the tests, and what is to be run."""
    files = folder / "files"
    unread = shutil.ignore_patterns("__pycache__", "static", ".hypothesis")
    for package in ("appliance", "sensors", "systemd", "tests/sensors"):
        shutil.copytree(ROOT / package, files / package, ignore=unread)
    for file in (ROOT / "pyproject.toml", *(ROOT / "tests").glob("*.py")):
        shutil.copy(file, files / file.relative_to(ROOT))
    pytest = ("python3", "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *options)
    hangs = ("-o", f"faulthandler_timeout={HANGS_S}", "-o", "faulthandler_exit_on_timeout=true")
    (files / "command").write_text(shlex.join((*pytest, *hangs, *TESTS)) + "\n")
    shutil.copy(Path(__file__).with_name("init"), folder / "init")
    (folder / "init").chmod(0o755)


def boot(parts, scratch, options):
    """Run the machine; gives the exit code of what it ran."""
    layer(scratch / "layer", options)
    modules = scratch / "layer" / "files" / "modules"
    modules.mkdir()
    for module in parts.glob("*.ko"):
        shutil.copy(module, modules)
    pack(scratch / "layer", scratch / "layer.cpio")
    initrd = scratch / "initrd"
    with initrd.open("wb") as file:  # a second archive after the first adds to it
        for archive in (parts / "base.cpio", scratch / "layer.cpio"):
            file.write(archive.read_bytes())
    # On a busy host the kernel finds that its timer does not tick and gives up, unless it is told not to look.
    line = "console=ttyS0 rdinit=/init panic=-1 quiet loglevel=1 no_timer_check"
    command = (
        *("setpriv", "--pdeathsig", "KILL"),  # it does not outlive us, however we end
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1G", "-nodefaults", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-kernel", parts / "vmlinuz", "-initrd", initrd, "-append", line),
    )
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        try:
            return listen(machine.stdout.fileno(), sys.stdout)
        finally:
            machine.kill()


def listen(console, out, quiet_s=QUIET_S):
    """Say on what the console says, until it tells an exit code, ends, or is silent for too long; gives the code."""
    begun = b""
    while select.select([console], [], [], quiet_s)[0] and (said := os.read(console, 65536)):
        *lines, begun = (begun + said.replace(b"\r", b"")).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith(EXIT):
                return int(text.removeprefix(EXIT))
            print(text, file=out, flush=True)
    print(begun.decode(errors="replace"), file=out)
    print(f"the machine ended, or said nothing for {quiet_s:g} s", file=out)
    return 2


def main(argv):
    """Make what is missing, and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__.partition("\n\n")[2])
    _, options = parser.parse_known_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if lacking := missing():
        print(f"This wants {lacking}.", file=sys.stderr)
        return 2
    began = time.monotonic()
    parts = made()
    print(f"the image is at {parts} after {time.monotonic() - began:.0f} s", flush=True)
    with TemporaryDirectory(prefix="sensors-vm-") as scratch:
        code = boot(parts, Path(scratch), options)
    print(f"in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
