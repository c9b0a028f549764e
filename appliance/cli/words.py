"""Sizes, numbers, spans and times as people say them."""

import time


def megabytes(size_bytes: int) -> str:
    """Say a size as people do."""
    return f"{size_bytes / 1_000_000:.1f} MB"


def counted(number: int, thing: str) -> str:
    """Say how many things there are."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def duration(seconds: float) -> str:
    """Give a time span in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def local_time(at: float) -> str:
    """Give a time of this computer's zone to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
