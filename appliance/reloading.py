"""What a running service reads again: its certificates, and the files of its accounts.

A file that is bad changes nothing: what it said when it was last good stays in force, and the log and the status name
it until it is good again. Nobody is disconnected but those whose accounts are gone or somebody else's by now.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from appliance.accounts import Accounts, Change, Files, Renewal, listed, read_again
from appliance.config import ConfigError
from appliance.net.hub import Hub
from appliance.revocations import Revoked, is_among, revoked
from appliance.settings import Settings
from appliance.tls_context import context_of

LOG = logging.getLogger(__name__)
LOG.setLevel(logging.INFO)  # who asks for it wants to see that it was done

Renew = Callable[[ssl.SSLContext], None]
"""Has a listener show what the context holds, to who comes from now on."""

News = Callable[[], str]
"""Says what of the configuration waits for a start of the service, nothing where it is as it was; ConfigError."""


class _Read(NamedTuple):
    contexts: dict[int, ssl.SSLContext]
    revoked: Revoked
    files: Files | None
    faults: list[ConfigError]
    waiting: str


class Reloading:
    """Reads again when it is asked, one time after the other."""

    def __init__(self, settings: Settings, accounts: Accounts | None, hub: Hub, news: News = str) -> None:
        self._settings = settings
        self._news = news
        self._accounts = accounts
        self._hub = hub
        self._one_at_a_time = asyncio.Lock()
        self.listeners: dict[int, Renew] = {}  # those that encrypt, by their number in the settings
        self.forget: Callable[[Collection[str]], None] = lambda _users: None  # what the page has open for these users
        self.hear_again: Callable[[], None] = lambda: None  # what agents say of themselves, which may count now
        self._owed: Renewal | None = None  # is in force, and was not applied to those who are here
        self._count = 0
        self._problems: list[str] = []
        self._waiting = ""

    def status(self) -> dict[str, object]:
        """Say how often it was done, what could not be used the last time, and what waits for a start."""
        return {"count": self._count, "problems": list(self._problems), "waiting": self._waiting}

    async def reload(self) -> dict[str, object]:
        """Read everything again and apply it; says what has changed and what could not be used.

        When it answers, nothing passes any more that the new accounts do not include.
        """
        async with self._one_at_a_time:
            read = await asyncio.to_thread(self._read)
            for number, context in read.contexts.items():
                self.listeners[number](context)
            if read.revoked:
                self._hub.revoke(lambda certificate: is_among(certificate, read.revoked))
            change = self._apply(read.files)
            self._count += 1
            self._problems = [str(fault) for fault in read.faults]
            self._waiting = read.waiting
        for problem in self._problems:
            LOG.warning("%s; until then what it held before stays in force", problem)
        if read.waiting:
            LOG.warning("%s", read.waiting)
        LOG.info("read again: %s", in_words(len(read.contexts), change))
        return {
            "certificates": len(read.contexts),
            "accounts": None if change is None else {key: sorted(names) for key, names in change._asdict().items()},
            "problems": list(self._problems),
            "waiting": read.waiting,
        }

    def _read(self) -> _Read:
        contexts: dict[int, ssl.SSLContext] = {}
        taken_back: Revoked = frozenset()
        faults: list[ConfigError] = []
        for number in self.listeners:
            try:
                context = context_of(number, self._settings.listener[number])
            except ConfigError as error:
                faults.append(error)
            else:
                assert context is not None  # only those that encrypt are among them  # noqa: S101
                contexts[number] = context
                if context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF:
                    with suppress(OSError, ValueError):  # it was good a moment ago, and is read again at the next time
                        taken_back |= revoked(self._settings.listener[number].client_ca)
        files = None
        if self._accounts is not None:
            files, more = read_again(self._settings.accounts, self._accounts.files)
            faults += more
        waiting = ""
        try:
            waiting = self._news()
        except ConfigError as error:  # the next start would end with it
            faults.append(error)
        return _Read(contexts, taken_back, files, faults, waiting)

    def _apply(self, files: Files | None) -> Change | None:
        accounts = self._accounts
        if accounts is None or files is None:
            return None
        if files == accounts.files and self._owed is None:
            return Change(frozenset(), frozenset(), frozenset())
        before, change = accounts.acl, accounts.renew(files)
        if self._owed is not None:
            before, change = self._owed.before, change.after(self._owed.change)
        self._owed = Renewal(before, change)
        self._hub.reauthorize(
            lambda username: username in change.ousted or not accounts.acl.knows(username),
            accounts.orphans(before, change),
            accounts.is_last_word,
        )
        self.forget(change.ousted | change.changed)
        self.hear_again()
        self._owed = None
        return change


async def reload_when(asked: asyncio.Event, reload: Callable[[], Awaitable[object]]) -> None:
    """Read again each time it is asked; a fault of ours there ends nothing."""
    while await asked.wait():
        asked.clear()
        try:
            await reload()
        except Exception:
            LOG.exception("not everything was read again; ask for it once more")


def in_words(certificates: int, change: Change | None) -> str:
    """Say what was read again and what has changed."""
    parts = []
    if certificates:
        parts.append(
            f"the certificate{'s' if certificates > 1 else ''} of {certificates} listener{'s' * (certificates > 1)}"
        )
    if change is not None:
        said = [
            f"{what}: {listed(names)}"
            for what, names in (
                ("turned out", change.ousted),
                ("with other rights", change.changed),
                ("new", change.new),
            )
            if names
        ]
        parts.append(f"the accounts ({'; '.join(said) or 'the same as before'})")
    return " and ".join(parts) or "nothing, for there are neither certificates nor accounts"
