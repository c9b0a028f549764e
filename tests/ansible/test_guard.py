"""What keeps a copy of the database while a release is on trial; in a booted machine it is in tests/machines."""

import os
import re
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "ansible/roles/appliance/templates/guard-appliance.j2"
PLAYED = {
    "systemctl": 'echo "$*" >> "$PLAY/told"',
    "setpriv": 'while [ "$1" != env ]; do shift; done; exec "$@"',
    "df": 'echo Avail; cat "$PLAY/free"',
}
APPLIANCE = """
# backup and restore as the program does them, but for their options; told to fail, each says why.
for last; do :; done
if [ -e "$PLAY/$1 fails" ]; then echo "cannot $1"; exit 74; fi
case $1 in
backup) cp "$3/appliance.db" "$last" ;;
restore) cp "$last" "$3/appliance.db" ;;
esac
"""
PYTHON = """
# What it is asked: which forms it knows, or whether it can read the database, which says of what form it is.
[ "$1 $2" = "-I -c" ] || exit 2
case $3 in
*newer_steps*) ! grep -q "form 3" "$4" || [ "STEPS" = "1 2 3" ] ;;
*) echo "STEPS" ;;
esac
"""


class Guard:
    """The script over a database that is a text, with two releases that know the forms of it."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        self.database, self.copy = self.state / "appliance.db", self.state / "before-release.db"
        self.database.write_text("before\n" * 1_000)
        (folder / "free").write_text("100000\n")
        (folder / "told").touch()
        for name, text in PLAYED.items():
            self._script(folder / "bin" / name, text)
        text = TEMPLATE.read_text().replace("{{ appliance_state_dir }}", str(self.state))
        self._script(folder / "guard", re.sub(r"^#!/bin/sh\n", "", text))
        self.release("old", "1 2")
        self.release("new", "1 2 3")

    def _script(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def release(self, name, steps):
        self._script(self.folder / name / "bin" / "python", PYTHON.replace("STEPS", steps) if steps else "exit 127")
        self._script(self.folder / name / "bin" / "appliance", APPLIANCE)

    def run(self, verb):
        return subprocess.run(
            [self.folder / "guard", verb, self.folder / "old", self.folder / "new"],
            env={**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "PLAY": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self):
        return (self.folder / "told").read_text().splitlines()


@pytest.fixture
def guard(tmp_path):
    return Guard(tmp_path)


def test_a_database_whose_form_will_change_is_kept_and_put_back(guard):
    assert guard.run("keep").returncode == 0
    assert (guard.copy.read_text(), guard.told()) == (guard.database.read_text(), ["stop appliance.service"])
    guard.database.write_text("form 3\n")
    assert guard.run("restore").returncode == 0
    assert (guard.database.read_text()[:7], guard.copy.exists()) == ("before\n", False)


def test_what_the_old_release_can_read_is_never_replaced(guard):
    """The new one may have ended before it changed it, and the old one may have recorded since then."""
    guard.run("keep")
    guard.database.write_text("recorded since\n")
    for _ in range(2):
        assert guard.run("restore").returncode == 0
        assert (guard.database.read_text(), guard.copy.exists()) == ("recorded since\n", False)


def test_a_database_that_the_old_release_cannot_read_holds_up_no_newer_one(guard):
    guard.database.write_text("form 3\n")
    guard.copy.write_text("before\n")
    assert guard.run("keep").returncode == 0
    assert (guard.copy.exists(), guard.told()) == (True, [])


def test_what_was_kept_goes_when_the_new_release_is_well(guard):
    guard.run("keep")
    assert guard.run("forget").returncode == 0
    assert not guard.copy.exists()
    assert guard.run("forget").returncode == 0


@pytest.mark.parametrize("steps", ["1 2 3", ""], ids=["the same form", "an old one that does not run"])
def test_where_nothing_is_to_be_kept_nothing_is_stopped_and_an_older_copy_goes(guard, steps):
    guard.release("old", steps)
    guard.copy.write_text("of last year\n")
    assert guard.run("keep").returncode == 0
    assert (guard.copy.exists(), guard.told()) == (not steps, [])


def test_a_disk_without_room_for_a_copy_and_its_return_is_named_before_anything_stops(guard):
    (guard.folder / "free").write_text("15\n")
    done = guard.run("keep")
    assert done.returncode == 1
    assert "take up to 0 MB, and 0 MB are free in" in done.stdout
    assert done.stdout.endswith("make room there (*.before-restore-* are of earlier roll-backs)\n")
    assert (guard.copy.exists(), guard.told()) == (False, [])


def test_a_copy_that_fails_says_why(guard):
    (guard.folder / "backup fails").touch()
    done = guard.run("keep")
    assert (done.returncode, done.stdout) == (74, "cannot backup\n")
    assert guard.told() == ["stop appliance.service"]  # releases.py starts it again


def test_what_cannot_be_put_back_stays_for_the_next_try(guard):
    guard.run("keep")
    guard.database.write_text("form 3\n")
    (guard.folder / "restore fails").touch()
    done = guard.run("restore")
    assert done.returncode == 1
    assert f"the database as it was before is still {guard.copy}: make room in {guard.state}, or move" in done.stdout
    assert guard.copy.exists()
