"""Machines for the tests of this folder. Without `python -m tests.machines` there are none, and nothing is run."""

import json
import os
import shutil
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from machines.cache import output
from machines.machine import Machine
from machines.playbooks import Control

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GIVEN = json.loads(os.environ.get("APPLIANCE_MACHINES", "{}"))

collect_ignore_glob = [] if GIVEN else ["test_*.py"]


@pytest.fixture(scope="session")
def given():
    """What was made before the run: suite, blank, installed, wheels, and Ansible's wheels."""
    paths = {name: Path(GIVEN[name]) for name in ("blank", "installed", "wheels", "ansible")}
    return SimpleNamespace(suite=GIVEN["suite"], group=GIVEN["group"], **paths)


class Machines:
    """Makes machines, and ends them. No two of a run have the same address: others may still remember it."""

    _numbers = count(2)

    def __init__(self, given):
        self._given = given
        self._ends = ExitStack()

    def __call__(self, name, *, blank=False, lan=True, binds=None, boots=True):
        """A machine with the project installed, or a blank one; wheels lie in its /srv/wheels.

        With `lan` it has an address that the other machines and this computer reach. The name is its host name.
        """
        number = next(self._numbers)
        layers = [self._given.blank] if blank else [self._given.installed, self._given.blank]
        binds = {"/srv/wheels": self._given.wheels, **(binds or {})}
        machine = Machine(name, layers, number=number if lan else None, group=self._given.group, binds=binds)
        self._ends.callback(machine.close)
        machine.open()
        if not blank:
            install_units(machine)
        if boots:
            machine.boot()
        return machine

    def close(self):
        self._ends.close()


def install_units(machine):
    """Put the files of systemd/ where they belong, by the README's own commands, while the machine is off."""
    commands = [line for line in README.splitlines() if line.startswith("sudo ") and " systemd/" in line]
    script = "\n".join(commands).replace("sudo ", "")
    checkout = "/run/checkout"
    shutil.copytree(ROOT / "systemd", f"{machine.root}{checkout}/systemd")
    output("chroot", machine.root, "sh", "-euc", f"cd {checkout}\n{script}")
    shutil.rmtree(f"{machine.root}{checkout}")


@pytest.fixture(scope="module")
def machines(given):
    """Makes machines that last for a module of tests: `machines(name, blank=…, lan=…)`."""
    made = Machines(given)
    yield made
    made.close()


@pytest.fixture(scope="module")
def control(tmp_path_factory, given):
    """A control machine, whose inventory lasts for a module of tests."""
    return Control(tmp_path_factory.mktemp("control"), given.wheels)
