"""Accounts: how hard their passwords are to guess from a stolen file, who was never here, and who may do everything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from appliance.accounts import listed
from appliance.auth.hashes import cost
from appliance.finding import Finding, note

LEAST_KIB: Final = 19_456  # with two passes: OWASP's least for argon2id


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who has an account."""

    written: Mapping[str, str]  # user -> hash, of the password file
    managed: Mapping[str, str]  # likewise, of the managed file
    agents: Mapping[str, str]  # user -> agent, of the devices in it
    has_rules: bool = True
    seen: frozenset[str] | None = None  # agents that the hub knows; None while no service runs


def people_findings(people: People) -> Iterator[Finding]:
    """Judge them."""
    weak = [name for name, hashed in {**people.written, **people.managed}.items() if _is_weak(hashed)]
    if weak:
        what = f"who steals the file of the passwords guesses fast those of {listed(weak)}"
        yield note("accounts", what, "give them new ones with `appliance passwd`, which hashes with argon2id")
    if people.written and not people.has_rules:
        what = f"without accounts.rules_file {listed(people.written)} may publish and read everything"
        yield note("accounts", what, "name a rules_file, or make them accounts with a role: `appliance devices add`")
    if people.seen is not None:
        for user, agent in sorted(people.agents.items()):
            if agent not in people.seen:
                cure = f"`appliance devices remove {user}`, if it will not come"
                yield note("accounts", f"{user} has an account, and its agent {agent} was never here", cure)


def _is_weak(hashed: str) -> bool:
    found = cost(hashed)
    return found is not None and (found.scheme != "argon2id" or found.memory_kib * found.passes < LEAST_KIB * 2)
