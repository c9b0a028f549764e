"""A release is kept when it is well, and what ran before runs again when it is not. systemctl is played here; the real
one is in tests/machines.
"""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "ansible/roles/release/files/releases.py"

SYSTEMCTL = """#!/bin/sh
# Stands for systemd, in the folder $PLAY: a unit behaves as the current release's file `behaviour` says.
set -eu
echo "$*" >> "$PLAY/told"
for unit in "$@"; do :; done
life() { echo "$(basename "$(readlink "$PLAY/root/current")")-$(wc -l < "$PLAY/told")"; }
case $1 in
restart)
    cp "$PLAY/root/current/behaviour" "$PLAY/$unit"
    life > "$PLAY/$unit.life"
    ;;
show)
    case $(cat "$PLAY/$unit" 2> /dev/null || echo off) in
    off) echo ActiveState=inactive; echo SubState=dead ;;
    fails) echo ActiveState=activating; echo SubState=auto-restart ;;
    hangs) echo ActiveState=activating; echo SubState=start ;;
    stumbles) echo well > "$PLAY/$unit"; echo ActiveState=activating; echo SubState=auto-restart ;;
    dies) echo well-again > "$PLAY/$unit"; echo ActiveState=active; echo SubState=running; echo InvocationID=old ;;
    *) echo ActiveState=active; echo SubState=running; echo "InvocationID=$(cat "$PLAY/$unit.life")" ;;
    esac
    echo Job=
    ;;
esac
"""


class Computer:
    """A directory of releases, and a systemd that is played."""

    def __init__(self, folder):
        self.root = folder / "root"
        (self.root / "releases").mkdir(parents=True)
        (self.root / "services").mkdir()
        (folder / "bin").mkdir()
        for name, text in {"systemctl": SYSTEMCTL, "journalctl": "#!/bin/sh\necho the last words\n"}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (folder / "told").touch()
        self._folder = folder
        self.environment = {**os.environ, "PLAY": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        self._made = 0
        self.config = folder / "hub.toml"
        self.config.write_text("a = 1\n")

    def release(self, name, behaviour="well", health="exit 0", check="exit 0"):
        place = self.root / "releases" / name
        place.mkdir()
        (place / "behaviour").write_text(behaviour)
        for script, text in {"health": health, "check": check}.items():
            (place / script).write_text(f"#!/bin/sh\n{text}\n")
            (place / script).chmod(0o755)
        (place / ".complete").touch()
        self._made += 1
        os.utime(place / ".complete", (self._made, self._made))

    def service(self, name="hub", **more):
        told = {
            "unit": f"{name}.service",
            "files": [str(self.config)],
            "check": ["{release}/check"],
            "health": ["{release}/health"],
            "ready_s": 0.5,
            "health_s": 0.5,
            "settle_s": 0,
        }
        (self.root / "services" / f"{name}.json").write_text(json.dumps({**told, **more}))

    def run(self, *words):
        command = [sys.executable, PROGRAM, "--root", self.root, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)

    def activate(self, name, *words):
        done = self.run("activate", *words, name)
        assert done.stderr == ""
        return done

    def is_now(self, name, behaviour):
        (self._folder / f"{name}.service").write_text(f"{behaviour}\n")

    def current(self):
        return (self.root / "current").readlink().name

    def told(self, word):
        return [line for line in (self._folder / "told").read_text().splitlines() if line.startswith(word)]

    def releases(self):
        return sorted(path.name for path in (self.root / "releases").iterdir())


@pytest.fixture
def computer(tmp_path):
    made = Computer(tmp_path)
    made.service()
    made.release("1")
    return made


def test_the_first_release_is_started(computer):
    done = computer.activate("1")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"changed": True}
    assert computer.current() == "1"
    assert computer.told("restart") == ["restart --no-block hub.service"]


def test_times_may_be_written_as_text(computer):
    computer.release("2", behaviour="hangs")
    computer.service(ready_s="0.5", health_s="0.5", settle_s="0")
    assert computer.activate("1").returncode == 0
    assert "was not ready after 0.5 s" in computer.activate("2").stdout
    computer.service(ready_s="soon")
    assert "describes no service" in computer.activate("1").stdout


def test_a_program_in_the_place_of_the_link_is_told_of_before_anything_is_stopped(computer):
    (computer.root / "current" / "bin").mkdir(parents=True)
    done = computer.run("activate", "1")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{computer.root}/current is no link to a release, but was made by hand" in done.stdout
    assert not (computer.root / "trial.json").exists()
    assert computer.told("restart") == []


def test_a_second_time_changes_nothing(computer):
    computer.activate("1")
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": False}
    assert json.loads(computer.activate("1").stdout) == {"changed": False}
    assert len(computer.told("restart")) == 1


def test_a_changed_file_restarts_its_service_alone(computer):
    other = computer.config.with_name("other.toml")
    other.write_text("b = 1\n")
    computer.service("agent", files=[str(other)])
    computer.activate("1")
    computer.config.write_text("a = 2\n")
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": True}
    assert computer.activate("1").returncode == 0
    assert computer.told("restart")[2:] == ["restart --no-block hub.service"]


def test_a_newer_release_restarts_all_services(computer):
    computer.service("agent", files=[])
    computer.activate("1")
    computer.release("2")
    assert computer.activate("2").returncode == 0
    assert [line.split()[-1] for line in computer.told("restart")[2:]] == ["agent.service", "hub.service"]


BROKEN = {
    "it ends while it starts": ({"behaviour": "fails"}, "hub.service of release 2 ended while it started"),
    "it is never ready": ({"behaviour": "hangs"}, "hub.service of release 2 was not ready after 0.5 s"),
    "it does not answer": (
        {"health": "echo nobody answers; exit 1"},
        "the health check of hub.service failed for 0.5 s with release 2: nobody answers",
    ),
    "it does not stay up": ({"behaviour": "dies"}, "hub.service of release 2 did not stay up"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_release_that_is_not_well_is_taken_back(computer, how):
    release, words = BROKEN[how]
    computer.activate("1")
    computer.release("2", **release)
    done = computer.activate("2")
    assert done.returncode == 1
    assert words in done.stdout
    assert "the last words" in done.stdout
    assert done.stdout.splitlines()[-1] == "Rolled back to 1, which runs."
    assert computer.current() == "1"
    assert len(computer.told("restart")) == 3
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": False}


def test_a_configuration_that_the_new_release_refuses_stops_nothing_and_is_put_back(computer):
    computer.activate("1")
    computer.release("2", check="echo hub.toml line 1: unknown key; exit 78")
    computer.config.write_text("b = 1\n")
    done = computer.activate("2")
    assert done.returncode == 1
    assert "release 2 refuses the configuration of hub.service: hub.toml line 1: unknown key" in done.stdout
    assert computer.config.read_text() == "a = 1\n"
    assert computer.current() == "1"
    assert len(computer.told("restart")) == 1


def test_the_files_go_back_with_the_release_and_keep_their_mode(computer):
    computer.config.chmod(0o640)
    computer.activate("1")
    computer.release("2", health="exit 1")
    computer.config.write_text("of = 2\n")
    computer.config.chmod(0o600)
    assert computer.activate("2").returncode == 1
    assert computer.config.read_text() == "a = 1\n"
    assert computer.config.stat().st_mode & 0o777 == 0o640


def test_a_secret_restarts_its_service_and_is_neither_copied_nor_put_back(computer):
    secret = computer.config.with_name("secret")
    secret.write_text("of old\n")
    computer.service(watched=[str(secret)])
    computer.activate("1")
    secret.write_text("of now\n")
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": True}
    computer.release("2", health="exit 1")
    assert computer.activate("2").returncode == 1
    assert secret.read_text() == "of now\n"
    kept = [path.name for path in (computer.root / "good").iterdir()]
    assert sorted(kept) == sorted(["state.json", str(computer.config).strip("/").replace("/", "%2F")])


def guarded(computer, failing=""):
    """Let a guard write down when it was called; it fails at one verb."""
    script = computer.root / "guard"
    script.write_text(f'#!/bin/sh\necho "guard $1 ${{2##*/}} ${{3##*/}}" >> "$PLAY/told"\n[ "$1" != "{failing}" ]\n')
    script.chmod(0o755)
    computer.service(guard=[str(script)])


def test_the_data_is_kept_before_the_switch_and_restored_while_the_service_is_stopped(computer):
    guarded(computer)
    computer.activate("1")
    computer.release("2", behaviour="fails")
    assert computer.activate("2").returncode == 1
    told = [line for line in computer.told("") if line.split()[0] in {"guard", "stop", "restart"}]
    restart = "restart --no-block hub.service"
    assert told == [restart, "guard keep 1 2", restart, "stop hub.service", "guard restore 1 2", restart]


def test_what_was_kept_of_the_data_is_forgotten_when_all_is_well(computer):
    guarded(computer)
    computer.activate("1")
    computer.release("2")
    assert computer.activate("2").returncode == 0
    assert computer.told("guard") == ["guard keep 1 2", "guard forget 1 2"]
    computer.config.write_text("a = 2\n")  # of the same release
    assert computer.activate("2").returncode == 0
    assert len(computer.told("guard")) == 2


def test_data_that_cannot_be_kept_leaves_everything_as_it_is(computer):
    guarded(computer, failing="keep")
    computer.activate("1")
    computer.release("2")
    done = computer.activate("2")
    assert done.returncode == 1
    assert "the guard of the data of hub.service could not keep" in done.stdout
    assert computer.current() == "1"
    assert len(computer.told("restart")) == 1


def test_a_first_release_that_is_not_well_says_that_there_is_nothing_to_go_back_to(computer):
    computer.release("0", behaviour="fails")
    done = computer.activate("0")
    assert done.returncode == 1
    assert "There is no earlier release to go back to" in done.stdout
    assert computer.activate("1").returncode == 0


def test_previous_releases_are_kept_and_older_ones_removed(computer):
    assert computer.activate("1").returncode == 0
    for number in range(2, 5):
        computer.release(str(number))
        assert computer.activate(str(number)).returncode == 0
    assert computer.releases() == ["3", "4"]
    computer.release("5")
    computer.release("6")
    assert computer.activate("6", "--keep=3").returncode == 0
    assert computer.releases() == ["4", "5", "6"]


def test_back_goes_to_the_release_before(computer):
    computer.activate("1")
    computer.release("2")
    computer.activate("2")
    assert computer.run("back").returncode == 0
    assert computer.current() == "1"
    assert computer.run("list").stdout.splitlines() == ["  2", "* 1"]


def test_there_is_no_way_back_from_the_only_release(computer):
    computer.activate("1")
    done = computer.run("back")
    assert (done.returncode, done.stdout) == (1, "there is no other release here\n")


def trial_ends_by_a_power_cut(computer, monkeypatch, **release):
    """Release 1 is well, and the power goes while 2 is on trial."""
    computer.activate("1")
    computer.release("2", **release)
    for name in ("PATH", "PLAY"):
        monkeypatch.setenv(name, computer.environment[name])
    releases = program().Releases(computer.root, lambda _: None)
    monkeypatch.setattr(releases, "_prove", power_cut)
    with pytest.raises(KeyboardInterrupt):
        releases.activate("2", 2)


@pytest.mark.parametrize(("health", "after"), [("exit 0", "2"), ("exit 1", "1")])
def test_a_trial_that_a_power_cut_ended_is_judged_at_the_next_boot(computer, health, after, monkeypatch):
    trial_ends_by_a_power_cut(computer, monkeypatch, health=health)
    assert computer.current() == "2"
    done = computer.run("resume")
    assert done.returncode == 0  # a computer that went back has booted well
    assert ("Rolled back to 1, which runs." in done.stdout) == (after == "1")
    assert computer.current() == after
    assert not (computer.root / "trial.json").exists()
    assert computer.run("resume").returncode == 0


def test_a_first_start_after_a_power_cut_may_fail_for_want_of_what_is_not_there_yet(computer, monkeypatch):
    trial_ends_by_a_power_cut(computer, monkeypatch)
    computer.is_now("hub", "stumbles")
    assert "hub.service is well" in computer.run("resume").stdout
    assert computer.current() == "2"


def test_a_release_is_on_the_disk_before_its_trial_begins(computer, monkeypatch):
    told = []
    releases = program().Releases(computer.root, lambda _: None)
    for name in ("PATH", "PLAY"):
        monkeypatch.setenv(name, computer.environment[name])
    monkeypatch.setattr(os, "sync", lambda: told.append((computer.root / "trial.json").exists()))
    releases.activate("1", 2)
    assert told == [False]


def program():
    """Load the program as a module."""
    spec = importlib.util.spec_from_file_location("releases", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["releases"] = module  # its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        (["refused"] * 9, 3),  # it says what is wrong, again and again
        (["refused", "refused", ""], 3),
        (["sh did not end in time", "refused", "refused", "refused", ""], 5),  # slow computers have the whole time
    ],
)
def test_a_service_that_answers_wrong_is_judged_sooner_than_one_that_is_slow(computer, monkeypatch, answers, tries):
    computer.activate("1")
    computer.service(health_s=60)
    for name in ("PATH", "PLAY"):
        monkeypatch.setenv(name, computer.environment[name])
    module, tried = program(), []
    monkeypatch.setattr(module, "SURE_S", 0.0)
    (service,) = module.Releases(computer.root, lambda _: None).services()

    def run(words, timeout_s):
        tried.append(words)
        assert timeout_s == 30.0
        return answers[len(tried) - 1]

    monkeypatch.setattr(module, "run", run)
    with pytest.raises(module.Failed, match="refused") if answers[-1] else nullcontext():
        module.Releases(computer.root, lambda _: None)._ask(service, "1")
    assert len(tried) == tries


def power_cut(*_, **__):
    raise KeyboardInterrupt


def test_a_release_that_is_not_whole_is_refused(computer):
    computer.release("2")
    (computer.root / "releases/2/.complete").unlink()
    done = computer.activate("2")
    assert (done.returncode, done.stdout) == (
        1,
        "there is no release 2 here, or it is not whole; see `releases list`\n",
    )


def test_a_service_that_is_down_is_started(computer):
    computer.activate("1")
    (computer.config.parent / "hub.service").write_text("off")
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": True}
    assert computer.activate("1").returncode == 0
    assert len(computer.told("restart")) == 2


def test_a_description_that_is_none_is_named(computer):
    (computer.root / "services/hub.json").write_text("{")
    done = computer.activate("1")
    assert done.returncode == 1
    assert "hub.json describes no service" in done.stdout
