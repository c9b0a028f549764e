"""The script of a new card's first boot, among programs that only note how they were called."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "ansible" / "roles" / "sensors" / "templates" / "first-boot.j2"
SECRET = "so-secret"
TOOLS = ("sh", "tar", "gzip", "cat", "cmp", "cp", "rm", "grep", "sed", "ls")  # the computer has nothing more
PROGRAMS = ("apt-get", "dpkg", "ansible-playbook", "systemctl", "journalctl", "sync")


class Card:
    """A computer in a folder, at its first boot."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.boot = folder / "firmware"
        self.told = self.boot / "first-boot-failed.txt"
        self.cloud = folder / "cloud" / "instance"
        self.bin = folder / "bin"
        for path in (self.home, self.boot, self.cloud, self.bin, folder / "run", folder / "updates"):
            path.mkdir(parents=True)
        self._script()
        (self.home / "card.tar.gz").write_bytes(packed("bundle.tar", packed("wheel", b"", "w"), "w:gz"))
        (self.boot / "config.txt").write_text("one\n")
        (self.boot / "user-data").write_text(f"#cloud-config\n{SECRET}\n")
        (folder / "secret").write_text(f"{SECRET}\n")
        (self.cloud / "obj.pkl").write_bytes(b"\0" + SECRET.encode() + b"\0")
        (self.cloud / "vendor-data").write_text("not secret\n")
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        for name in PROGRAMS:
            self.program(name)

    def _script(self):
        text = TEMPLATE.read_text()
        places = {
            "{{ sensors_card_home }}": self.home,
            "{{ sensors_agent }}": "attic",
            "{{ sensors_secret_file }}": self.folder / "secret",
            "/boot/firmware": self.boot,
            "/run/": f"{self.folder}/run/",
            "/var/lib/cloud": self.cloud.parent,
            "/var/lib/dpkg/updates": self.folder / "updates",
            "/etc/systemd/system/": f"{self.folder}/",
        }
        for there, here in places.items():
            assert there in text
            text = text.replace(there, str(here))
        (self.home / "first-boot").write_text(text)

    def program(self, name, script=""):
        """Let a program do that, after it has noted how it was called."""
        (self.bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {self.folder}/calls\n{script}\n')
        (self.bin / name).chmod(0o755)

    def start(self):
        """Run the script; gives what became of it."""
        environment = {"PATH": str(self.bin), "INVOCATION_ID": "1234"}
        (self.folder / "calls").write_text("")
        command = [self.bin / "sh", self.home / "first-boot"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def calls(self):
        return (self.folder / "calls").read_text()


def packed(name, content, mode):
    """Give a tar that holds one file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def card(tmp_path):
    return Card(tmp_path)


def test_when_all_is_made_nothing_is_left_but_what_is_not_secret(card):
    card.told.write_text("of a try before")
    done = card.start()
    assert (done.returncode, done.stderr) == (0, "")
    assert not card.home.exists()
    assert not card.told.exists()
    assert [path.name for path in card.cloud.iterdir()] == ["vendor-data"]
    left = (card.boot / "user-data").read_text()
    assert left.startswith("#cloud-config\n")
    assert SECRET not in left
    assert "systemctl disable home-sensor-appliance-first-boot.service" in card.calls()
    assert "reboot" not in card.calls()
    assert "apt-get" not in card.calls()


def test_a_changed_config_txt_restarts_the_computer_also_when_the_first_try_failed(card):
    config = card.boot / "config.txt"
    card.program("ansible-playbook", f"echo two >> {config}; exit 2")
    assert card.start().returncode == 2
    assert "reboot" not in card.calls()
    card.program("ansible-playbook")
    assert card.start().returncode == 0
    assert card.calls().endswith("systemctl --no-block reboot\n")


def test_a_failure_is_told_on_the_card_with_its_step_its_cure_and_the_end_of_the_log(card):
    card.program("ansible-playbook", "exit 2")
    card.program("journalctl", 'case $* in *=1234*) echo "the last words";; esac')
    done = card.start()
    assert done.returncode == 2
    told = card.told.read_text()
    first, cure, again, *_ = told.splitlines()
    assert first == "attic is not made yet: the playbook failed."
    assert "must reach the internet" in cure
    assert "run user-data.yml again" in cure
    assert "tries again by itself" in again
    assert told.endswith("\n\nthe last words\n")
    assert done.stdout.endswith(f"{first}\n{cure}\n{again}\n")
    assert SECRET in (card.boot / "user-data").read_text()


def test_the_same_failure_is_not_written_to_the_card_again(card):
    card.program("ansible-playbook", "exit 2")
    card.start()
    os.utime(card.told, (1, 1))
    card.start()
    assert card.told.stat().st_mtime == 1
    card.program("ansible-playbook", "exit 4")
    card.program("journalctl", "echo something else")
    assert card.start().returncode == 4
    assert card.told.stat().st_mtime != 1


def test_a_computer_without_the_cards_partition_says_it_in_its_log_alone(card):
    card.program("ansible-playbook", "exit 2")
    for path in card.boot.iterdir():
        path.unlink()
    card.boot.rmdir()
    done = card.start()
    assert done.returncode == 2
    assert "attic is not made yet: the playbook failed." in done.stdout


def test_a_package_that_a_power_cut_left_half_installed_is_finished_first(card):
    card.program("dpkg", '[ "$1" != --audit ] || echo "chrony is half configured"; [ "$1" = --audit ] || exit 1')
    assert card.start().returncode == 0
    wanted = ("dpkg --audit", "--configure -a", "--fix-broken install", "ansible-playbook -i")
    assert [next(i for i, call in enumerate(card.calls().splitlines()) if word in call) for word in wanted] == [
        0,
        1,
        2,
        3,
    ]


def test_without_ansible_it_is_installed_and_what_fails_then_is_named(card):
    (card.bin / "ansible-playbook").unlink()
    card.program("apt-get", "case $* in *ansible-core) exit 100;; esac")
    done = card.start()
    assert done.returncode == 100
    assert card.told.read_text().startswith("attic is not made yet: installing Ansible from the distribution failed.\n")
    assert card.calls().count("apt-get") == 2


def test_a_card_that_is_not_whole_is_named(card):
    (card.home / "card.tar.gz").write_bytes(b"")
    assert card.start().returncode != 0
    assert card.told.read_text().startswith("attic is not made yet: unpacking what it is made of failed.\n")
