"""Points in time as people write them: `1h`, `7d`, `1h30m`, or a date with or without its time."""

import re
from datetime import UTC, datetime
from typing import Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST_S: Final = 100 * 366 * 86_400  # a century: further back there was nothing to measure

PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", re.ASCII)
SPAN: Final = re.compile(rf"(?:{PART.pattern})+", re.ASCII)
CURE: Final = "write a time span such as 30m, 1h or 7d, or a time such as 2026-11-22T20:00:00Z"


def parse_span(text: str) -> float:
    """Seconds of `90s`, `30m`, `1h30m`, `7d` or `2w`; ValueError says what is expected."""
    if not SPAN.fullmatch(text):
        raise ValueError(f"'{text[:40]}' is not a time span; write 30m, 1h or 7d")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in PART.findall(text))
    if seconds > LONGEST_S:
        raise ValueError(f"'{text[:40]}' is longer than a hundred years; write 30m, 1h or 7d")
    return seconds


def parse_time(text: str, at: float) -> float:
    """Unix seconds of a span before `at` or of an RFC 3339 time; `now` is `at` itself.

    A time without a zone, or a date alone, is meant in the zone of this computer. ValueError says what is expected.
    """
    text = text.strip()
    if text == "now":
        return at
    if SPAN.fullmatch(text):
        return at - parse_span(text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.astimezone()
        return moment.timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"'{text[:40]}' is not a time; {CURE}") from error


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
