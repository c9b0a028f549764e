"""How an account of the managed file comes to be as somebody asks for it; asked twice, nothing changes."""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from appliance.auth.managed import Account, account_problem, speakers
from appliance.auth.password_file import name_problem
from appliance.settings import LEVEL_PATTERN, Role

LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # none that looks like another: no i, l, o, u
GROUPS: Final = 6
GROUP_LETTERS: Final = 5  # 6 * 5 letters of 5 bits each: 150 bits
MAX_SECRET_BYTES: Final = 65_535  # MQTT carries no longer one


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account as it shall be. Without a secret the one that there is stays, or one is made."""

    role: Role
    site: str = ""
    agent: str = ""
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    secret: str = ""
    by: Literal["command", "inventory"] = "inventory"


class Enrolled(NamedTuple):
    """What became of it."""

    accounts: dict[str, Account]
    secret: str  # where one was made here; whoever asked must be told now, as only its hash is kept


class CannotEnrol(Exception):
    """There cannot be such an account; the text is one line with the cure."""


def new_secret() -> str:
    """Give a secret that nobody guesses and everybody can type: six groups of five letters."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(GROUPS))


def enrol(
    accounts: Mapping[str, Account],
    name: str,
    wanted: Wanted,
    *,
    site: str,
    made: str,
    hashed: Callable[[bytes], str],
    is_right: Callable[[str, bytes], bool],
) -> Enrolled:
    """Give the accounts with this one as it is wanted; CannotEnrol.

    `site` is the service's, `made` the time. A role is never changed: who is an admin would be locked out by a
    device of the same name.
    """
    there = accounts.get(name)
    if problem := name_problem(name):
        raise CannotEnrol(f"{problem}; choose another")
    if there is not None and there.role != wanted.role:
        raise CannotEnrol(f"{name} has an account as {there.role}; remove that first, or choose another name")
    if len(wanted.secret.encode()) > MAX_SECRET_BYTES:
        raise CannotEnrol(f"a secret has at most {MAX_SECRET_BYTES} bytes; give a shorter one")
    if wanted.role == "device":
        _check_agent(accounts, name, wanted, site)
    secret = "" if wanted.secret or there is not None else new_secret()
    said = (wanted.secret or secret).encode()
    keeps = there is not None and (not said or is_right(there.password, said))
    account = Account(
        password=there.password if there is not None and keeps else hashed(said),
        role=wanted.role,
        site=wanted.site,
        agent=wanted.agent,
        publish=wanted.publish,
        subscribe=wanted.subscribe,
        made=there.made if there is not None and keeps else made,
        by=wanted.by,
    )
    if problem := account_problem(account):
        raise CannotEnrol(f"{name}: {problem}; correct it")
    if there is not None and keeps and replace(there, by=account.by) == account:
        account = there
    return Enrolled({**accounts, name: account}, secret)


def with_new_secret(account: Account, secret: str, *, made: str, hashed: Callable[[bytes], str]) -> Account:
    """Give the account with another secret; it may do what it might before."""
    return replace(account, password=hashed(secret.encode()), made=made)


def _check_agent(accounts: Mapping[str, Account], name: str, wanted: Wanted, site: str) -> None:
    """See that the agent has a name, and that nobody else speaks for it."""
    agent, where = wanted.agent or name, wanted.site or site
    if not re.match(LEVEL_PATTERN, agent):
        raise CannotEnrol(f"{agent[:80]!r} cannot be an agent's name; name the agent, with a-z, 0-9, _ and -")
    for other in speakers(accounts, agent, where, own_site=site):
        if other != name:
            raise CannotEnrol(f"{other} speaks for the agent {agent} of {where}; remove that account first")
