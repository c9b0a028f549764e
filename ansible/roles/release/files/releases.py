#!/usr/bin/python3
"""Which release of the home-sensor appliance runs on this computer: lists, activates, goes back.

A release is a virtual environment below `releases/`, beside this file; the link `current` says which one the units
start. What runs is proved: a change is kept when each unit says READY in time and its health check succeeds. If not,
the link and the files of the units are put back as they were when everything was well, and run again. A trial that a
power cut ends is judged after the next boot, and a way back that it ends is gone to its end (`resume`).

Each service names itself in `services/NAME.json`:
`unit`, `files` (what a roll-back puts back), `watched` (further ones whose change restarts it, such as a secret),
`check` and `health` (command lines; `{release}` is the directory of the release), `guard` (command line, see Releases),
`ready_s`, `health_s` (seconds), `settle_s` (seconds that it must then run on).

Needs nothing but Python: it must work when the release does not.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

COMPLETE = ".complete"  # in a release: all of it is there
UNWELL = ".unwell"  # in a release: the last time it was tried it was not well
POLL_S = 0.2
SURE_S = 5.0  # a service that says READY and answers wrong for so long, and so often, is not well
SURE_TRIES = 3
COMMAND_S = 30.0  # the longest that one command of a check may take
GUARD_S = 3600.0  # to copy a large database on a slow card
LISTS = ("files", "watched", "check", "health", "guard")
TIMES = ("ready_s", "health_s", "settle_s")
CUT_OFF = "did not end in time"


class Failed(Exception):
    """What was wanted did not come about; the text says why, in a line or a few."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One unit that starts from the current release."""

    unit: str
    files: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    guard: tuple[str, ...] = ()
    ready_s: float = 60.0
    health_s: float = 30.0
    settle_s: float = 3.0

    @property
    def told_by(self) -> tuple[str, ...]:
        """Files whose change restarts it."""
        return self.files + self.watched

    @classmethod
    def read(cls, path: Path) -> "Service":
        """Read one; Failed where the file is not what it should be."""
        try:
            told = json.loads(path.read_text())
            lists = {key: tuple(told.pop(key)) for key in LISTS if key in told}
            times = {key: float(told.pop(key)) for key in TIMES if key in told}  # Ansible may write them as text
            return cls(**told, **lists, **times)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise Failed(f"{path} describes no service ({error}); run the playbook again") from error


@dataclass(frozen=True)
class Trial:
    """What goes on: a release that is tried, or the way back from it; and the units that it must leave well."""

    release: str
    back: bool = False
    units: tuple[str, ...] = ()  # none: all


@dataclass(frozen=True)
class State:
    """What is told apart: the release, and what stands in the files of the services."""

    release: str
    files: dict[str, str] = field(default_factory=dict)  # path -> SHA-256; "" where there is no such file


class Releases:
    """The releases below one directory. `say` gets a line for each step.

    What a release changes of a service's data cannot be put back with links and files. So its `guard` is called with
    the directories of both releases: `keep OLD NEW` before the switch, `restore OLD NEW` when the old one is to run
    again and the unit is stopped, and `forget OLD NEW` when the new one is well; the last two perhaps more than once.

    `own` names the service that is set up just now: nothing that another one lacks keeps it from that. Others that
    somebody has disabled, and that are down, stay so.
    """

    def __init__(self, root: Path, say: Callable[[str], None], own: str = "") -> None:
        self._root = root
        self._say = say
        self._own = own
        self._link = root / "current"
        self._good = root / "good"
        self._trial = root / "trial.json"

    def services(self) -> list[Service]:
        """Give those of this computer that are to run, in the order of their names."""
        return [one for name, one in self._described().items() if name == self._own or not is_retired(show(one.unit))]

    def _described(self) -> dict[str, Service]:
        return {path.stem: Service.read(path) for path in sorted((self._root / "services").glob("*.json"))}

    def _regarded(self, release: str) -> list[Service]:
        """Give those that a change must leave well.

        Where one is set up, of the same release it alone, of another one those beside it that are up.
        """
        services, own = self.services(), self._described().get(self._own)
        if own is None:
            return services
        good = self.good()
        if good is not None and good.release == release == self.current():
            return [own]
        return [one for one in services if one == own or not is_down(show(one.unit))]

    def _is_excused(self, service: Service, release: str) -> bool:
        """Whether a service beside the one that is set up is not well before anything changes: it need not be after."""
        own = self._described().get(self._own)
        if own in {None, service} or not service.health:
            return False
        return run(self._words(service.health, release), COMMAND_S) != ""

    def current(self) -> str:
        """Give the release that the units start; empty where there is none."""
        return self._link.readlink().name if self._link.is_symlink() else ""

    def known(self) -> list[str]:
        """Give the releases that are whole, the newest first."""
        marks = sorted((self._root / "releases").glob(f"*/{COMPLETE}"), key=lambda mark: -mark.stat().st_mtime)
        return [mark.parent.name for mark in marks]

    def good(self) -> State | None:
        """Give the last state that was proved; None before the first."""
        with suppress(OSError, ValueError, TypeError):
            return State(**json.loads((self._good / "state.json").read_text()))
        return None

    def wanted(self, release: str, services: Sequence[Service], good: State | None) -> State:
        """Give the state of a release with the files of these services as they are, of others as they were good."""
        known = good.files if good is not None else {}
        others = {path for one in self._described().values() for path in one.told_by if path in known}
        now = {path: digest(Path(path)) for service in services for path in service.told_by}
        return State(release, {path: known[path] for path in others} | now)

    def is_due(self, release: str) -> bool:
        """Whether `activate` would change anything."""
        services, good = self._regarded(release), self.good()
        return (
            self._trial.exists()
            or self.current() != release
            or good != self.wanted(release, services, good)
            or any(show(service.unit)["ActiveState"] != "active" for service in services)
        )

    def activate(self, release: str, keep: int) -> bool:
        """Make a release the current one, and prove it; whether anything was changed. Failed after the roll-back."""
        if release not in self.known():
            raise Failed(f"there is no release {release} here, or it is not whole; see `releases list`")
        if self._link.is_dir() and not self._link.is_symlink():
            cure = f"stop its services, move it away (mv {self._link} {self._link}.by-hand), and run this again"
            raise Failed(f"{self._link} is no link to a release, but was made by hand: {cure}. Nothing was changed.")
        if not self.is_due(release):
            return False
        try:
            self.resume(restart=True)  # what it kept of the data is not to be lost
        except Failed as error:
            raise Failed(
                f"{error}\nWhat was to be activated has to be brought once more: run the playbook again."
            ) from None
        services = self._regarded(release)
        if not services:
            raise Failed(
                "all services are disabled, so that nothing could be proved: `systemctl enable` what is to run"
            )
        good = self.good()
        wanted = self.wanted(release, services, good)
        touched = [
            service
            for service in services
            if good is None
            or release != good.release
            or any(good.files.get(path) != wanted.files[path] for path in service.told_by)
            or show(service.unit)["ActiveState"] != "active"
        ]
        previous = self.current()
        held = [service.unit for service in touched if not self._is_excused(service, previous)]
        touched = [one if one.unit in held else replace(one, health=()) for one in touched]
        former = good.release if good is not None and good.release != release else ""  # to which it may go back
        to_start = [one for one in touched if one.guard and show(one.unit)["ActiveState"] in {"active", "activating"}]
        try:
            for service in touched:
                self._look(service, release)
            os.sync()  # a power cut must not find a release on trial, or kept, whose files never reached the disk
            self._note(Trial(release, units=tuple(held)))
            if former:
                self._guard("keep", self._guarded(), former, release)
        except (Failed, OSError) as error:
            troubles = [str(error), *self._put_back_files(good)]
            with suppress(OSError):
                self._end_trial()
            for service in to_start:  # which its guard may have stopped
                with suppress(Failed):
                    systemctl("start", "--no-block", service.unit)
            ending = [] if len(troubles) > 1 else ["Nothing was changed."]
            raise Failed("\n".join([*troubles, *ending])) from None
        self._prove(wanted, touched, restart=True, tried=release)
        if former:
            self._guard("forget", self._guarded(), former, release)
        self._end_trial()
        self._forget(keep, {previous})
        return True

    def resume(self, *, restart: bool = False) -> bool:
        """Judge the trial that was cut off; whether there was one. Failed after the roll-back.

        By a power cut, the services have been started since; with `restart` they may run with older files, or not.
        """
        current, trial = self.current(), self._noted()
        services = [one for one in self.services() if not trial.units or one.unit in trial.units]
        if not self._trial.exists() or not services:  # without any, it is judged when the first is set up
            return False
        if not current:  # it was to be the first one, and its turn had not come
            self._end_trial()
            return False
        if trial.back:
            self._say(f"the way back from release {trial.release} had not come to its end")
            raise Failed(self._roll_back(services, trial.release))
        self._say(f"release {trial.release} was on trial when the computer went down; {current} is the current one")
        self._prove(self.wanted(current, services, self.good()), services, restart=restart, tried=trial.release)
        self._guard("forget", self._guarded(), current, trial.release)  # also where it went down before the switch
        self._end_trial()
        return True

    def _note(self, trial: Trial) -> None:
        """Write down what goes on, for `resume`."""
        write(self._trial, json.dumps(asdict(trial)))

    def _noted(self) -> Trial:
        """Give what was written down."""
        try:
            noted = json.loads(self._trial.read_text())
            return Trial(str(noted["release"]), bool(noted.get("back")), tuple(noted.get("units", ())))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # by another hand
            return Trial(self.current())

    def _end_trial(self) -> None:
        self._trial.unlink(missing_ok=True)
        flush(self._root)

    def back(self, keep: int) -> str:
        """Activate the newest other release, of those that were well if any; gives its name. Failed without one."""
        others = [release for release in self.known() if release != self.current()]
        other = next((release for release in others if not self.is_unwell(release)), next(iter(others), None))
        if other is None:
            raise Failed("there is no other release here")
        self.activate(other, keep)
        return other

    def is_unwell(self, release: str) -> bool:
        """Whether it was gone back from it the last time that it was tried."""
        return self._mark(release).exists()

    def _mark(self, release: str) -> Path:
        return self._root / "releases" / release / UNWELL

    def _look(self, service: Service, release: str) -> None:
        """Let the new release read the configuration, before anything is stopped."""
        if service.check and (trouble := run(self._words(service.check, release), max(COMMAND_S, service.ready_s))):
            raise Failed(f"release {release} refuses the configuration of {service.unit}: {trouble}")

    def _guard(self, verb: str, services: Sequence[Service], old: str, new: str) -> None:
        """Let those who guard the data of services do their part; Failed when one cannot."""
        places = [str(self._root / "releases" / release) for release in (old, new)]
        for service in services:
            if trouble := run([*service.guard, verb, *places], GUARD_S):
                raise Failed(f"the guard of the data of {service.unit} could not {verb}: {trouble}")

    def _guarded(self) -> list[Service]:
        """Give those whose data is guarded, whether they run or not."""
        return [service for service in self._described().values() if service.guard]

    def _words(self, words: Sequence[str], release: str) -> list[str]:
        return [word.replace("{release}", str(self._root / "releases" / release)) for word in words]

    def _switch(self, release: str) -> None:
        """Turn the link, at once."""
        beside = self._link.with_name(".current.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path("releases") / release)
        beside.rename(self._link)
        flush(self._root)
        self._say(f"current is {release}")

    def _prove(self, state: State, services: Sequence[Service], *, restart: bool, tried: str) -> None:
        """See that all is well and keep it, or go back to what was; Failed then."""
        try:
            if restart:
                self._switch(state.release)
            self._run(services, state.release, restart=restart)
            self._keep(state)
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{self._roll_back(services, tried)}") from None

    def _run(self, services: Sequence[Service], release: str, *, restart: bool) -> None:
        """Restart the services, each proved before the next one."""
        systemctl("daemon-reload")
        for service in services:
            systemctl("enable", service.unit)
            if restart:
                systemctl("restart", "--no-block", service.unit)
            self._await(service, release, again=not restart)

    def _await(self, service: Service, release: str, *, again: bool) -> None:
        """Wait until a service is ready and well; Failed when it is not in time.

        With `again` a start that fails is not the last word: while a computer boots, its network may not be there yet.
        """
        began = time.monotonic()
        while True:
            found = show(service.unit)
            waits = found["Job"] not in {"", "0"}  # until then the state is that of the life before
            if waits and found["ActiveState"] == "inactive":
                began = time.monotonic()  # what it waits for in a boot is no fault of its own
            if found["ActiveState"] == "active" and not waits:
                break
            if has_failed(found) and not waits and not again:
                raise Failed(f"{service.unit} of release {release} ended while it started\n{last_words(service.unit)}")
            if time.monotonic() - began > service.ready_s:
                late = f"{service.unit} of release {release} was not ready after {service.ready_s:g} s"
                raise Failed(f"{late}\n{last_words(service.unit)}")
            time.sleep(POLL_S)
        ready = time.monotonic()
        self._say(f"{service.unit} is ready after {ready - began:.1f} s")
        life = found["InvocationID"]
        if service.health:
            self._ask(service, release)
        time.sleep(max(0.0, ready + service.settle_s - time.monotonic()))
        found = show(service.unit)
        if found["ActiveState"] != "active" or found["InvocationID"] != life:
            raise Failed(f"{service.unit} of release {release} did not stay up\n{last_words(service.unit)}")
        self._say(f"{service.unit} is well")

    def _ask(self, service: Service, release: str) -> None:
        """Try the health check until it succeeds; Failed when it does not in time.

        One that is slow has the whole time, as on a small computer. Tries that all end by themselves, and say what is
        wrong, are an answer: then nobody is kept waiting for the rest of it.
        """
        began, tries, trouble, is_slow = time.monotonic(), 0, "it was not tried", False
        while (left := began + service.health_s - time.monotonic()) > 0:
            if tries >= SURE_TRIES and not is_slow and time.monotonic() - began > SURE_S:
                break
            said = run(self._words(service.health, release), min(left, max(COMMAND_S, left / 2)))
            if not said:
                return
            tries += 1
            if said.endswith(CUT_OFF):
                is_slow = True
            if left > COMMAND_S or not said.endswith(CUT_OFF) or tries == 1:
                trouble = said  # that the time of the last try was up tells less than what was wrong before
            time.sleep(POLL_S)
        lasted = min(service.health_s, time.monotonic() - began)
        failed = f"the health check of {service.unit} failed for {round(lasted, 1):g} s with release {release}"
        raise Failed(f"{failed}: {trouble}\n{last_words(service.unit)}")

    def _roll_back(self, services: Sequence[Service], failed: str) -> str:
        """Run what was well before; gives the words for what became of it."""
        good = self.good()
        if good is None or good.release not in self.known():
            self._end_trial()
            return "There is no earlier release to go back to; mend the cause, and run the playbook again."
        is_another, was_tried = good.release != failed, self.current() == failed
        # Another release means all of them, also those that were down: the restoring may stop one.
        again = [one for one in (self.services() if is_another else services) if was_good(one, good)]
        troubles: list[str] = []

        def attempt(step: Callable[[], None]) -> bool:
            """Go on after what fails: a service that is up again is worth more than the rest of the way."""
            try:
                step()
            except (Failed, OSError) as error:
                troubles.append(str(error))
                return False
            return True

        regarded = {service.unit: service for service in services}
        attempt(lambda: self._note(Trial(failed, back=True, units=tuple(regarded))))
        if is_another and was_tried:
            with suppress(OSError):  # it may not be there any more
                self._mark(failed).touch()
        troubles += self._put_back_files(good)
        attempt(lambda: self._switch(good.release))
        is_restored = not is_another or attempt(lambda: self._restore(good.release, failed))
        attempt(partial(systemctl, "daemon-reload"))
        for service in again:
            attempt(partial(systemctl, "enable", service.unit))
            attempt(partial(systemctl, "restart", "--no-block", service.unit))
        for service in again:
            if service.unit in regarded:
                attempt(partial(self._await, regarded[service.unit], good.release, again=False))
        if is_restored:  # else it is tried once more at the next boot, or before the next release
            self._end_trial()
        if troubles:
            return f"Rolled back to {good.release}, which is not well either: {'; '.join(troubles)}"
        new = regarded.keys() - {service.unit for service in again}
        ending = f" {', '.join(sorted(new))} never ran: mend the cause, and run the playbook again." if new else ""
        return f"Rolled back to {good.release}, which runs.{ending}"

    def _restore(self, old: str, new: str) -> None:
        """Put the data back as it was before a release, while nobody uses it."""
        guarded = self._guarded()
        for service in guarded:
            systemctl("stop", service.unit)
        self._guard("restore", guarded, old, new)

    def _keep(self, state: State) -> None:
        """Keep the files beside their state, for a roll-back. What was kept before holds until all of it is there."""
        self._good.mkdir(mode=0o700, exist_ok=True)
        flush(self._root)
        kept = {"state.json"}
        for path in self._copied():
            if known := state.files.get(path):
                target = self._good / kept_name(path, known)
                kept.add(target.name)
                if digest(Path(path)) == known:
                    copy(Path(path), target)
                elif (copied := self._copy_of(path, known)) not in {None, target}:
                    copied.rename(target)
        write(self._good / "state.json", json.dumps({"release": state.release, "files": state.files}))
        for older in [path for path in self._good.iterdir() if path.name not in kept]:
            older.unlink()
        self._mark(state.release).unlink(missing_ok=True)

    def _put_back_files(self, good: State | None) -> list[str]:
        """Have the files as they were; gives what could not be put back."""
        troubles = []
        copied = self._copied()
        for path, known in (good.files if good else {}).items():
            try:
                if not known or path not in copied or digest(Path(path)) == known:
                    continue
                if (kept := self._copy_of(path, known)) is None:
                    troubles.append(f"{path} could not be put back: there is no copy of it")
                    continue
                copy(kept, Path(path))
                self._say(f"{path} is as it was")
            except OSError as error:
                troubles.append(f"{path} could not be put back: {error.strerror}")
        return troubles

    def _copied(self) -> set[str]:
        """Give the files of which copies are kept: those that a roll-back puts back, of every service."""
        return {path for service in self._described().values() for path in service.files}

    def _copy_of(self, path: str, known: str) -> Path | None:
        """Find what was kept of a file; earlier versions of this program named it by its path alone."""
        name = kept_name(path, known)
        for place in (self._good / name, self._good / name.rpartition(".")[0]):
            if digest(place) == known:
                return place
        return None

    def _forget(self, keep: int, needed: set[str]) -> None:
        """Remove releases beyond `keep`, never the current nor the needed ones."""
        needed = needed | {self.current()}
        others = [release for release in self.known() if release not in needed]
        for release in others[max(0, keep - len(needed - {""})) :]:
            (self._root / "releases" / release / COMPLETE).unlink()
            shutil.rmtree(self._root / "releases" / release)
            self._say(f"removed {release}")


def kept_name(path: str, known: str) -> str:
    """Give the name of a kept file: its path, in one level, and of its SHA-256 what tells its forms apart."""
    return f"{path.strip('/').replace('%', '%25').replace('/', '%2F')}.{known[:16]}"


def digest(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def write(path: Path, text: str) -> None:
    """Write a file of root's, whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    with open(beside, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    flush(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its owner and mode, whole or not at all."""
    beside = target.with_name(f".{target.name}.new")
    shutil.copy2(source, beside)
    found = source.stat()
    os.chown(beside, found.st_uid, found.st_gid)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.rename(target)
    flush(target.parent)


def flush(folder: Path) -> None:
    """See that what was renamed in a folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def systemctl(*words: str) -> None:
    """Tell systemd something; Failed when it refuses."""
    if trouble := run(["systemctl", *words], 120.0):
        raise Failed(f"systemctl {shlex.join(words)}: {trouble}")


def show(unit: str) -> dict[str, str]:
    """Ask systemd how a unit is."""
    names = ("ActiveState", "SubState", "InvocationID", "Job", "UnitFileState")
    asked = ["systemctl", "show", f"--property={','.join(names)}", unit]
    found: dict[str, str] = {}
    with suppress(OSError, subprocess.TimeoutExpired):  # a computer that is short of memory: then nothing is known
        answer = subprocess.run(  # noqa: S603 words of ours
            asked, check=False, capture_output=True, text=True, timeout=COMMAND_S
        )
        found = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in names}


def is_retired(found: dict[str, str]) -> bool:
    """Whether somebody has disabled a unit that is down: it is not for us to start it."""
    return found["UnitFileState"] in {"disabled", "masked"} and found["ActiveState"] in {"inactive", "failed"}


def has_failed(found: dict[str, str]) -> bool:
    """Whether a unit has ended otherwise than it was told to."""
    return found["ActiveState"] == "failed" or found["SubState"].startswith("auto-restart")


def is_down(found: dict[str, str]) -> bool:
    """Whether a unit does not run, nor is about to."""
    return has_failed(found) or (found["ActiveState"] == "inactive" and found["Job"] in {"", "0"})


def was_good(service: Service, good: State) -> bool:
    """Whether a service was among those that were well."""
    return not service.files or not good.files.keys().isdisjoint(service.files)


def last_words(unit: str) -> str:
    """Give the end of a unit's log."""
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = ["journalctl", "--unit", unit, "--lines=12", "--output=cat", "--no-pager", "--quiet"]
        answer = subprocess.run(  # noqa: S603 words of ours
            asked, check=False, capture_output=True, text=True, errors="replace", timeout=COMMAND_S
        )
        return "".join(f"  {line}\n" for line in answer.stdout.splitlines()).rstrip("\n")
    return ""


def run(words: Sequence[str], timeout_s: float) -> str:
    """Run a command; empty when it succeeds, else the last line that it said."""
    try:
        done = subprocess.run(  # noqa: S603 the service's own words, from a file of root's
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(1.0, timeout_s),
            cwd="/",  # whatever lies where a person stands is not for root to load
        )
    except subprocess.TimeoutExpired:
        return f"{Path(words[0]).name} {CUT_OFF}"
    except OSError as error:
        return f"{words[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    said = done.stdout.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"{Path(words[0]).name} ended with {done.returncode}"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let one of us work at a time; the others wait."""
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell a line; whoever listened may be gone, as when the connection of a playbook breaks."""
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="releases", description="Which release of the appliance runs here.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("list", help="show them; the current one is marked")
    activate = commands.add_parser("activate", help="make one the current release, prove it, else go back")
    activate.add_argument("release")
    activate.add_argument("--own", default="", metavar="NAME", help="the service that is set up, even where disabled")
    activate.add_argument("--check", action="store_true", help="only say whether that would change anything")
    back = commands.add_parser("back", help="activate the newest other release")
    for command in (activate, back):
        command.add_argument("--keep", type=int, default=2, metavar="N", help="releases to keep (default 2)")
    commands.add_parser("resume", help="judge the trial that a power cut ended")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; 0 done, 1 rolled back or refused. The last line of `activate` is JSON.

    `resume` has done its part when it has gone back: the boot of the computer did not fail by that.
    """
    arguments = parsed(words)
    releases = Releases(arguments.root, say, getattr(arguments, "own", ""))
    answer: dict[str, Any] = {}
    try:
        with alone(arguments.root):
            if arguments.command == "list":
                for release in releases.known():
                    words = " (was not well)" if releases.is_unwell(release) else ""
                    say(f"{'*' if release == releases.current() else ' '} {release}{words}")
            elif arguments.command == "back":
                say(f"{releases.back(arguments.keep)} runs")
            elif arguments.command == "resume":
                releases.resume()
            elif arguments.check:
                answer = {"due": releases.is_due(arguments.release)}
            else:
                answer = {"changed": releases.activate(arguments.release, arguments.keep)}
    except (Failed, OSError) as error:
        say(str(error))
        return 0 if arguments.command == "resume" else 1
    if answer:
        say(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
