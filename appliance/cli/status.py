"""`appliance status`: how the running service is."""

import argparse
import json
from collections.abc import Iterable
from typing import Any

from appliance.cli.ask import add_place, ask_service, nobody_answers, place_of
from appliance.cli.commands import Commands
from appliance.cli.gaps import cause
from appliance.cli.terminal import Colour, coloured, printable, say
from appliance.cli.words import counted, duration, local_time, megabytes
from appliance.exits import Exit

SHOWN_BYTES = 1_000_000  # what waits is worth a line from here
TROUBLES = {
    "messages_dropped": ("dropped", "message"),
    "subscriptions_refused": ("refused", "subscription"),
    "connections_closed": ("closed", "connection"),
    "connections_turned_away": ("refused", "connection"),
    "sessions_ended": ("ended", "session"),
}
"""What the status counts by cause, and the words for it."""


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    status = commands.add_parser("status", help="say how the running service is", allow_abbrev=False)
    add_place(status)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(command=status_command)


def status_command(arguments: argparse.Namespace) -> int:
    """Say how the service is."""
    troubles: list[str] = []
    place = place_of(arguments)
    found = ask_service(place, "/api/status", troubles)
    if found is None:
        raise nobody_answers(place, troubles)
    if arguments.json:
        say(json.dumps(found, ensure_ascii=False))
        return Exit.OK
    for line in status_lines(found):
        say(line)
    return Exit.OK


def status_lines(status: dict[str, Any]) -> Iterable[str]:
    """Put the service's numbers into words."""
    yield f"appliance {status['version']}, running for {duration(status['uptime_s'])} (process {status['pid']})"
    yield f"  MQTT      {status['mqtt'] or 'no port'}"
    yield f"  page      {'http://' + status['web'] + '/' if status['web'] else 'no port'}"
    for listener in status["listeners"]:
        yield f"  also at   {printable(listener)}"
    if mdns := status.get("mdns"):
        told = coloured(printable(mdns["trouble"]), Colour.RED) if mdns["trouble"] else ", ".join(mdns["announced"])
        yield f"  mDNS      {told or 'not announced yet'}"
    yield f"  data      {status['data_dir']}"
    for problem in status["reload"]["problems"]:
        yield f"  reload    {coloured(printable(problem), Colour.RED)}"
    if waiting := status["reload"].get("waiting"):
        yield f"  restart   {coloured(printable(waiting), Colour.RED)}"
    agents = ", ".join(
        f"{printable(agent)} {coloured(printable(state), Colour.GREEN if state == 'online' else Colour.RED)}"
        for agent, state in status["agents"].items()
    )
    yield f"  agents    {agents or 'none yet'}"
    yield f"  clients   {status['clients_now']} connected, {counted(status['sessions_now'], 'session')}"
    yield f"  messages  {status['messages_received']} in, {status['messages_sent']} out"
    yield f"  retained  {status['retained_now']}"
    for key, (verb, thing) in TROUBLES.items():
        for reason, count in status[key].items():
            yield f"  {verb:9} {counted(count, thing)} ({reason})"
    yield from store_lines(status["store"])
    yield from history_lines(status["history"])
    if gaps := status.get("gaps"):
        yield from gap_lines(gaps)


def store_lines(store: dict[str, Any] | None) -> Iterable[str]:
    """Put the store's numbers into words."""
    if store is None:
        yield "  store     off: everything is gone when the service ends"
        return
    waits = "" if store["waits"] else "; acknowledgements do not wait for it"
    yield (
        f"  store     {megabytes(store['size_bytes'])} of {megabytes(store['max_bytes'])}, "
        f"{counted(store['commits'], 'commit')} since the start{waits}"
    )
    if store["free_bytes"] is not None:
        yield f"            {megabytes(store['free_bytes'])} free on its disk"
    hours = store["day_hours"]
    span = "24 h" if hours >= 24 else f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"
    if store["written_day_bytes"] is not None:
        yield (
            f"            {megabytes(store['written_day_bytes'])} written in the last {span} "
            f"of {megabytes(store['budget_day_bytes'])} a day"
        )
    if store["device_written_day_bytes"] is not None:
        yield f"            {megabytes(store['device_written_day_bytes'])} by all programs to its disk"
    if store["budget_left_bytes"] < 0:
        over = megabytes(-store["budget_left_bytes"])
        yield f"            {over} over the budget: messages wait {store['window_ms']:g} ms to be written together"
    if store["waiting_bytes"] > SHOWN_BYTES:
        yield f"            {megabytes(store['waiting_bytes'])} wait to be written"
    if store["dropped"]:
        yield f"            {counted(store['dropped'], 'message')} (QoS 0) found no room to wait"
    if store["left_out"]:
        yield f"            {counted(store['left_out'], 'message')} could not be written; the log says why"
    if store["trouble"]:
        yield f"            {coloured(store['trouble'], Colour.RED)}"
    if lack := store.get("reserve"):
        yield f"            {coloured(lack, Colour.RED)}"
    for damage in store["damages"]:
        yield f"            {coloured(damage, Colour.RED)}"
    if cut := store.get("cut"):
        yield f"            {printable(cut['text'])}"
    if store["refuses"]:
        yield f"            {coloured('nothing is acknowledged that would have to be kept', Colour.RED)}"


def history_lines(history: dict[str, Any] | None) -> Iterable[str]:
    """Put the history's numbers into words."""
    if history is None:
        yield "  history   off"
        return
    yield f"  history   {counted(history['rows'], 'row')} since the start"
    if history["not_allowed_to_publish"]:
        values = counted(history["not_allowed_to_publish"], "value")
        yield f"            {values} of topics that their agent may not publish to"
    if history["of_another_agent"]:
        values = counted(history["of_another_agent"], "value")
        yield f"            {values} said to be of an agent that their device is not, and are recorded without"
    if history["beyond_max_series"]:
        values = counted(history["beyond_max_series"], "value")
        yield f"            not recorded: {values} of topics beyond history.max_series"


def gap_lines(gaps: dict[str, Any]) -> Iterable[str]:
    """Put what the last day was not recorded of into words."""
    if gaps["clock_unset"]:
        unset = "the clock is not set: until it is, nobody knows the times of readings"
        yield f"            {coloured(unset, Colour.RED)}"
    if newest := gaps["newest"]:
        lasts = f", {gaps['lasting']} of them {'lasts' if gaps['lasting'] == 1 else 'last'}" if gaps["lasting"] else ""
        yield f"            {counted(gaps['day'], 'gap')} in the last 24 h{lasts}"
        whose = f" of {printable(newest['name'])}" if newest["scope"] == "series" else ""
        yield f"            the newest{whose} since {local_time(newest['since'])}: {cause(newest)}"
