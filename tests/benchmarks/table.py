"""What was measured, as a table to read in a terminal or to put into a document."""

import statistics
from collections.abc import Mapping, Sequence

from .scenarios import Figures, Scenario, idle

OURS, THEIRS = "appliance", "mosquitto"

Measured = Mapping[tuple[str, str], Sequence[Figures]]
"""(scenario, broker) -> its figures, one set a round."""

FRESH = Scenario(name="fresh", title="memory after the start", run=idle, figure="mb", unit="MB", absolute_goal=30)
RSS = Scenario(name="rss", title="memory at the end", run=idle, figure="mb", unit="MB")


def brokers_of(measured: Measured) -> list[str]:
    """Name those that took part, ours and Mosquitto always."""
    return list(dict.fromkeys((OURS, THEIRS, *(broker for _, broker in measured))))


def rows(measured: Measured, chosen: Sequence[Scenario]) -> list[list[str]]:
    """Give title, one cell a broker, ratio to Mosquitto, ratio to the twin, and the goal.

    A ratio is the median of the rounds' own ratios, because both ran a moment apart.
    """
    found = []
    for row in (FRESH, *chosen, RSS):
        ours = [figures[row.figure] for figures in measured.get((row.name, OURS), [])]
        theirs = [figures[row.figure] for figures in measured.get((row.name, THEIRS), [])]
        twin = [figures[row.figure] for figures in measured.get((row.twin or "", OURS), [])]
        cells = [_cell(row, measured.get((row.name, broker), [])) for broker in brokers_of(measured)]
        found.append([row.title, *cells, _ratio(ours, theirs), _ratio(ours, twin), _goal(row)])
    return found


def _ratio(ours: list[float], others: list[float]) -> str:
    if not ours or not others:
        return ""
    return f"{statistics.median(a / b for a, b in zip(ours, others, strict=True)):.2f}"


def _goal(row: Scenario) -> str:
    if row.twin_goal:
        return f"≤ {row.twin_goal:g} x its twin"
    if row.goal:
        return f"≤ {row.goal:g} x"
    return f"≤ {row.absolute_goal:g} {row.unit}" if row.absolute_goal else ""


def _cell(row: Scenario, rounds: Sequence[Figures]) -> str:
    if not rounds:
        return "-"
    value = statistics.median(figures[row.figure] for figures in rounds)
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    if "per_s" not in rounds[0] or row.figure != "cpu_us":
        return f"{shown} {row.unit}"
    return f"{statistics.median(f['per_s'] for f in rounds):,.0f}/s {shown} {row.unit}"


def as_text(measured: Measured, chosen: Sequence[Scenario]) -> str:
    """Lay it out in columns."""
    brokers = brokers_of(measured)
    head = f"{'':34} " + " ".join(f"{broker:>22}" for broker in brokers) + f" {'ratio':>7} {'twin':>6}  goal"
    lines = [head, "-" * (len(head) + 10)]
    for title, *cells, ratio, twin, goal in rows(measured, chosen):
        shown = " ".join(f"{cell:>22}" for cell in cells)
        lines.append(f"{title:34} {shown} {ratio:>7} {twin:>6}  {goal}".rstrip())
    return "\n".join(lines)


def as_markdown(measured: Measured, chosen: Sequence[Scenario]) -> str:
    """Write it as a Markdown table."""
    brokers = brokers_of(measured)
    lines = [
        "| | " + " | ".join(brokers) + " | to Mosquitto | to its twin | goal |",
        "|---|" + "--:|" * (len(brokers) + 2) + "---|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows(measured, chosen)]
    return "\n".join(lines)
