"""A ledger as the service opens it, with its history and its clock."""

import sqlite3
from types import SimpleNamespace

import pytest
from groups import AT, ask, crash_copy, provenance, retained, told

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.clock import SYNCED, UNSYNCED
from appliance.store.aside import damages
from appliance.store.gaps import DAMAGED, HUB, GapNote
from appliance.store.group import Group, merged
from appliance.store.harms import UNREADABLE
from appliance.store.history import Tally
from appliance.store.history_reader import HistoryReader
from appliance.store.opening import open_ledger
from appliance.store.suspicion import suspect

TOPIC = "home/kitchen/temperature"
RECORD = int(RouteFlag.RECORD)


def test_what_is_suspected_is_salvaged_when_it_is_opened_again(tmp_path):
    path = tmp_path / "appliance.db"
    ledger = open_ledger(path, site="home", max_series=9)
    ledger.suspect("UNIQUE constraint failed: journal.id")
    ledger.close()
    assert damages(path) == []
    open_ledger(path, site="home", max_series=9).close()
    assert [damage.why for damage in damages(path)] == [UNREADABLE]


def test_damage_that_a_reader_met_is_salvaged_without_a_restart(tmp_path):
    path = tmp_path / "appliance.db"
    ledger = open_ledger(path, site="home", max_series=9)
    ledger.write(Group(1, entries=[retained("a")], run=7))
    suspect(path)
    with pytest.raises(sqlite3.DatabaseError):
        ledger.step()
    ledger.close()
    again = open_ledger(path, site="home", max_series=9)
    assert list(again.load(0.0).retained) == ["a"]
    assert again.last_stamp == (7, 1)
    again.step()
    again.close()
    assert len(damages(path)) == 1


class TestWithItsHistory:
    """As the service opens it."""

    @pytest.fixture
    def time(self):
        return SimpleNamespace(now=100.0, at=AT)

    def open(self, path, time, tally=None):
        return open_ledger(
            path,
            site="home",
            max_series=9,
            tally=tally,
            boot="b",
            quality=lambda: SYNCED,
            clock=lambda: time.now,
            wall_clock=lambda: time.at,
        )

    def write(self, ledger, time, number, *messages):
        time.now += 1.0
        time.at += 1.0
        entries = [(message, 3, time.now, None) for message in messages]
        ledger.write(Group(number, entries=entries, run=7, now=time.now, at=time.at))

    def reading(self, time, seq, value=b"21.4", *, expires_in_s=None):
        expires_at = None if expires_in_s is None else time.now + expires_in_s
        return Message(TOPIC, value, 1, True, provenance(seq, time.at), expires_at, "house")

    def values(self, path):
        return [(row.value, row.seq) for row in HistoryReader(path).rows(TOPIC, 0, 1e11)]

    def test_a_reading_is_there_once_before_during_and_after_the_move(self, tmp_path, time):
        path = tmp_path / "appliance.db"
        tally = Tally()
        ledger = self.open(path, time, tally)
        for seq in range(1, 6):
            self.write(ledger, time, seq, self.reading(time, seq, b"%d" % seq))
        expected = [(float(seq), seq) for seq in range(1, 6)]
        assert self.values(path) == expected
        ledger._moving = ledger._begin_move()
        while ledger.step():
            assert self.values(path) == expected
            copy = crash_copy(path, tmp_path / "crashed")
            assert self.values(copy) == expected
            again = self.open(copy, time)
            assert again.load(time.now).retained[TOPIC].payload == b"5"
            again.close()
            assert self.values(copy) == expected
        assert self.values(path) == expected
        assert ask(ledger, "SELECT count(*) FROM readings") == 5
        assert tally.rows == 5
        ledger.close()

    def test_one_that_comes_twice_is_one_row_and_still_the_last_message(self, tmp_path, time):
        path = tmp_path / "appliance.db"
        tally = Tally()
        ledger = self.open(path, time, tally)
        first = self.reading(time, 1)
        self.write(ledger, time, 1, first)
        self.write(ledger, time, 2, first)
        assert self.values(path) == [(21.4, 1)]
        assert (tally.rows, tally.duplicates) == (1, 1)
        assert told(ledger.load(time.now).retained[TOPIC]) == told(first)
        ledger.close()
        assert self.values(path) == [(21.4, 1)]

    def test_time_without_power_does_not_count_where_nobody_knows_it(self, tmp_path, time):
        path = tmp_path / "appliance.db"
        ledger = self.open(path, time)
        self.write(ledger, time, 1, self.reading(time, 1, expires_in_s=60.0))
        time.now += 10.0
        time.at += 10.0
        left_s = ledger.load(time.now).retained[TOPIC].expires_at - time.now
        assert left_s == pytest.approx(49.0, abs=0.01)
        ledger.close()

    def test_expiry_does_not_move_the_clock(self, tmp_path, time):
        path = tmp_path / "appliance.db"
        ledger = self.open(path, time)
        self.write(ledger, time, 1, self.reading(time, 1, expires_in_s=1e8))
        self.write(ledger, time, 2, self.reading(time, 2))
        ticks = [row[0] for row in ledger._database.connection.execute("SELECT tick FROM journal ORDER BY id")]
        assert ticks[1] - ticks[0] == 16_000
        ledger.close()

    def test_a_file_without_a_table_is_salvaged(self, tmp_path, time):
        path = tmp_path / "appliance.db"
        ledger = self.open(path, time)
        ledger._database.connection.execute("DROP TABLE epochs")
        ledger._database.close()
        self.open(path, time).close()
        assert [damage.why for damage in damages(path)] == [UNREADABLE]


RETAINED = RECORD | int(RouteFlag.RETAINED)
TURNS = [[RECORD], [RETAINED], [RETAINED, RECORD]]  # of the flags: the last notes a change with every reading


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("is_begun", [True, False])
def test_readings_that_waited_for_the_disk_keep_the_time_of_their_arrival(tmp_path, is_begun, turns):
    path, began = tmp_path / "appliance.db", 1_000.0
    shown = {"now": began}

    def opened():
        options = {"boot": "boot", "quality": lambda: SYNCED, "since": began}
        clocks = {"clock": lambda: shown["now"], "wall_clock": lambda: AT + shown["now"] - began}
        return open_ledger(path, site="home", max_series=9, **options, **clocks)

    def group(number, *seconds):
        entries = [(Message(TOPIC, b"%d" % s, 0), turns[s // 6 % len(turns)], began + s, None) for s in seconds]
        return Group(number, entries=entries, run=7, now=began + seconds[-1], at=AT + seconds[-1])

    ledger = opened()
    if is_begun:
        ledger.write(group(1, 5))
    ledger.close()
    shown["now"] += 35.0  # meanwhile it failed
    ledger = opened()
    ledger.write(merged([group(2, 11, 17), group(3, 23), group(4, 29)]))
    ledger.close()
    rows = HistoryReader(path).rows(TOPIC, 0.0, 1e11)
    assert [row.at - AT for row in rows] == pytest.approx([5] * is_begun + [11, 17, 23, 29], abs=0.002)
    assert [row.received for row in rows] == [row.at for row in rows]


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("is_reopened", [True, False])
@pytest.mark.parametrize("is_begun", [True, False])
def test_readings_that_waited_while_the_clock_was_set_get_their_true_times_and_nothing_lasts_longer(
    tmp_path, is_begun, is_reopened, turns
):
    path, began, woke = tmp_path / "appliance.db", 1_000.0, 1_700_000_000.0
    set_at = began + 20
    shown = {"now": began}

    def wall(now):
        return (woke if now < set_at else AT) + now - began

    def opened():
        return open_ledger(
            path,
            site="home",
            max_series=9,
            boot="boot",
            since=began,
            quality=lambda: UNSYNCED if shown["now"] < set_at else SYNCED,
            clock=lambda: shown["now"],
            wall_clock=lambda: wall(shown["now"]),
        )

    def group(number, *seconds):
        entries = [(Message(TOPIC, b"%d" % s, 0), turns[s // 6 % len(turns)], began + s, None) for s in seconds]
        retained = Message(f"kept/{number}", b"x", 1, retain=True, expires_at=began + seconds[-1] + 600)
        entries.append((retained, int(RouteFlag.RETAINED), began + seconds[-1], None))
        now = began + seconds[-1]
        return Group(number, entries=entries, run=7, now=now, at=wall(now))

    ledger = opened()
    if is_begun:
        shown["now"] += 5
        ledger.write(group(1, 5))
    shown["now"] = began + 35  # meanwhile it failed
    if is_reopened:
        ledger.close()
        ledger = opened()
    ledger.write(merged([group(2, 11, 17), group(3, 23), group(4, 29)]))
    ledger.write(group(5, 34))
    shown["now"] = began + 40
    ledger.write(group(6, 40))
    expected = [5] * is_begun + [11, 17, 23, 29, 34, 40]
    image = ledger.load(began + 40)
    ledger.close()
    rows = HistoryReader(path).rows(TOPIC, 0.0, 1e11)
    assert [int(row.value) for row in rows] == expected
    assert [row.at - AT for row in rows] == pytest.approx(expected, abs=0.002)
    left = {
        message.topic: message.expires_at - began - 600 for message in image.retained.values() if message.expires_at
    }
    lasting = {1: 5, 2: 17, 3: 23, 4: 29, 5: 34, 6: 40}
    assert left == pytest.approx({f"kept/{n}": s for n, s in lasting.items() if n > 1 or is_begun}, abs=0.01)


def test_what_a_salvage_leaves_open_in_the_midst_of_a_run_ends_with_its_next_group(tmp_path):
    path = tmp_path / "appliance.db"

    def opened():
        return open_ledger(path, site="home", max_series=9, boot="boot", quality=lambda: SYNCED, since=1.0)

    ledger = opened()
    ledger.write(Group(1, run=7, now=2.0, at=AT))
    ledger._gaps.write([GapNote(HUB, "", DAMAGED, 2.0, None, "torn")])
    ledger.close()
    ledger = opened()
    ledger.write(Group(2, run=7, now=9.0, at=AT + 7))
    assert ask(ledger, "SELECT to_tick IS NOT NULL FROM gaps WHERE cause = 'lost to damage'")
    ledger.close()
