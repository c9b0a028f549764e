"""Ansible's way into machines: over SSH, as the user that Raspberry Pi Imager makes, who may sudo."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "ansible"
RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)
PLAY_S = 900.0


def program(name):
    """Path of one of Ansible's commands; the extra `provision` brings it."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"there is no {name}: pip install -e '.[provision]'"
    return found


# A container may not set the clock; the unit would be passed over, and chronyd refuse to start.
CLOCKLESS = """
[Unit]
ConditionCapability=

[Service]
ExecStart=
ExecStart=!/usr/sbin/chronyd -x
"""


def admit(machine):
    """Make the user that the Imager makes, and let chrony run."""
    machine.sh("id -u pi > /dev/null 2>&1 || useradd -m -s /bin/bash pi")
    machine.write("/etc/sudoers.d/pi", "pi ALL=(ALL) NOPASSWD: ALL\n", mode="440")
    machine.write("/etc/systemd/system/chrony.service.d/container.conf", CLOCKLESS)


class Control:
    """The control machine: an inventory, a key, and the playbooks of a checkout."""

    def __init__(self, folder, wheels, playbooks=PLAYBOOKS):
        self.folder = folder
        self.playbooks = playbooks
        self.key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.inventory = {"all": {"vars": self._everywhere(wheels), "children": {}}}

    def _everywhere(self, wheels):
        known = "-F none -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR"
        return {
            "ansible_user": "pi",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"{known} -o ControlPath={self.folder}/%h-%p-%r",
            "release_update_apt": False,  # no machine has a network; what is needed lies in the cache of apt
            "release_wheelhouse": str(wheels),
            "release_source": str(*wheels.glob("home_sensor_appliance-*.whl")),
        }

    def admit(self, machine):
        """Let the key in, as on a fresh card."""
        admit(machine)
        key = self.key.with_suffix(".pub").read_text()
        machine.run("install", "-d", "-m", "700", "-o", "pi", "-g", "pi", "/home/pi/.ssh")
        machine.write("/home/pi/.ssh/authorized_keys", key, mode="600", owner="pi", group="pi")

    def add(self, group, machine, **variables):
        """Take a machine into a group of the inventory."""
        hosts = self.inventory["all"]["children"].setdefault(group, {"hosts": {}})["hosts"]
        hosts[machine.name] = {"ansible_host": str(machine.address), **variables}

    def play(self, playbook, *words, good=True, hear=print, limit_s=PLAY_S, **variables):
        """Run a playbook; gives a Played. With `good` it must go well. `hear` gets each line as it comes.

        After `limit_s` it is killed, which does not go well.
        """
        inventory = self.folder / "inventory.yml"
        inventory.write_text(json.dumps(self.inventory))  # JSON is YAML
        given = ("-e", json.dumps(variables)) if variables else ()
        command = [program("ansible-playbook"), "-i", inventory, self.playbooks / playbook, *given, *words]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.playbooks.parent / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder),
        }
        said = []
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environment, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            end = Timer(limit_s, running.kill)
            end.start()
            try:
                for line in running.stdout:
                    said.append(line)
                    hear(line.rstrip("\n"))
            finally:
                end.cancel()
        played = Played(running.returncode, "".join(said))
        if good:
            assert played.code == 0, played.said
        return played


class Played:
    """What became of a run: its exit code, what it said, and what it counted for each host."""

    def __init__(self, code, said):
        self.code = code
        self.said = said
        recap = said.rpartition("PLAY RECAP")[2]
        self.counts = {
            host: {name: int(number) for name, number in (pair.split("=") for pair in counts.split())}
            for host, counts in RECAP.findall(recap)
        }

    @property
    def changed(self):
        """Changes, on all hosts together."""
        return sum(counts["changed"] for counts in self.counts.values())
