"""`appliance prove`: whether everything an agent numbered is here, and why not where it is not."""

import argparse
import json
import time
from collections.abc import Iterable
from typing import Any

from appliance.cli.ask import Place, add_place, ask_service, database_without_service, place_of, time_argument
from appliance.cli.commands import Commands
from appliance.cli.gaps import cause
from appliance.cli.terminal import Colour, coloured, printable, say
from appliance.cli.words import local_time
from appliance.exits import CommandError, Exit

UNEXPLAINED = ("never arrived", "received and gone")
ANSWER_S = 600.0  # it reads every number of that time


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    prove = commands.add_parser(
        "prove", help="match the numbers of an agent's readings with the history", allow_abbrev=False
    )
    prove.add_argument("agent", metavar="AGENT", help="its name, as `status` lists it")
    prove.add_argument("--since", default="7d", metavar="WHEN", help="7d, 12h ago, a time, or all (default 7d)")
    prove.add_argument("--json", action="store_true", help="as a JSON object")
    add_place(prove)
    prove.set_defaults(command=prove_command)


def prove_command(arguments: argparse.Namespace) -> int:
    """Say of every missing number why it is missing; exit code 1 where one has no cause."""
    since_at = None if arguments.since == "all" else time_argument(arguments, "since", time.time())
    troubles: list[str] = []
    place, agent = place_of(arguments), arguments.agent
    proof = _ask(place, agent, since_at, troubles) or _read(place, agent, since_at, troubles)
    if arguments.json:
        say(json.dumps(proof, ensure_ascii=False))
    else:
        for line in proof_lines(proof):
            say(line)
    return Exit.OK if proof["explained"] else Exit.NOTHING


def proof_lines(proof: dict[str, Any]) -> Iterable[str]:
    """Put a proof into words."""
    agent = printable(proof["agent"])
    for run in proof["runs"]:
        missing = run["missing"]
        numbers = sum(one["last_seq"] - one["first_seq"] + 1 for one in missing)
        told = f"{numbers} missing" if numbers else "none missing"
        if unused := sum(one["last_seq"] - one["first_seq"] + 1 for one in run["never_given"]):
            told += f", {unused} never given"
        yield (
            f"{agent}, run {printable(run['run'])}: numbers {run['first_seq']} to {run['last_seq']}, "
            f"{run['rows']} row{'' if run['rows'] == 1 else 's'}, {told}"
        )
        for one in sorted([*missing, *run["never_given"]], key=lambda one: one["first_seq"]):
            count = one["last_seq"] - one["first_seq"] + 1
            span = f"{one['first_seq']}" if count == 1 else f"{one['first_seq']} to {one['last_seq']} ({count})"
            colour = Colour.RED if one["cause"] in UNEXPLAINED else Colour.DIM
            yield f"  {span}{_between(one)}: {coloured(one['cause'], colour)}, {one['detail']}"
    if not proof["runs"]:
        yield f"{agent} sent nothing in that time; --since all looks at everything"
    for gap in proof["gaps"]:
        until = "until now" if gap["until"] is None else f"until {local_time(gap['until'])}"
        whose = f" of {printable(gap['name'])}" if gap["scope"] == "series" else ""
        yield f"  gap{whose} from {local_time(gap['since'])} {until}: {cause(gap)}"
    yield "every missing number is explained" if proof["explained"] else "not every missing number is explained"


def _between(one: dict[str, Any]) -> str:
    since, until = one["since"], one["until"]
    if since is None and until is None:
        return ""
    if since is None:
        return f", before {local_time(until)}"
    if until is None:
        return f", after {local_time(since)}"
    return f", between {local_time(since)} and {local_time(until)}"


def _ask(place: Place, agent: str, since_at: float | None, troubles: list[str]) -> dict[str, Any] | None:
    from appliance.timespan import rfc3339  # noqa: PLC0415 commands import what they need

    since = "all" if since_at is None else rfc3339(since_at)
    proof: dict[str, Any] | None = ask_service(
        place, "/api/prove", troubles, timeout_s=ANSWER_S, agent=agent, since=since
    )
    return proof


def _read(place: Place, agent: str, since_at: float | None, troubles: list[str]) -> dict[str, Any]:
    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.proof import prove  # noqa: PLC0415

    path = database_without_service(place, troubles)
    try:
        proof = prove(path, agent, since_at)
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    if proof is None:
        raise CommandError(f"{agent} has sent nothing with a number; `appliance status` lists agents", Exit.NOTHING)
    return proof.told()
