"""The rows that hold a closed gate against an open one, and what the disk asks for."""

import sqlite3
from contextlib import closing

import pytest
from benchmarks.gates import (
    CLOSED,
    COMMITS,
    CROWDS,
    FLUSH_BYTES,
    OPEN,
    SIZES,
    Measured,
    as_text,
    at_most,
    commit_s,
    flush_s,
    write_s,
)


def figures(per_s, p50_us):
    return {"per_s": per_s, "cpu_us": 20.0, "p50_us": p50_us}


def test_ratio_and_added_latency_are_medians_of_the_rounds_own():
    measured = Measured(flush_s=[0.0001, 0.0003, 0.0002])
    for publishers, in_flight in CROWDS:
        measured.figures[publishers, in_flight, CLOSED] = [
            figures(800.0, 3_000.0),
            figures(75.0, 2_000.0),
            figures(9.0, 1e6),
        ]
        measured.figures[publishers, in_flight, OPEN] = [
            figures(1_000.0, 1_000.0),
            figures(100.0, 500.0),
            figures(90.0, 1e5),
        ]
    for size in SIZES:
        measured.commit_s[size] = [size / 1_000, size / 300, size / 30]
        measured.write_s[size] = [size / 500, size / 50, size / 15]
    *rows, store_20, store_50, disk = as_text(measured).splitlines()[2:]
    assert [row.partition("flight")[0] for row in rows] == [
        "20 clients, 1 in ",
        "50 clients, 1 in ",
        "20 clients, 80 in ",
        "50 clients, 80 in ",
    ]
    for row in rows[:2]:
        assert row.endswith("  2.00 ms   0.75  ≥ 0.70   0.33   0.50")
    for row in rows[2:]:  # who has more in flight sends meanwhile
        assert row.endswith("  2.00 ms   0.75  ≥ 0.70")
    assert store_20 == "alone, a group of 20 takes the store 400.00 ms, of these SQLite's commit 66.67 ms"
    assert store_50 == "alone, a group of 50 takes the store 1000.00 ms, of these SQLite's commit 166.67 ms"
    assert disk == "alone, a flush of 4 KiB takes the disk 0.20 ms"


@pytest.mark.parametrize(
    ("publishers", "open_per_s", "added_s", "expected"),
    [(20, 40_000, 0.0005, 0.5), (50, 50_000, 0.001, 0.5), (20, 40_000, 0.0, 1.0)],
)
def test_what_is_added_stands_beside_a_message_of_each(publishers, open_per_s, added_s, expected):
    assert at_most(publishers, [figures(open_per_s, 1.0)], [added_s]) == pytest.approx(expected)


def test_a_commit_alone_is_one_of_the_stores_own_rows(tmp_path):
    path = tmp_path / "rows.db"
    assert commit_s(path, 3) > 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*), max(id), max(series_id) FROM journal").fetchone() == (
            6 * COMMITS,
            6 * COMMITS,
            2,
        )


def test_a_group_alone_is_what_the_publishers_send(tmp_path):
    path = tmp_path / "group.db"
    assert write_s(path, 3) > 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT topic, kind FROM series ORDER BY id").fetchall() == [
            (f"home/room0{i}/temperature", "number") for i in range(3)
        ]
        waiting = "SELECT count(*), count(topic), min(flags), max(flags) FROM journal WHERE series_id IS NOT NULL"
        assert connection.execute(waiting).fetchone() == (3 * COMMITS, 0, 83, 83)


def test_a_flush_alone_writes_over_what_is_there(tmp_path):
    path = tmp_path / "flushed"
    assert flush_s(path) > 0
    assert path.read_bytes() == b"x" * FLUSH_BYTES * COMMITS
