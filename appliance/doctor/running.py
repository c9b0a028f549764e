"""What only the running service knows, from its own status."""

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.finding import Finding, note, wrong

Status = Mapping[str, Any]
"""What `GET /api/status` answers."""


def running_findings(status: Status, *, version: str, site: str) -> Iterator[Finding]:
    """Judge a running service; `version` and `site` are those of this program and of the file."""
    yield note("service", f"it runs, as process {status.get('pid')}, with {_count(status, 'clients_now', 'client')}")
    if status.get("version") != version:
        what = f"version {status.get('version')} runs, and {version} is installed"
        yield note("service", what, "`sudo systemctl restart appliance`")
    if status.get("site") != site:
        what = f'it runs as site "{status.get("site")}", and the file says "{site}"'
        yield wrong("service", what, "restart it, so that it reads the file")
    reload = status.get("reload") or {}
    if waiting := reload.get("waiting"):
        yield note("service", str(waiting), "`sudo systemctl restart appliance`")
    for problem in reload.get("problems", ()):
        what, _, cure = str(problem).rpartition("; ")
        yield wrong("reload", f"what it held before stays in force: {what or cure}", cure if what else "correct it")
    yield from _store(status.get("store") or {})
    yield from _history(status.get("history") or {})
    mdns = status.get("mdns") or {}
    if mdns.get("trouble"):
        yield wrong("mDNS", f"the hub is not announced: {mdns['trouble']}", "agents need its address: broker.host")
    elif mdns.get("announced"):
        yield note("mDNS", f"announced as {', '.join(mdns['announced'])}")
    for agent, word in sorted((status.get("agents") or {}).items()):
        if word != "online":
            yield note(f"agent {agent}", f"it is {word}", f"`appliance forget {agent}`, if it will not come back")


def _store(store: Status) -> Iterator[Finding]:
    if trouble := store.get("trouble"):
        what, _, cure = str(trouble).partition("; ")
        yield wrong("database", what, cure or "it is tried again by itself")
    if lack := store.get("reserve"):
        what, _, cure = str(lack).partition("; ")
        yield wrong("disk", what, cure or "make room")
    for damage in store.get("damages") or ():
        yield wrong("database", str(damage), "delete the old file that it names; should it come back, replace the card")
    if cut := store.get("cut"):
        yield note("database", str(cut.get("text")))
    if store.get("left_out"):
        what = f"{_count(store, 'left_out', 'message')} could not be written"
        yield wrong("database", what, "the log says why")


def _history(history: Status) -> Iterator[Finding]:
    if history.get("beyond_max_series"):
        what = f"{_count(history, 'beyond_max_series', 'value')} of topics beyond history.max_series were not recorded"
        yield wrong("history", what, "raise history.max_series")
    if history.get("not_allowed_to_publish"):
        what = f"{_count(history, 'not_allowed_to_publish', 'value')} of topics that their agent may not publish to"
        yield wrong("history", what, "grant them, or take the sensors from the agent: the log names them")
    if history.get("of_another_agent"):
        what = f"{_count(history, 'of_another_agent', 'value')} said to be of an agent that their device is not"
        yield wrong("history", what, "each agent needs an account of its own: `appliance devices` lists whose is whose")


def _count(status: Status, key: str, thing: str) -> str:
    number = int(status.get(key) or 0)
    return f"{number} {thing}{'' if number == 1 else 's'}"
