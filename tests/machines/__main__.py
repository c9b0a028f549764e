"""The tests in booted machines: `python -m tests.machines [WHICH…]`, with pytest's own options behind it.

Makes a Debian once, boots real systemd in it, in containers, and runs the tests of this folder, which reach inside;
WHICH is the name of a file without test_ and .py; without it all are run, and where the processor is emulated the one
that boots nothing. The exit code is pytest's. Wants root on a Debian, and its packages
systemd-container, mmdebstrap, iproute2, openssh-client and procps.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import premises, root, wheels
from .cache import tidy

HERE = Path(__file__).parent
TOOLS = ("systemd-nspawn", "mmdebstrap", "ip", "unshare", "nsenter", "pgrep", "git", "apt-get", "ssh")
EMULATORS = Path("/proc/sys/fs/binfmt_misc")
GIVEN = "APPLIANCE_MACHINES"  # what the tests are told, as JSON


def missing(architecture):
    """What this computer lacks; empty when machines can be made and run here."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0:
        lacking.append("root")
    emulator = EMULATORS / f"qemu-{root.ARCHITECTURES[architecture]}"
    if architecture != root.HERE and not emulator.exists():
        lacking.append(f"{emulator} (packages qemu-user-static, binfmt-support and arch-test)")
    return ", ".join(lacking)


def options_of(words, everything=HERE):
    """Let the names of files be those of paths, or take everything; what is no such name is pytest's."""
    files = {word: HERE / f"test_{word}.py" for word in words}
    found = [str(files[word]) if files[word].exists() else word for word in words]
    named = any(files[word].exists() or word.partition("::")[0].endswith(".py") for word in words)
    return found if named else [*found, str(everything)]


def outside(suite, architecture, words):
    """Make what is missing, then run the tests among the machines."""
    began = time.monotonic()
    python, machine = root.PYTHONS[suite], root.ARCHITECTURES[architecture]
    blank = root.blank(suite, architecture)
    house = wheels.house(python, machine)
    layer = root.installed(suite, blank, house)
    ansible = wheels.fetched(python, machine, ("ansible-core",))
    tidy()
    print(f"root, wheels and installation are there after {time.monotonic() - began:.0f} s", flush=True)
    group = f"appliance-machines-{os.getpid()}"
    given = {"suite": suite, "blank": str(blank), "installed": str(layer), "wheels": str(house)}
    given |= {"ansible": str(ansible), "group": group, "machine": machine}
    environment = {**os.environ, GIVEN: json.dumps(given)}
    command = [*premises.ENTER, sys.executable, "-m", "tests.machines", "--within", *words]
    try:
        with premises.watches(), subprocess.Popen(command, cwd=HERE.parents[1], env=environment) as running:
            try:
                code = running.wait()
            except BaseException:  # interrupted: the namespaces end with their first process
                running.send_signal(signal.SIGKILL)
                raise
    finally:
        premises.clear(group)
    print(f"in {time.monotonic() - began:.0f} s")
    return code


def within(words):
    """Run pytest where the machines stand."""
    given = json.loads(os.environ[GIVEN])
    premises.furnish(given["group"])
    everything = HERE if given["machine"] == os.uname().machine else HERE / "test_unbooted.py"
    pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options_of(words, everything))
    return subprocess.run(pytest, check=False).returncode


def main(argv):
    """Take the words apart."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--suite", choices=sorted(root.PYTHONS), default="bookworm", help="release of Debian in them")
    parser.add_argument(
        "--arch", choices=sorted(root.ARCHITECTURES), default=root.HERE, help="theirs; others are emulated"
    )
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    arguments, words = parser.parse_known_args(argv)
    if arguments.within:
        return within(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if lacking := missing(arguments.arch):
        print(f"This wants {lacking}.", file=sys.stderr)
        return 2
    return outside(arguments.suite, arguments.arch, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
