"""The machines themselves: what the other tests rely on."""

import subprocess

import pytest
from machines.machine import wait_for

WATCH = """
import subprocess
from pathlib import Path

while not subprocess.run(["systemctl", "daemon-reload"]).returncode:
    Path("/srv/watches").touch()
Path("/srv/saw").touch()
"""


@pytest.fixture(scope="module")
def pair(machines):
    return machines("first", blank=True), machines("second", blank=True)


def test_machines_reach_each_other_and_this_computer_reaches_them(pair):
    first, second = pair
    assert first.address != second.address
    listens = f"import socket; s = socket.create_server(('{second.address}', 7)); s.accept()[0].sendall(b'here')"
    with subprocess.Popen(second.into("python3", "-c", listens)) as listening:
        asks = (
            "import socket, sys, time\n"
            "for _ in range(100):\n"
            "    try: print(socket.create_connection((sys.argv[1], 7), 5).makefile().read()); break\n"
            "    except ConnectionRefusedError: time.sleep(0.05)\n"
        )
        assert first.run("python3", "-c", asks, second.address).strip() == "here"
        assert listening.wait() == 0


def test_what_is_written_is_there_after_a_reboot_and_after_a_power_cut(pair):
    machine, _ = pair
    machine.write("/srv/deep/file", "kept\n", mode="600")
    boot = machine.read("/proc/sys/kernel/random/boot_id")
    machine.reboot()
    assert machine.read("/srv/deep/file") == "kept\n"
    machine.power_cut()
    machine.boot()
    assert machine.read("/srv/deep/file") == "kept\n"
    assert boot


def test_a_power_cut_ends_all_at_once(pair):
    machine, _ = pair
    machine.write("/srv/watch", WATCH)
    for _ in range(5):
        machine.run("systemd-run", "--quiet", "python3", "/srv/watch")
        wait_for((machine.root / "srv/watches").exists, "it watches")
        machine.power_cut()
        assert not (machine.root / "srv/saw").exists()
        (machine.root / "srv/watches").unlink()
        machine.boot()


def test_a_folder_is_copied_into_a_machine(pair, tmp_path):
    machine, _ = pair
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")
    machine.copy(tmp_path / "folder", "/srv/copied/to")
    assert machine.read("/srv/copied/to/file") == "text"


def test_the_journal_is_read(pair):
    machine, _ = pair
    machine.run("logger", "--journald", stdin="MESSAGE=a word\nROOM=kitchen\n")
    (entry,) = machine.journal("ROOM=kitchen")
    assert entry["MESSAGE"] == "a word"


def test_the_project_is_there_where_it_is_to_be(machines):
    machine = machines("installed")
    assert machine.run("appliance", "--version").startswith("appliance ")
    assert machine.run("sensors", "--version").startswith("sensors ")
