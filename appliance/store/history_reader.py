"""The history as it is read: rows, charts, and the last value of each topic.

Every question is one state of the file.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.store.answers import Bucket, Chart, Row, Series
from appliance.store.asking import READER_TIMEOUT_S, Asker
from appliance.store.question import Question
from appliance.store.readings import LAST_AT
from appliance.store.sealed import whole_series

MAX_ROWS: Final = 100_000
MAX_POINTS: Final = 10_000


class HistoryReader:
    """Asks the history; each question has a read-only connection to itself, so any thread may ask.

    Every question ends within `timeout_s`; StoreError says in one line what went wrong and what to do. A row whose
    checksum is wrong is never given. keeps: see `Asker`; then it must be closed.
    """

    def __init__(self, path: Path, *, timeout_s: float = READER_TIMEOUT_S, keeps: bool = False) -> None:
        self._asker = Asker(path, timeout_s=timeout_s, keeps=keeps)

    @property
    def path(self) -> Path:
        """Where the database lies, for questions of other kinds."""
        return self._asker.path

    def close(self) -> None:
        """Keep no connection between questions any more; may be called twice."""
        self._asker.close()

    def rows(self, topic: str, since_at: float, until_at: float, limit: int = MAX_ROWS) -> list[Row]:
        """Readings of a topic from one time to another, both included, oldest first; the newest `limit` of them."""
        with self._question() as ask:
            series_id = ask.series_id(topic)
            if series_id is None:
                return []
            limit = max(0, min(limit, MAX_ROWS))
            return ask.rows(series_id, ask.spans(to_ms(since_at), to_ms(until_at)), limit)

    def chart(self, topic: str, since_at: float, until_at: float, points: int = 500) -> Chart:
        """Draw a topic from one time to another, both included, in at most `points` buckets of equal length."""
        points = max(1, min(points, MAX_POINTS))
        since_ms, until_ms = to_ms(since_at), to_ms(until_at)
        width_ms = max(1, -(-(until_ms - since_ms + 1) // points))
        buckets: list[Bucket] = []
        before: list[Row] = []
        with self._question() as ask:
            series_id = ask.series_id(topic)
            if series_id is not None:
                before = ask.told(ask.newest(series_id, ask.spans(0, since_ms - 1), 1))
                buckets = ask.raw_buckets(series_id, since_ms, until_ms, width_ms)
        return Chart(
            topic=topic,
            since_at=since_ms / 1000,
            until_at=until_ms / 1000,
            bucket_s=width_ms / 1000,
            before=before[0] if before else None,
            buckets=buckets,
        )

    def topics(self) -> list[Series]:
        """Everything that has a history, by topic."""
        with self._question() as ask:
            found = whole_series(ask.connection)
            last = ask.last_rows([fields[0] for fields in found])
        return [
            Series(
                topic=topic,
                kind=kind,
                unit=unit,
                name=name,
                quantity=quantity,
                agent=agent,
                last_at=last[series_id].at if series_id in last else None,
            )
            for series_id, topic, kind, unit, name, quantity, agent in found
        ]

    def latest(self) -> dict[str, Row]:
        """Newest reading of every topic."""
        with self._question() as ask:
            series = {series_id: topic for series_id, topic, *_ in whole_series(ask.connection)}
            last = ask.last_rows(series)
        return {topic: last[series_id] for series_id, topic in series.items() if series_id in last}

    @contextmanager
    def _question(self) -> "Generator[Question]":
        with self._asker.question() as connection:
            yield Question(connection)


def to_ms(at: float) -> int:
    """Unix seconds as ms, within what the database may hold."""
    return round(max(0.0, min(at, LAST_AT)) * 1000)
