"""What the history answers: series, readings, and charts."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What is known of one topic that has a history. kind: number, binary (ON is 1, OFF is 0) or text."""

    topic: str
    kind: str
    unit: str | None
    name: str | None
    quantity: str | None
    agent: str | None
    last_at: float | None


class Row(msgspec.Struct, frozen=True, gc=False):
    """One reading. `at` and `received` are Unix seconds to the ms; agent, run and seq are None from a stranger.

    clock: what the time rests on. The agent's word, synced or unsynced, or None; unsynced too while the hub's own
    clock is not set, and redated where it was set later.
    """

    at: float
    value: float | None
    text: str | None
    quality: str
    clock: str | None
    agent: str | None
    run: str | None
    seq: int | None
    received: float | None = None


class Bucket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The readings of one stretch of a chart; `at` is the first of them, or begins what is rolled up; Unix seconds.

    In `weighted_mean` each value counts for as long as it stood; None where the readings themselves are drawn.
    """

    at: float
    min: float
    mean: float
    max: float
    count: int
    weighted_mean: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A stretch of one series in at most as many buckets as were asked for; buckets without a reading are left out.

    `before` is the last reading before the stretch: what held when it began.
    """

    topic: str
    since_at: float
    until_at: float
    bucket_s: float
    before: Row | None
    buckets: list[Bucket]
