"""Gathers the facts of a hub and lets the rules judge them."""

import os
import pwd
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.accounts import load_accounts
from appliance.clock import SYNCED, clock_quality
from appliance.doctor.accounts import People, people_findings
from appliance.doctor.certificates import certificate_findings, read
from appliance.doctor.files import file_findings, file_of, owner_of
from appliance.doctor.premises import Premises, premises_findings
from appliance.doctor.running import running_findings
from appliance.doctor.unit import Unit, unit, unit_findings
from appliance.exits import CommandError
from appliance.finding import Finding, note, wrong
from appliance.hostname import local_name
from appliance.interfaces import Computer, look
from appliance.listeners import is_outer
from appliance.places import DATABASE, FIRST_SECRET, SYSTEM_CONFIG
from appliance.ports import look_whether_free
from appliance.settings import Listener, Settings


@dataclass(frozen=True, kw_only=True)
class World:
    """What is looked at beside the settings; tests hand in another one."""

    status: Callable[[], Mapping[str, Any] | None]  # of the service that runs; CommandError where it refuses
    interfaces: Callable[[], Computer] = look
    unit: Callable[[], Unit | None] = unit
    now: Callable[[], float] = time.time
    clock_quality: Callable[[], str] = clock_quality


class Examination:
    """One look at a hub. Each step gives its findings; a step that fails is one itself."""

    def __init__(self, settings: Settings, config: Path | None, data_dir: Path, world: World) -> None:
        self._settings = settings
        self._config = config
        is_usual = config in {None, SYSTEM_CONFIG}
        self._setup = "sudo appliance setup" if is_usual else f"appliance setup --config {shlex.quote(str(config))}"
        self._data_dir = data_dir
        self._world = world

    def findings(self) -> Iterator[Finding]:
        """Look at everything."""
        for about, step in (
            ("configuration", self._look_at_configuration),
            ("files", self._look_at_files),
            ("data", self._look_at_premises),
            ("service", self._look_at_service),
            ("certificates", self._look_at_certificates),
            ("accounts", self._look_at_accounts),
            ("systemd", lambda: unit_findings(self._world.unit())),
        ):
            try:
                yield from step()
            except PermissionError as error:
                yield wrong(about, f"this user may not look at {error.filename}", "`sudo appliance doctor`")
            except Exception as error:  # noqa: BLE001 what one look stumbles over must not hide the others
                words = " ".join(str(error).split())
                yield wrong(about, f"it could not be looked at ({type(error).__name__}: {words})", "report this")

    @cached_property
    def _status(self) -> Mapping[str, Any] | None:
        return self._world.status()

    @cached_property
    def _outer(self) -> list[Listener]:
        return [one for one in self._settings.listener if is_outer(one)]

    def _look_at_configuration(self) -> Iterator[Finding]:
        if self._config is None:
            yield note("configuration", "there is none: this computer alone is served, anonymously")
        elif not self._outer:
            what = f"{self._config} serves this computer alone"
            yield note("configuration", what, "a [[listener]] serves others, with accounts")

    def _look_at_files(self) -> Iterator[Finding]:
        """Look at modes: of what others must not change, and of what they must not read."""
        accounts, listeners = self._settings.accounts, self._settings.listener
        secret = self._data_dir / FIRST_SECRET
        shown = [str(self._config or ""), accounts.rules_file, *(one.client_ca for one in listeners)]
        shown += [one.certificate for one in listeners if one.key]
        kept = [accounts.password_file, accounts.managed_file, *(one.key or one.certificate for one in listeners)]
        files = dict.fromkeys(map(Path, filter(None, shown)), False)
        files |= dict.fromkeys([*map(Path, filter(None, kept)), self._data_dir / DATABASE, secret], True)
        found = (file_of(path, is_secret=is_secret) for path, is_secret in files.items())
        yield from file_findings(filter(None, found), owner_of(self._data_dir))
        if secret.exists():
            yield note(str(secret), "the admin's first secret still lies there", f"`{self._setup} --show-secret`")

    def _look_at_premises(self) -> Iterator[Finding]:
        place = next(path for path in (self._data_dir, *self._data_dir.parents) if path.exists())
        owner = ""
        if place == self._data_dir:
            owner = _user(place.stat().st_uid)
        seen = Premises(
            data_dir=self._data_dir,
            owner=owner,
            user=_user(os.geteuid()),
            is_read_only=bool(os.statvfs(place).f_flag & os.ST_RDONLY),
            free_bytes=shutil.disk_usage(place).free,
            reserve_bytes=self._settings.store.reserve_mb * 1_000_000 if self._settings.store.enabled else 0,
            now_s=self._world.now(),
            is_synced=self._world.clock_quality() == SYNCED,
        )
        yield from premises_findings(seen)

    def _look_at_service(self) -> Iterator[Finding]:
        try:
            status = self._status
        except CommandError as error:
            what, _, cure = str(error).rpartition("; ")
            yield wrong("service", what or cure, cure if what else "`sudo appliance doctor`")
            return
        if status is not None:
            yield from running_findings(status, version=__version__, site=self._settings.site)
            return
        yield note("service", f"none runs with {self._data_dir}: what only a running one knows was not looked at")
        try:
            look_whether_free(self._settings)
        except CommandError as error:
            for refusal in str(error).split("; "):
                words = refusal.partition(" is taken by ")
                if words[1]:
                    yield wrong("ports", f"{words[0]}{words[1]}{words[2]}", "stop it, or choose another port")

    def _look_at_certificates(self) -> Iterator[Finding]:
        computer = self._world.interfaces()
        every = [address for one in computer.outer for address in one.addresses]
        announced = self._settings.mdns.enabled
        for one in {one.certificate: one for one in self._outer if one.certificate}.values():
            serves = [address for address in every if one.address in {"0.0.0.0", "::", address}]  # noqa: S104 compared
            if one.address == "0.0.0.0":  # noqa: S104 likewise
                serves = [address for address in serves if ":" not in address]
            yield from certificate_findings(
                read(Path(one.certificate)),
                now_s=self._world.now(),
                is_synced=self._world.clock_quality() == SYNCED,
                host=local_name() if announced else "",
                addresses=serves,
                setup=self._setup,
            )

    def _look_at_accounts(self) -> Iterator[Finding]:
        accounts = load_accounts(self._settings.accounts, self._settings.site)
        if accounts is None:
            return
        managed = accounts.files.managed
        try:
            status = self._status
        except CommandError:  # told already
            status = None
        yield from people_findings(
            People(
                written=accounts.files.users,
                managed={name: account.password for name, account in managed.items()},
                agents={name: account.agent or name for name, account in managed.items() if account.role == "device"},
                has_rules=bool(self._settings.accounts.rules_file),
                seen=None if status is None else frozenset(status.get("agents") or ()),
            )
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
