"""The accounts of a service, from their files: who may come in, and who may do what."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.auth.acl import Acl
from appliance.auth.password_file import BadPasswordFile, parse
from appliance.auth.roles import filter_problem
from appliance.config import ConfigError, Document, SettingError, read_text
from appliance.settings import Accounts as AccountSettings
from appliance.settings import Rule, Rules

if TYPE_CHECKING:
    from appliance.auth.managed import Account
    from appliance.auth.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Accounts:
    """Answers both questions for a running service."""

    passwords: "Passwords"
    acl: Acl


def load_accounts(settings: AccountSettings, site: str) -> Accounts | None:
    """Read all files; None where accounts are not wanted. ConfigError; then nobody is let in by mistake."""
    if not settings.password_file and settings.rules_file:
        raise _error("rules_file", "rules without passwords would believe any name", "set password_file too")
    if not settings.wanted():
        if settings.anonymous is False:
            raise _error("anonymous", "false without passwords lets nobody in", "set password_file or managed_file too")
        return None
    users: dict[str, str] = {}
    rules: list[Rule] = []
    managed: dict[str, Account] = {}
    if settings.password_file:
        with _named("password_file"):
            users = load_users(Path(settings.password_file))
    if settings.rules_file:
        with _named("rules_file"):
            rules = load_rules(Path(settings.rules_file), users)
    if settings.managed_file:
        with _named("managed_file"):
            managed = load_managed(Path(settings.managed_file))
    return assembled(settings, site, users, rules, managed)


def assembled(
    settings: AccountSettings,
    site: str,
    users: Mapping[str, str],
    rules: Sequence[Rule],
    managed: "Mapping[str, Account]",
) -> Accounts:
    """Put together what the files say; ConfigError where a name stands in both files of accounts."""
    from appliance.auth.managed import grants  # noqa: PLC0415 memory that a service without accounts can spare
    from appliance.auth.passwords import Passwords  # noqa: PLC0415 likewise

    for name in sorted(users.keys() & managed.keys()):
        cure = "remove one of the two, with `appliance passwd --delete` or `appliance devices remove`"
        raise _error("managed_file", f"{name[:80]!r} has an account here and one in the password file", cure)
    hashes = {**users, **{name: account.password for name, account in managed.items()}}
    anonymous = settings.anonymous or False
    granted = {name: grants(account, site) for name, account in managed.items()}
    who = frozenset([*hashes, None] if anonymous else hashes)
    return Accounts(Passwords(hashes, anonymous=anonymous), Acl(rules, granted, site=site, users=who))


def load_users(path: Path) -> dict[str, str]:
    """Read the password file; ConfigError."""
    try:
        users = parse(read_text(path))
    except BadPasswordFile as error:
        raise ConfigError(path=path, line=error.line, key="", problem=error.problem, cure=error.cure) from None
    if not users:
        cure = f"add one with `appliance passwd {path} NAME`"
        raise ConfigError(path=path, line=None, key="", problem="there is no user in it", cure=cure)
    return users


def load_managed(path: Path) -> "dict[str, Account]":
    """Read the file of managed accounts; ConfigError. Without one it lets nobody in, which is no mistake."""
    from appliance.auth.managed import BadManagedFile, parse  # noqa: PLC0415 as above

    if not path.exists():
        cure = "make it with `appliance setup`, or the first account with `appliance devices add`"
        raise ConfigError(path=path, line=None, key="", problem="there is no such file", cure=cure)
    try:
        return parse(read_text(path))
    except BadManagedFile as error:
        raise ConfigError(path=path, line=None, key="", problem=error.problem, cure=error.cure) from None


def load_rules(path: Path, users: Mapping[str, str]) -> list[Rule]:
    """Read the file of rules; ConfigError. A rule for nobody is refused: the name in it may be misspelt."""
    document = Document.read(path)
    rules = document.convert(Rules).rule
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
