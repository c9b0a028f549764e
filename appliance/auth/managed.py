"""The file of the accounts that commands and pairing make: JSON, written by the service's own user alone."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from appliance.auth import password_file
from appliance.auth.hashes import is_argon2id
from appliance.auth.password_file import name_problem
from appliance.auth.roles import Grants, filter_problem, of_role
from appliance.encoding import from_json, to_json
from appliance.mqtt.topics import SHARE_PREFIX
from appliance.settings import LEVEL_PATTERN, Role

MAX_FILE_BYTES = 1_048_576  # as of every file that the service reads at its start
RESTORE = "put a copy of it back, or remove it and make the accounts anew"


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One account."""

    password: str  # argon2id hash
    role: Role
    site: str = ""  # empty: the service's own
    agent: str = ""  # of a device; empty: its user name
    publish: tuple[str, ...] = ()  # topic filters beside those of the role
    subscribe: tuple[str, ...] = ()
    made: str = ""  # RFC 3339
    by: Literal["", "setup", "pairing", "command", "inventory"] = ""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    accounts: dict[str, Account]
    version: Literal[1] = 1


class BadManagedFile(Exception):
    """The text is no file of accounts, or one account cannot be; never says what stands in it that may be a secret."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure


def parse(text: str) -> dict[str, Account]:
    """Give every user's account. Raises BadManagedFile; a file without accounts is one that lets nobody in."""
    try:
        accounts = from_json(text, _File).accounts
    except msgspec.ValidationError as error:  # says where, and of which kind, but no value
        raise BadManagedFile(f"not as `appliance devices` writes it ({error})", RESTORE) from None
    except msgspec.DecodeError:
        raise BadManagedFile("not JSON" if text.strip() else "it is empty", RESTORE) from None
    _check(accounts)
    return accounts


def serialize(accounts: Mapping[str, Account]) -> str:
    """Give the text of the file, the same for the same accounts. Raises BadManagedFile, before the service would."""
    _check(accounts)
    ordered = _File(accounts=dict(sorted(accounts.items())))
    text = msgspec.json.format(to_json(ordered), indent=2).decode() + "\n"
    if len(text.encode()) > MAX_FILE_BYTES:
        raise BadManagedFile(f"{len(accounts)} accounts are more than 1 MiB", "remove some")
    return text


def edit(path: Path, change: Callable[[dict[str, Account]], dict[str, Account]]) -> bool:
    """Put the changed accounts in place of the file, whole or not at all, mode 0600, one who edits after the other.

    A file that is not there, or is empty, is made. Gives whether anything changed. Raises BadManagedFile, OSError,
    UnicodeDecodeError and what `change` raises; then all is as it was.
    """
    return password_file.edit(path, lambda text: serialize(change(parse(text) if text else {})))


def grants(account: Account, site: str = "home") -> Grants:
    """Give what the account may publish and read; `site` is that of the service."""
    return of_role(account.role, account.site or site, account.agent, account.publish, account.subscribe)


def speakers(accounts: Mapping[str, Account], agent: str, site: str, *, own_site: str) -> list[str]:
    """Give the names of the accounts that speak for an agent of a site; `own_site` is that of the service."""
    return [
        name
        for name, one in accounts.items()
        if one.role == "device" and ((one.agent or name), (one.site or own_site)) == (agent, site)
    ]


def account_problem(account: Account) -> str:
    """Say why there cannot be such an account; empty when there can."""
    if not is_argon2id(account.password):
        return "its password is not an argon2id hash"
    for key, level in (("site", account.site), ("agent", account.agent)):
        if level and (len(level) > 64 or not re.match(LEVEL_PATTERN, level)):
            return f"its {key} is not a word of a-z, 0-9, _ and -"
    if account.agent and account.role != "device":
        return f"an agent is a device, and its role is {account.role}"
    if account.role in {"admin", "reader"} and (account.publish or account.subscribe):
        return f"a list of topics adds nothing to the role {account.role}"
    for key, topic_filters in (("publish", account.publish), ("subscribe", account.subscribe)):
        for topic_filter in topic_filters:
            if key == "subscribe" and topic_filter.startswith("$") and not topic_filter.startswith(SHARE_PREFIX):
                return "subscribe: only an admin reads $ topics"
            if problem := filter_problem(topic_filter, may_be_servers=False):
                return f"{key}: {problem}"
    return ""


def _check(accounts: Mapping[str, Account]) -> None:
    for name, account in accounts.items():
        if problem := name_problem(name) or account_problem(account):
            raise BadManagedFile(f"account {name[:80]!r}: {problem}", "correct it with `appliance devices`")
