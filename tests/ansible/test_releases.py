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
    waits*) # for three looks of which each takes longer than it may take to be ready
        sed 's/o//;t;s/.*/well/' "$PLAY/$unit" > "$PLAY/next"
        mv "$PLAY/next" "$PLAY/$unit"
        sleep 0.6; echo ActiveState=inactive; echo SubState=dead; echo Job=7; exit
        ;;
    stumbles) echo well > "$PLAY/$unit"; echo ActiveState=activating; echo SubState=auto-restart ;;
    dies) echo well-again > "$PLAY/$unit"; echo ActiveState=active; echo SubState=running; echo InvocationID=old ;;
    *) echo ActiveState=active; echo SubState=running; echo "InvocationID=$(cat "$PLAY/$unit.life")" ;;
    esac
    echo Job=
    echo "UnitFileState=$(cat "$PLAY/$unit.file" 2> /dev/null || echo enabled)"
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

    def disable(self, name):
        (self._folder / f"{name}.service.file").write_text("disabled\n")
        self.is_now(name, "off")

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
    kept = {path.name.rpartition(".")[0] for path in (computer.root / "good").iterdir()}
    assert kept == {"state", str(computer.config).strip("/").replace("/", "%2F")}


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


def test_a_hub_that_is_disabled_has_its_data_restored_too(computer):
    """Somebody may have switched it off for it did not run; the next release that it runs is the old one."""
    guarded(computer)
    other = computer.config.with_name("other.toml")
    other.write_text("b = 1\n")
    computer.service("agent", files=[str(other)])
    computer.activate("1")
    computer.disable("hub")
    computer.release("2", behaviour="fails")
    assert computer.activate("2").returncode == 1
    assert done_by(computer.told("guard")) == ["keep", "restore"]
    assert [line.split()[-1] for line in computer.told("restart")[2:]] == ["agent.service"] * 2


def test_a_description_with_one_file_more_is_still_gone_back_with(computer):
    computer.activate("1")
    other = computer.config.with_name("other.toml")
    other.write_text("b = 1\n")
    computer.service(files=[str(computer.config), str(other)])
    computer.release("2", behaviour="fails")
    assert "Rolled back to 1, which runs." in computer.activate("2").stdout
    assert len(computer.told("restart")) == 3


def test_every_service_is_started_whatever_fails_on_the_way_back(computer, monkeypatch):
    computer.service("agent", files=[])
    computer.activate("1")
    computer.release("2", behaviour="fails")
    module, releases = played(computer, monkeypatch)
    really = module.systemctl

    def systemctl(*words):
        if words[0] == "enable" and releases.current() == "1":
            raise module.Failed("the disk is full")
        really(*words)

    monkeypatch.setattr(module, "systemctl", systemctl)
    with pytest.raises(module.Failed, match="which is not well either: the disk is full; the disk is full"):
        releases.activate("2", 2)
    assert [line.split()[-1] for line in computer.told("restart")[-2:]] == ["agent.service", "hub.service"]


def test_a_way_back_of_which_the_note_was_lost_restores_the_data_as_well(computer, monkeypatch):
    """The disk was full; the link had been turned, so that it looks as if the power had gone before the switch."""
    guarded(computer)
    trial_ends_by_a_power_cut(computer, monkeypatch, at="_switch")
    computer.is_now("hub", "hangs")
    said = computer.run("resume").stdout
    assert done_by(computer.told("guard")) == ["keep", "restore"]
    assert "Rolled back to 1, which runs." in said


def test_data_that_cannot_be_restored_is_not_forgotten_and_keeps_no_service_down(computer):
    guarded(computer, failing="restore")
    computer.activate("1")
    computer.release("2", behaviour="fails")
    done = computer.activate("2")
    assert done.returncode == 1
    assert "Rolled back to 1, which is not well either: the guard of the data of hub.service could not" in done.stdout
    told = [line for line in computer.told("") if line.split()[0] in {"guard", "restart"}]
    assert told[-2:] == ["guard restore 1 2", "restart --no-block hub.service"]
    assert computer.current() == "1"
    guarded(computer)
    assert "Rolled back to 1, which runs." in computer.run("resume").stdout
    assert computer.told("guard")[-1] == "guard restore 1 2"
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": False}


def test_a_full_disk_before_the_switch_leaves_no_service_stopped(computer, monkeypatch):
    guarded(computer)
    computer.activate("1")
    computer.release("2")
    module, releases = played(computer, monkeypatch)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(releases, "_note", full)
    with pytest.raises(module.Failed, match=r"No space left on device\nNothing was changed\."):
        releases.activate("2", 2)
    assert computer.told("start") == ["start --no-block hub.service"]
    computer.config.write_text("a = 2\n")
    monkeypatch.setattr(module, "copy", full)
    with pytest.raises(module.Failed, match=r"No space left on device\n.*hub.toml could not be put back: No space"):
        releases.activate("2", 2)
    assert len(computer.told("start")) == 2
    computer.is_now("hub", "off")  # which somebody has stopped
    with pytest.raises(module.Failed):
        releases.activate("2", 2)
    assert len(computer.told("start")) == 2
    assert (computer.current(), len(computer.told("restart"))) == ("1", 1)


def test_a_full_disk_after_the_switch_is_a_reason_to_go_back(computer, monkeypatch):
    computer.activate("1")
    computer.release("2")
    module, releases = played(computer, monkeypatch)

    def full(_state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(releases, "_keep", full)
    with pytest.raises(module.Failed, match=r"No space left on device\nRolled back to 1, which runs"):
        releases.activate("2", 2)
    assert computer.current() == "1"


def test_a_power_cut_while_the_good_state_is_kept_leaves_one_that_is_whole(computer, monkeypatch):
    """Cut before each name that is made, turned or taken away, and once more behind the last."""
    computer.activate("1")
    computer.release("2")
    module, releases = played(computer, monkeypatch)
    left = 0

    def cut(step):
        def cut_or_done(*arguments, **more):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return step(*arguments, **more)

        return cut_or_done

    for owner, name in ((module.shutil, "copy2"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, cut(getattr(owner, name)))
    of, good, steps, is_cut = {releases.good().release: "a = 1\n"}, set(), 0, True
    while is_cut:
        text, left, is_cut = f"of = {steps}\n", steps, False
        computer.config.write_text(text)
        state = module.State(f"2-{steps}", {str(computer.config): module.digest(computer.config)})
        of[state.release] = text
        try:
            releases._keep(state)
        except KeyboardInterrupt:
            is_cut = True
        left = 1000
        computer.config.write_text("broken\n")
        found = releases.good()
        assert releases._put_back_files(found) == []
        assert computer.config.read_text() == of[found.release]
        good.add(found.release)
        steps += 1
    assert steps > 4  # a folder, a copy, two names, what is older
    assert {"1", f"2-{steps - 2}", f"2-{steps - 1}"} <= good  # the last cut came when all was kept
    assert len(list((computer.root / "good").iterdir())) == 2


def test_a_systemd_that_does_not_answer_is_no_reason_to_stop_half_way(monkeypatch):
    module = program()

    def slow(*_, **__):
        raise subprocess.TimeoutExpired("systemctl", 30)

    monkeypatch.setattr(module.subprocess, "run", slow)
    assert set(module.show("hub.service").values()) == {""}
    assert module.last_words("hub.service") == ""


def test_what_root_runs_is_not_taken_from_where_a_person_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert program().run(["sh", "-c", "pwd; exit 1"], 5.0) == "/"


def test_a_service_that_was_disabled_stays_down_until_it_is_set_up_again(computer):
    other = computer.config.with_name("other.toml")
    other.write_text("b = 1\n")
    computer.service("agent", files=[str(other)])
    computer.activate("1")
    computer.disable("agent")
    computer.release("2")
    assert computer.activate("2").returncode == 0
    assert computer.told("restart")[2:] == ["restart --no-block hub.service"]
    assert json.loads(computer.activate("2", "--check").stdout) == {"due": False}
    assert computer.activate("2", "--own=agent").returncode == 0
    assert computer.told("restart")[3:] == ["restart --no-block agent.service"]


def with_an_agent(computer, is_well=True):
    """The hub is well, and its computer has an agent of its own, with a file of its own."""
    computer.activate("1", "--own=hub")
    settings = computer.config.with_name("agent.toml")
    settings.write_text("b = 1\n")
    computer.service("agent", files=[str(settings)])
    computer.is_now("agent", "off")
    if is_well:
        assert computer.activate("1", "--own=agent").returncode == 0
    return settings


def test_an_agent_that_never_ran_keeps_the_hub_of_its_computer_from_nothing(computer):
    settings = with_an_agent(computer, is_well=False)
    (computer.root / "releases/1/behaviour").write_text("fails")
    done = computer.activate("1", "--own=agent")
    assert done.returncode == 1
    assert "agent.service never ran: mend the cause, and run the playbook again." in done.stdout
    assert len(computer.told("restart")) == 2  # nobody touched the hub
    (computer.root / "releases/1/behaviour").write_text("well")
    assert json.loads(computer.activate("1", "--own=hub").stdout) == {"changed": False}
    settings.write_text("b = 2\n")  # is the next run's of the agent
    assert json.loads(computer.activate("1", "--own=hub", "--check").stdout) == {"due": False}
    assert computer.activate("1", "--own=agent").returncode == 0
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": False}


@pytest.mark.parametrize("how", ["fails", "off"])
def test_an_agent_that_is_down_vetoes_no_release_of_the_hub(computer, how):
    settings = with_an_agent(computer)
    settings.write_text("b = 2\n")  # which may be why
    computer.is_now("agent", how)
    computer.release("2")
    assert json.loads(computer.activate("2", "--own=hub").stdout.splitlines()[-1]) == {"changed": True}
    assert [line.split()[-1] for line in computer.told("restart")[2:]] == ["hub.service"]
    assert json.loads(computer.activate("2", "--own=agent").stdout.splitlines()[-1]) == {"changed": True}
    assert json.loads(computer.activate("2", "--check").stdout) == {"due": False}


def test_an_agent_that_was_not_well_before_need_not_be_after(computer):
    """Its account is gone, and it is given another one after the hub."""
    settings = with_an_agent(computer)
    computer.service("agent", files=[str(settings)], health=["false"])
    computer.release("2")
    assert json.loads(computer.activate("2", "--own=hub").stdout.splitlines()[-1]) == {"changed": True}
    assert {line.split()[-1] for line in computer.told("restart")[2:]} == {"hub.service", "agent.service"}
    computer.release("3", behaviour="fails")
    done = computer.activate("3", "--own=hub")
    assert "Rolled back to 2, which runs.\n" in done.stdout
    assert "never ran" not in done.stdout


def test_a_disabled_agent_keeps_the_copy_of_its_file(computer):
    settings = with_an_agent(computer)
    computer.disable("agent")
    computer.config.write_text("a = 2\n")
    assert computer.activate("1", "--own=hub").returncode == 0
    settings.write_text("broken\n")
    (computer.root.parent / "agent.service.file").write_text("enabled\n")
    (computer.root / "releases/1/behaviour").write_text("fails")
    computer.activate("1", "--own=agent")
    assert settings.read_text() == "b = 1\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_copies_of_an_earlier_version_of_this_program_are_found_and_missing_ones_told(computer, is_there):
    settings = with_an_agent(computer)
    good = computer.root / "good"
    for kept in [kept for kept in good.iterdir() if kept.name != "state.json"]:
        kept.rename(good / kept.name.rpartition(".")[0])
    computer.is_now("agent", "fails")
    settings.write_text("broken\n")
    computer.config.write_text("a = 2\n")
    assert computer.activate("1", "--own=hub").returncode == 0  # keeps what it has of the agent's
    computer.release("2", behaviour="fails")
    if not is_there:
        for kept in good.glob("*agent.toml*"):
            kept.unlink()
    said = computer.activate("2").stdout
    assert settings.read_text() == ("b = 1\n" if is_there else "broken\n")
    assert (f"{settings} could not be put back: there is no copy of it" in said) != is_there
    assert computer.config.read_text() == "a = 2\n"


def test_what_is_kept_of_a_service_that_was_not_looked_at_is_what_was_good(computer):
    settings = with_an_agent(computer)
    computer.is_now("agent", "fails")
    settings.write_text("broken\n")
    computer.config.write_text("a = 2\n")
    assert computer.activate("1", "--own=hub").returncode == 0
    computer.release("2", behaviour="fails")
    assert computer.activate("2").returncode == 1
    assert settings.read_text() == "b = 1\n"
    assert computer.config.read_text() == "a = 2\n"


def test_a_hub_that_is_up_is_left_well_by_its_agents_release_too(computer):
    with_an_agent(computer)
    computer.release("2", health='[ "$(wc -l < "$PLAY/told")" -lt 0 ]')
    assert "hub.service" in computer.activate("2", "--own=agent").stdout
    assert computer.current() == "1"


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


def test_back_passes_over_a_release_that_was_not_well(computer):
    computer.activate("1")
    for name, behaviour in (("2", "well"), ("3", "fails")):
        computer.release(name, behaviour)
        computer.activate(name, "--keep=3")
    assert computer.run("list").stdout.splitlines() == ["  3 (was not well)", "* 2", "  1"]
    assert computer.run("back", "--keep=3").returncode == 0
    assert computer.current() == "1"
    (computer.root / "releases/3/behaviour").write_text("well")  # a second try is anybody's to order
    assert computer.activate("3", "--keep=3").returncode == 0
    assert computer.run("list").stdout.splitlines() == ["* 3", "  2", "  1"]


def test_there_is_no_way_back_from_the_only_release(computer):
    computer.activate("1")
    done = computer.run("back")
    assert (done.returncode, done.stdout) == (1, "there is no other release here\n")


def trial_ends_by_a_power_cut(computer, monkeypatch, at="_run", **release):
    """Release 1 is well, and the power goes while 2 is on trial."""
    computer.activate("1")
    computer.release("2", **release)
    _, releases = played(computer, monkeypatch)
    monkeypatch.setattr(releases, at, power_cut)
    with pytest.raises(KeyboardInterrupt):
        releases.activate("2", 2)


@pytest.mark.parametrize("how", ["resume", "activate"])
def test_a_way_back_that_a_power_cut_ended_is_gone_to_its_end(computer, how, monkeypatch):
    guarded(computer)
    trial_ends_by_a_power_cut(computer, monkeypatch, at="_restore", behaviour="fails")
    assert (computer.current(), done_by(computer.told("guard"))) == ("1", ["keep"])
    done = computer.run("resume") if how == "resume" else computer.activate("2")
    assert done.returncode == (how == "activate")  # a computer that went back has booted well
    assert ("run the playbook again" in done.stdout) == (how == "activate")
    assert "the way back from release 2 had not come to its end\n" in done.stdout
    assert "Rolled back to 1, which runs." in done.stdout
    assert computer.told("guard")[1:] == ["guard restore 1 2"]
    assert not (computer.root / "trial.json").exists()
    assert json.loads(computer.activate("1", "--check").stdout) == {"due": False}


def test_a_power_cut_before_the_switch_leaves_no_copy_of_the_data(computer, monkeypatch):
    guarded(computer)
    trial_ends_by_a_power_cut(computer, monkeypatch, at="_switch")
    assert computer.current() == "1"
    assert "hub.service is well" in computer.run("resume").stdout
    assert done_by(computer.told("guard")) == ["keep", "forget"]
    assert (computer.current(), (computer.root / "trial.json").exists()) == ("1", False)


def test_a_power_cut_while_the_data_is_kept_leaves_no_old_release_with_new_files(computer, monkeypatch):
    """Which it may not know how to read; the files came before its trial."""
    computer.activate("1")
    guarded(computer)
    computer.release("2")
    computer.config.write_text("new_key = 2\n")
    _, releases = played(computer, monkeypatch)
    monkeypatch.setattr(releases, "_guard", power_cut)
    with pytest.raises(KeyboardInterrupt):
        releases.activate("2", 2)
    computer.is_now("hub", "fails")
    done = computer.run("resume")
    assert "release 2 was on trial when the computer went down; 1 is the current one\n" in done.stdout
    assert "Rolled back to 1, which runs." in done.stdout
    assert computer.config.read_text() == "a = 1\n"
    assert not (computer.root / "trial.json").exists()
    assert computer.run("list").stdout == "  2\n* 1\n"  # nobody has tried it


def test_a_service_that_was_down_before_the_trial_is_not_asked_for_after_a_power_cut_either(computer, monkeypatch):
    with_an_agent(computer)
    computer.is_now("agent", "fails")
    computer.release("2")
    _, releases = played(computer, monkeypatch)
    releases._own = "hub"
    monkeypatch.setattr(releases, "_run", power_cut)
    with pytest.raises(KeyboardInterrupt):
        releases.activate("2", 2)
    said = computer.run("resume").stdout
    assert "hub.service is well" in said
    assert "agent.service" not in said
    assert computer.current() == "2"


def test_a_trial_that_was_killed_is_judged_with_what_the_next_run_brings(computer, monkeypatch):
    """No boot came between: what runs has read the files of before."""
    trial_ends_by_a_power_cut(computer, monkeypatch)
    computer.config.write_text("a = 2\n")
    assert computer.activate("2").returncode == 0
    assert computer.told("restart")[1:] == ["restart --no-block hub.service"]
    assert json.loads(computer.activate("2", "--check").stdout) == {"due": False}


def test_a_first_trial_that_was_cut_off_before_the_switch_begins_anew(computer, monkeypatch):
    _, releases = played(computer, monkeypatch)
    computer.disable("hub")  # as a unit is that was never started
    releases._own = "hub"
    monkeypatch.setattr(releases, "_switch", power_cut)
    with pytest.raises(KeyboardInterrupt):
        releases.activate("1", 2)
    assert computer.run("resume").returncode == 0
    assert (computer.root / "trial.json").exists()
    assert not (computer.root / "good").exists()
    assert computer.activate("1", "--own=hub").returncode == 0
    assert (computer.current(), (computer.root / "trial.json").exists()) == ("1", False)


def test_where_every_service_is_disabled_nothing_is_proved(computer):
    computer.activate("1")
    computer.disable("hub")
    computer.release("2")
    done = computer.activate("2")
    assert (done.returncode, computer.current()) == (1, "1")
    assert "all services are disabled" in done.stdout


def test_what_is_noted_of_a_trial_and_damaged_leaves_it_a_trial(computer, monkeypatch):
    trial_ends_by_a_power_cut(computer, monkeypatch)
    (computer.root / "trial.json").write_text("[]")
    assert "hub.service is well" in computer.run("resume").stdout
    assert computer.current() == "2"


def test_what_a_service_waits_for_in_a_boot_is_not_counted_against_it(computer, monkeypatch):
    trial_ends_by_a_power_cut(computer, monkeypatch)
    computer.is_now("hub", "waits-ooo")
    assert "hub.service is well" in computer.run("resume").stdout
    assert computer.current() == "2"


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
    _, releases = played(computer, monkeypatch)
    monkeypatch.setattr(os, "sync", lambda: told.append((computer.root / "trial.json").exists()))
    releases.activate("1", 2)
    assert told == [False]


def played(computer, monkeypatch):
    """Give the program as a module, and its releases, with the systemd that is played."""
    for name in ("PATH", "PLAY"):
        monkeypatch.setenv(name, computer.environment[name])
    module = program()
    return module, module.Releases(computer.root, lambda _: None)


def done_by(told):
    """Give the verbs of what a guard was told."""
    return [line.split()[1] for line in told]


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
    module, releases = played(computer, monkeypatch)
    tried = []
    monkeypatch.setattr(module, "SURE_S", 0.0)
    (service,) = releases.services()

    def run(words, timeout_s):
        tried.append(words)
        assert timeout_s == 30.0
        return answers[len(tried) - 1]

    monkeypatch.setattr(module, "run", run)
    with pytest.raises(module.Failed, match="refused") if answers[-1] else nullcontext():
        releases._ask(service, "1")
    assert len(tried) == tries


def test_one_try_may_take_half_of_the_whole_time(computer, monkeypatch):
    """On a Pi Zero the check itself takes longer than it does elsewhere."""
    computer.activate("1")
    computer.service(health_s=200, ready_s=90)
    module, releases = played(computer, monkeypatch)
    given = []
    monkeypatch.setattr(module, "run", lambda _, timeout_s: given.append(round(timeout_s)) or "")
    (service,) = releases.services()
    releases._ask(service, "1")
    releases._look(service, "1")
    assert given == [100, 90]


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
