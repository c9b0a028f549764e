"""`appliance history --every`: minutes, hours or days of a topic, one line each."""

import time
from typing import Any, Final

from appliance.cli.ask import Place, ask_service, database_without_service, unknown_topic
from appliance.cli.terminal import printable
from appliance.cli.words import counted, local_time
from appliance.exits import CommandError, Exit
from appliance.timespan import rfc3339

WHOLE: Final = 0.9995  # rounds to 100.0 %
PERIODS: Final = {"1m": "minute", "1h": "hour", "1d": "day"}


def ask_summaries(place: Place, query: dict[str, Any]) -> dict[str, Any]:
    """Ask what the readings of each period come to; CommandError."""
    troubles: list[str] = []
    return _ask(place, query, troubles) or _read(place, query, troubles)


def summary_line(row: dict[str, Any], kind: str, unit: str | None) -> str:
    """One period: its begin in local time, and what is worth telling of such a series."""
    told: list[str] = []
    last = row["last"]
    if row["mean"] is not None:
        # What stood longer counts for more; where nothing stood, every reading counts the same.
        which, mean = "mean over time", row["weighted_mean"]
        if mean is None:
            which, mean = "mean", row["mean"]
        # What is still to come counts for nothing, nor does a gap.
        known = [f"known {row['known']:.1%} of it"] if row["known"] < WHOLE else []
        if kind == "binary":
            told += [f"ON {mean:.1%} of the time", *known]
            last = "ON" if last else "OFF"
        else:
            if row["sum"] is not None:
                told.append(f"sum {_number(row['sum'], unit)}")
            told += [f"{which} {_number(mean, unit)}", *known]
            told += [f"min {_number(row['min'])}", f"max {_number(row['max'])}"]
            last = _number(last)
    told += [f"last {printable(str(last))}", counted(row["count"], "reading")]
    return f"{local_time(row['at'])}  {', '.join(told)}"


def _number(value: float, unit: str | None = None) -> str:
    return f"{value:.6g}" + (f" {printable(unit)}" if unit else "")


def _ask(place: Place, query: dict[str, Any], troubles: list[str]) -> dict[str, Any] | None:
    times = {name: rfc3339(query[name]) for name in ("since", "until")}
    found: dict[str, Any] | None = ask_service(place, "/api/history", troubles, **{**query, **times})
    return found


def _read(place: Place, query: dict[str, Any], troubles: list[str]) -> dict[str, Any]:
    """Read the database itself, as no service runs; CommandError."""
    from dataclasses import asdict  # noqa: PLC0415 commands import what they need

    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.gap_reader import GapReader  # noqa: PLC0415
    from appliance.store.silence import ended_at  # noqa: PLC0415
    from appliance.store.tier_reader import TierReader  # noqa: PLC0415

    reader = TierReader(database_without_service(place, troubles))
    try:
        series = {one.topic: one for one in reader.topics()}
        one = series.get(query["topic"])
        if one is None:
            raise unknown_topic(query["topic"], series)
        now_at = min(time.time(), ended_at(reader.path))
        rows = reader.summaries(
            one.topic, query["every"], query["since"], query["until"], query["limit"], now_at=now_at
        )
        from_at = max(query["since"], rows[0].at) if len(rows) >= query["limit"] else query["since"]
        gaps = GapReader(reader.path).of_periods(reader, one.topic, from_at, query["until"])
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    return {
        "kind": one.kind,
        "unit": one.unit,
        "rows": [asdict(row) for row in rows],
        "gaps": [gap.told() for gap in gaps],
    }
