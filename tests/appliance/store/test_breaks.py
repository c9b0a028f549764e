"""What a salvage could not read becomes gaps between what it could."""

import time
from contextlib import closing
from itertools import pairwise

import pytest
from keeper import TOPIC, Keeper, number
from storage.home import NAME, build

from appliance.store.aside import damages
from appliance.store.breaks import Breaks, Span, leave_open, write_breaks
from appliance.store.database import Database
from appliance.store.gap_reader import GapReader
from appliance.store.gaps import BROKER_DOWN, DAMAGED, HUB, RESTORED, SERIES, STOPPED, Gaps
from appliance.store.rescue import open_sound


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def rows(keeper):
    return keeper.ask("SELECT scope, name, cause, detail, to_tick IS NULL FROM gaps ORDER BY id").fetchall()


def walked(*steps, harm=0):
    breaks = Breaks()
    for place, met in steps:
        breaks.row(place, met)
    breaks.end(harm)
    return breaks


@pytest.mark.parametrize(
    ("breaks", "spans"),
    [
        (walked(((1, 10), 0), ((1, 20), 0)), []),
        (walked(((1, 10), 0), ((1, 20), 1), ((1, 30), 1), harm=1), [(1, 10, 20)]),
        (walked(((1, 10), 0), (None, 0), (None, 0), ((1, 30), 0)), [(1, 10, 30)]),
        (walked(((0, 30), 0), ((0, 20), 1), harm=1), [(0, 20, 30)]),  # of the journal: a backlog is older
        (walked(((1, 10), 0), ((4, 20), 1), harm=1), [(1, 10, None), (4, None, 20)]),
        (walked(((1, 10), 1), harm=1), [(1, None, 10)]),
        (walked(((1, 10), 0), harm=1), [(1, 10, None)]),
        (walked(harm=1), [(0, None, None)]),
    ],
)
def test_what_lies_between_neighbours(breaks, spans):
    assert breaks.spans == [Span(*span) for span in spans]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (4, [(SERIES, f"home/r{n}/t", DAMAGED, "why", 0) for n in (1, 2, 0)]),  # r3: from its first row on all is here
        (5, [(HUB, "", DAMAGED, "why: home/r0/t, home/r1/t, home/r2/t, home/r3/t", 0)]),
    ],
)
def test_series_between_two_may_be_gone_whole(keeper, series, expected):
    for value in range(2):
        keeper.write(*(number(value, f"home/r{n}/t") for n in range(series)), apart_s=60)
    lost = write_breaks(keeper.database.connection, walked(((1, 10), 0), ((series, 20), 1), harm=1), "why")
    assert sorted(rows(keeper)) == sorted(expected)
    assert lost.topics == [f"home/r{n}/t" for n in range(series - 1)]
    assert lost.since < lost.until == pytest.approx(keeper.at, abs=1)


def test_stretches_that_touch_are_one_and_none_lasts_no_time(keeper):
    keeper.write(number(1, "a/b"), number(1, "c/d"))
    tick = keeper.clock.tick(keeper.now)
    breaks = Breaks()
    breaks.spans = [
        Span(1, tick - 90, tick - 60),
        Span(1, tick - 70, tick - 50),
        Span(1, tick - 30, tick - 30),
        Span(2, tick - 20, tick - 10),
    ]
    write_breaks(keeper.database.connection, breaks, "why")
    found = keeper.ask("SELECT name, from_tick - ?1, to_tick - ?1 FROM gaps ORDER BY from_tick", (tick,)).fetchall()
    assert found == [("a/b", -90, -50), ("c/d", -20, -10)]


def test_a_file_cut_off_leaves_one_gap_that_names_the_series(tmp_path):
    keeper = Keeper(tmp_path / NAME)
    for value in range(60):
        keeper.write(*(number(value, f"home/r{n}/t") for n in range(20)), apart_s=60)
    keeper.move()
    keeper.database.checkpoint("TRUNCATE")
    keeper.stop()
    keeper.path.write_bytes(keeper.path.read_bytes()[:60_000])
    open_sound(keeper.path).close()
    gaps = [gap for gap in GapReader(keeper.path).last(0, keeper.at) if gap.cause == DAMAGED and gap.until_at]
    assert len(gaps) == 1
    assert "home/r" in gaps[0].detail
    (damage,) = damages(keeper.path)
    assert "readings between 2026-" in damage.line()
    assert len(damage.topics) > 3


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(bytes(50_000)), lambda path: path.unlink()])
def test_of_what_nothing_is_left_there_is_a_gap_all_the_same(tmp_path, spoil):
    keeper = Keeper(tmp_path / NAME)
    keeper.write(number(1))
    keeper.stop()
    began = keeper.clock.unix_ms(keeper.now) / 1000
    Database.open(keeper.path).close()  # notes when the history began
    spoil(keeper.path)
    for _ in range(2):
        open_sound(keeper.path).close()
    (gap,) = GapReader(keeper.path).last(0, time.time() + 10)
    assert (gap.cause, gap.scope) == (DAMAGED, HUB)
    assert gap.since_at == pytest.approx(began, abs=5)


def test_what_was_open_ends_with_the_start_and_nothing_says_power_cut(keeper):
    keeper.write(number(1))
    leave_open(keeper.database.connection, DAMAGED, "why", is_stop=False)
    assert rows(keeper) == [(HUB, "", DAMAGED, "why", 1)]
    with keeper.database.transaction():
        Gaps(keeper.database.connection).begin(5, keeper.clock.tick(keeper.now))
    assert rows(keeper) == [(HUB, "", DAMAGED, "why", 0)]


@pytest.mark.parametrize(("is_stop", "cause"), [(False, BROKER_DOWN), (True, RESTORED)])
def test_a_clean_stop_was_the_end_unless_a_backup_is_put_back(keeper, is_stop, cause):
    keeper.write(number(1))
    with keeper.database.transaction():
        Gaps(keeper.database.connection).end(keeper.clock.tick(keeper.now))
    assert rows(keeper) == [(HUB, "", BROKER_DOWN, STOPPED, 1)]
    leave_open(keeper.database.connection, RESTORED, "copy.db", is_stop=is_stop)
    assert [row[2] for row in rows(keeper)] == [cause]


def test_a_new_file_has_nothing_that_could_be_missed(tmp_path):
    with closing(Database.open(tmp_path / "a.db")) as database:
        leave_open(database.connection, DAMAGED, "why", is_stop=True)
        write_breaks(database.connection, walked(harm=1), "why")
        assert database.connection.execute("SELECT count(*) FROM gaps").fetchone() == (0,)


def test_readings_in_a_page_that_is_gone_leave_a_gap_of_their_series(tmp_path):
    keeper = Keeper(tmp_path / NAME)
    for value in range(400):
        keeper.write(number(value), apart_s=60)
    keeper.move()
    keeper.database.checkpoint("TRUNCATE")
    (root,) = keeper.ask("SELECT rootpage FROM sqlite_master WHERE name = 'readings'").fetchone()
    keeper.stop()
    data = bytearray(keeper.path.read_bytes())
    children = [  # of an interior page of a table without rowid: cells begin with the page they lead to
        int.from_bytes(data[(root - 1) * 1024 + at :][:4], "big")
        for cell in range(int.from_bytes(data[(root - 1) * 1024 + 3 :][:2], "big"))
        for at in [int.from_bytes(data[(root - 1) * 1024 + 12 + 2 * cell :][:2], "big")]
    ]
    page = children[len(children) // 2]
    data[(page - 1) * 1024 : page * 1024] = bytes(1024)
    keeper.path.write_bytes(data)
    open_sound(keeper.path).close()
    assert len(damages(keeper.path)) == 1
    at = [row.at for row in keeper.reader.rows(TOPIC, 0, 1e11)]
    assert 300 < len(at) < 400
    (gap,) = [gap for gap in GapReader(keeper.path).of(TOPIC, at, 0, keeper.at) if gap.scope == SERIES]
    before, after = max(pairwise(at), key=lambda pair: pair[1] - pair[0])
    assert (gap.since_at, gap.until_at) == (pytest.approx(before, abs=0.1), pytest.approx(after, abs=0.1))


def test_a_broken_log_is_no_power_cut(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    path = tmp_path / "home" / NAME
    log = path.with_name(f"{NAME}-wal")
    log.write_bytes(bytes(32) + log.read_bytes()[32:])
    open_sound(path).close()
    gaps = GapReader(path).last(0, time.time() + 10)
    assert [(gap.cause, gap.scope, gap.until_at) for gap in gaps][:1] == [(DAMAGED, HUB, None)]
