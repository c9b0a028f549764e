"""The accounts of a service, from their two files: who may come in, and who may do what."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.auth.acl import Acl
from appliance.auth.password_file import BadPasswordFile, parse
from appliance.config import ConfigError, Document, SettingError, read_text
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import SHARE_PREFIX, check_topic_filter
from appliance.settings import Accounts as AccountSettings
from appliance.settings import Rule, Rules

if TYPE_CHECKING:
    from appliance.auth.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Accounts:
    """Answers both questions for a running service."""

    passwords: "Passwords"
    acl: Acl


def load_accounts(settings: AccountSettings) -> Accounts | None:
    """Read both files; None where accounts are not wanted. ConfigError; then nobody is let in by mistake."""
    if not settings.password_file:
        if settings.rules_file:
            raise _error("rules_file", "rules without passwords would believe any name", "set password_file too")
        if settings.anonymous is False:
            raise _error("anonymous", "false without passwords lets nobody in", "set password_file too")
        return None
    from appliance.auth.passwords import Passwords  # noqa: PLC0415 memory that a service without accounts can spare

    with _named("password_file"):
        users = load_users(Path(settings.password_file))
    with _named("rules_file"):
        rules = load_rules(Path(settings.rules_file), users) if settings.rules_file else []
    return Accounts(Passwords(users, anonymous=settings.anonymous or False), Acl(rules))


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


def load_rules(path: Path, users: Mapping[str, str]) -> list[Rule]:
    """Read the file of rules; ConfigError. A rule for nobody is refused: the name in it may be misspelt."""
    document = Document.read(path)
    rules = document.convert(Rules).rule
    for number, rule in enumerate(rules):
        if rule.anonymous is (rule.user is not None):
            raise document.error(("rule", number), "whose rule is this", "give it either user or anonymous = true")
        if rule.user is not None and rule.user not in users:
            cure = "correct the name, make the account with `appliance passwd`, or remove the rule"
            raise document.error(("rule", number, "user"), "there is no account of this name", cure)
        for key, topic_filters in (("publish", rule.publish), ("subscribe", rule.subscribe)):
            for place, topic_filter in enumerate(topic_filters):
                _check_filter(document, ("rule", number, key, place), topic_filter)
    return rules


def _check_filter(document: Document, key_path: tuple[str, int, str, int], topic_filter: str) -> None:
    try:
        check_topic_filter(topic_filter)
    except MqttError as error:
        raise document.error(key_path, str(error), "write a topic filter such as home/kitchen/#") from None
    if topic_filter.startswith(SHARE_PREFIX):
        raise document.error(key_path, "a shared subscription", f"leave {SHARE_PREFIX}<group>/ away: it is meant too")
    if topic_filter.startswith("$") and key_path[2] == "publish":
        raise document.error(key_path, "nobody may publish to $ topics, they are the server's own", "remove it")


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
