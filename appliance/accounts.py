"""The accounts of a service, from their files: who may come in, and who may do what."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from appliance.auth.acl import NO_RIGHTS, Acl, Granted
from appliance.auth.password_file import BadPasswordFile, parse
from appliance.auth.roles import CLIENT, filter_problem
from appliance.broker.message import Message
from appliance.broker.origin import agents_id
from appliance.broker.records import WillKept
from appliance.config import MISSING, ConfigError, Document, SettingError, read_text
from appliance.devices import AVAILABILITY, OFFLINE, device_topic
from appliance.settings import Accounts as AccountSettings
from appliance.settings import Rule, Rules

if TYPE_CHECKING:
    from appliance.auth.managed import Account
    from appliance.auth.passwords import Passwords

MOST_NAMED = 5  # users in one line


class Files(NamedTuple):
    """What the files say."""

    users: Mapping[str, str]  # of the password file, with their hashes
    rules: Sequence[Rule]
    managed: "Mapping[str, Account]"
    judged: frozenset[str]  # users of the password file whom the rules knew of

    def identity(self, name: str) -> tuple[object, ...] | None:
        """Say who a user is: with another answer it is somebody else under the same name. None of nobody."""
        one = self.managed.get(name)
        if one is not None:
            return one.password, one.site, one.agent, one.role == "device"
        encoded = self.users.get(name)
        return None if encoded is None else (encoded,)

    def identities(self) -> dict[str, tuple[object, ...] | None]:
        """Say who each user is."""
        return {name: self.identity(name) for name in (*self.users, *self.managed)}


class Change(NamedTuple):
    """What reading the files again has brought, as user names."""

    ousted: frozenset[str]  # whose accounts are gone, or somebody else's by now
    changed: frozenset[str]  # whose rights are others
    new: frozenset[str]

    def after(self, former: "Change") -> "Change":
        """Give both in one, for whom neither has been applied."""
        return Change(*(one | other for one, other in zip(former, self, strict=True)))


class Renewal(NamedTuple):
    """What is in force since the files were read again, and the rules before it."""

    before: Acl
    change: Change


@dataclass(slots=True)
class Accounts:
    """Answers both questions for a running service. `renew` changes the answers, and who asks need not know."""

    passwords: "Passwords"
    acl: Acl
    files: Files
    site: str

    def rights(self, username: str | None, client_id: str) -> Granted:
        """Give what the user may do as this client, by the present rules."""
        return self.acl.rights(username, client_id)

    def lasting(self, username: str) -> Callable[[], Granted]:
        """Give what says at any time what the user may do, which is nothing once the account is another's."""
        who = self.files.identity(username)
        return lambda: self.acl.rights(username, "") if self.files.identity(username) == who else NO_RIGHTS

    def renew(self, files: Files) -> Change:
        """Go by these files from now on."""
        before, now = self.files.identities(), files.identities()
        acl = _acl(files, self.site, anonymous=self.acl.knows(None))
        change = Change(
            frozenset(name for name, identity in before.items() if now.get(name) != identity),
            frozenset(
                name
                for name in before.keys() & now.keys()
                if not acl.rights(name, CLIENT).same_as(self.acl.rights(name, CLIENT))  # so that %c stands for itself
            ),
            frozenset(now.keys() - before.keys()),
        )
        self.passwords.renew(_hashes(files))
        self.files, self.acl = files, acl  # last: whoever finds these in force finds all of it
        return change

    def is_last_word(self, will: WillKept) -> bool:
        """Whether the will of a client that is ousted says no more than that its own agent is offline.

        That the account may publish there is asked as of every will.
        """
        if will.payload != OFFLINE:
            return False
        agent = self.acl.rights(will.username, will.client_id).agent
        site = will.topic.partition("/")[0]
        return will.client_id == agents_id(will.topic) != "" or (
            bool(agent) and will.topic == device_topic(site, agent or "", AVAILABILITY)
        )

    def is_anothers(self, message: Message) -> bool:
        """Whether somebody may publish a message who may not publish everywhere."""
        writers = self.acl.writers(message.topic, message.client_id)
        return any(not self.acl.rights(one, message.client_id).publishes_everything for one in writers)

    def orphans(self, before: Acl, change: Change) -> Callable[[Message], bool]:
        """Give what says of a message whose publisher is not known, that whoever it was may not publish it any more.

        Somebody has lost the right to its topic, and none of those who may have published it has it still.
        """
        losers = change.ousted | change.changed

        @cache
        def lost(client_id: str) -> Granted:
            """Give rights to all that somebody might publish to by a filter that is gone; few messages are of those."""
            pairs = [(before.rights(one, client_id), self.acl.rights(one, client_id)) for one in losers]
            return Granted([one for was, by_now in pairs for one in was.publishes_beyond(by_now)], [])

        def is_orphan(message: Message) -> bool:
            topic, client_id = message.topic, message.client_id
            if not lost(client_id).may_publish(topic) or all(
                self.acl.rights(one, client_id).may_publish(topic)
                or not before.rights(one, client_id).may_publish(topic)
                for one in losers
            ):
                return False
            return not any(
                self.acl.rights(one, client_id).may_publish(topic) for one in before.writers(topic, client_id)
            )

        return is_orphan


def load_accounts(settings: AccountSettings, site: str) -> Accounts | None:
    """Read all files; None where accounts are not wanted. ConfigError; then nobody is let in by mistake."""
    if not settings.password_file and settings.rules_file:
        raise _error("rules_file", "rules without passwords would believe any name", "set password_file too")
    if not settings.wanted():
        if settings.anonymous is False:
            raise _error("anonymous", "false without passwords lets nobody in", "set password_file or managed_file too")
        return None
    from appliance.auth.passwords import Passwords  # noqa: PLC0415 memory that a service without accounts can spare

    files, faults = read_again(settings, Files({}, [], {}, frozenset()), starting=True)
    if faults:
        raise faults[0]
    anonymous = settings.anonymous or False
    passwords = Passwords(_hashes(files), anonymous=anonymous)
    return Accounts(passwords, _acl(files, site, anonymous=anonymous), files, site)


def read_again(settings: AccountSettings, last: Files, *, starting: bool = False) -> tuple[Files, list[ConfigError]]:
    """Read all files; for one that is bad stands what it said `last`, and what is wrong with it is told.

    A name in both files of accounts stays what it was, and is nobody where it was none.
    """
    users, rules, managed, judged = last
    faults: list[ConfigError] = []
    if settings.password_file:
        with _kept("password_file", faults):
            # While the service runs, a last account can be deleted like any other.
            users = load_users(Path(settings.password_file), nobody=not starting or bool(settings.managed_file))
    if settings.managed_file:
        with _kept("managed_file", faults):
            managed = load_managed(Path(settings.managed_file))
    for name in sorted(users.keys() & managed.keys()):
        cure = "remove one of the two, with `appliance passwd --delete` or `appliance devices remove`"
        problem = f"{name[:80]!r} has an account here and one in the password file"
        faults.append(_error("managed_file", problem, cure))
        if name not in last.users:
            users = {one: encoded for one, encoded in users.items() if one != name}
        if name not in last.managed:
            managed = {one: account for one, account in managed.items() if one != name}
    if not settings.rules_file:
        judged = frozenset(users)
    else:
        with _kept("rules_file", faults):
            rules = load_rules(Path(settings.rules_file), users)
            judged = frozenset(users)
    return Files(users, rules, managed, judged), faults


def listed(names: Collection[str]) -> str:
    """Give users in a line, the first of many."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(sorted(names)[:MOST_NAMED]) + more


def _hashes(files: Files) -> dict[str, str]:
    return {**files.users, **{name: account.password for name, account in files.managed.items()}}


def _acl(files: Files, site: str, *, anonymous: bool) -> Acl:
    from appliance.auth.managed import grants  # noqa: PLC0415 as above

    granted = {name: grants(account, site) for name, account in files.managed.items()}
    # A user whom the last good rules did not know of has no rights rather than all.
    who: set[str | None] = {*files.managed, *(files.users.keys() & files.judged)}
    if anonymous:
        who.add(None)
    return Acl(files.rules, granted, site=site, users=who)


def load_users(path: Path, *, nobody: bool = False) -> dict[str, str]:
    """Read the password file; ConfigError.

    With `nobody` there may be no user in it, where something else is: one that was emptied says nothing.
    """
    try:
        text = read_text(path)
        users = parse(text)
    except BadPasswordFile as error:
        raise ConfigError(path=path, line=error.line, key="", problem=error.problem, cure=error.cure) from None
    if not users and not (nobody and text.strip()):
        cure = f"add one with `appliance passwd {path} NAME`"
        raise ConfigError(path=path, line=None, key="", problem="there is no user in it", cure=cure)
    return users


def load_managed(path: Path) -> "dict[str, Account]":
    """Read the file of managed accounts; ConfigError. Without one it lets nobody in, which is no mistake."""
    from appliance.auth.managed import BadManagedFile, parse  # noqa: PLC0415 as above

    try:
        text = read_text(path)
    except ConfigError as error:
        if error.problem == MISSING:
            cure = "make it with `appliance setup`, or the first account with `appliance devices add`"
            raise ConfigError(path=path, line=None, key="", problem=MISSING, cure=cure) from None
        raise
    try:
        return parse(text)
    except BadManagedFile as error:
        raise ConfigError(path=path, line=None, key="", problem=error.problem, cure=error.cure) from None


def load_rules(path: Path, users: Mapping[str, str]) -> list[Rule]:
    """Read the file of rules; ConfigError. A rule for nobody is refused: the name in it may be misspelt."""
    document = Document.read(path)
    rules = document.convert(Rules).rule
    if not rules:  # one that was emptied, and not by its owner, would let everybody do everything
        problem, cure = "there is no rule in it", "write one, or leave rules_file out: then everybody may do everything"
        raise ConfigError(path=path, line=None, key="", problem=problem, cure=cure)
    for number, rule in enumerate(rules):
        if (rule.user is not None) + rule.everybody + rule.anonymous != 1:
            cure = "give it one of user, everybody = true and anonymous = true"
            raise document.error(("rule", number), "whose rule is this", cure)
        if rule.user is not None and rule.user not in users:
            cure = "correct the name, make the account with `appliance passwd`, or remove the rule"
            raise document.error(("rule", number, "user"), "there is no such user in the password file", cure)
        if rule.agent is not None and rule.role != "device":
            raise document.error(("rule", number, "agent"), "only a device is an agent", 'set role = "device" too')
        for key, topic_filters in (("publish", rule.publish), ("subscribe", rule.subscribe)):
            for place, topic_filter in enumerate(topic_filters):
                _check_filter(document, ("rule", number, key, place), topic_filter)
    return rules


def _check_filter(document: Document, key_path: tuple[str, int, str, int], topic_filter: str) -> None:
    if problem := filter_problem(topic_filter, may_be_servers=key_path[2] == "subscribe"):
        raise document.error(key_path, problem, "write a topic filter such as home/kitchen/#")


@contextmanager
def _kept(key: str, faults: list[ConfigError]) -> Generator[None]:
    """Note what is wrong with a file, for what it said before to stay."""
    try:
        with _named(key):
            yield
    except ConfigError as error:
        faults.append(error)


@contextmanager
def _named(key: str) -> Generator[None]:
    """Let what is wrong with a file as a whole be said of the setting that names it."""
    try:
        yield
    except ConfigError as error:
        if error.line is not None:
            raise
        raise _error(key, f"{error.path}: {error.problem}", error.cure) from None


def _error(key: str, problem: str, cure: str) -> SettingError:
    return SettingError(("accounts", key), problem, cure)
