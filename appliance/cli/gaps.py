"""Gaps of a history in words, and among its rows."""

from typing import Any

from appliance.cli.terminal import Colour, coloured, printable
from appliance.cli.words import duration, local_time

CLOCK_UNSET = "clock unset"  # then readings are there


def cause(gap: dict[str, Any]) -> str:
    """Why there is a gap."""
    whose = f" {printable(gap['name'])}" if gap["scope"] == "agent" else ""
    detail = f" ({printable(gap['detail'])})" if gap["detail"] else ""
    return f"{printable(gap['cause'])}{whose}{detail}"


def gap_line(gap: dict[str, Any]) -> str:
    """One gap: from when to when, and why."""
    begins = local_time(gap["since"])
    if gap["until"] is None:
        until = "until now"
    else:
        until = f"until {local_time(gap['until'])} ({duration(gap['until'] - gap['since'])})"
    what = "times are not sure" if gap["cause"] == CLOCK_UNSET else "nothing"
    return coloured(f"{begins}  -- {what} {until}: {cause(gap)}", Colour.DIM)


def gap_object(gap: dict[str, Any]) -> dict[str, Any]:
    """Give a gap as it stands among the rows of --json: `gap` is the cause."""
    return {"gap": gap["cause"], **{key: value for key, value in gap.items() if key != "cause"}}


def in_order(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows, with gaps where nothing was recorded, in the order of time."""
    rows: list[dict[str, Any]] = found["rows"]
    return sorted([*rows, *found["gaps"]], key=lambda one: one["since"] if "cause" in one else one["at"])
