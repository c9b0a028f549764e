"""Moving the state from the journal into its tables, interrupted everywhere."""

import sqlite3
import tempfile
from pathlib import Path

from groups import FakeHistory, age_ms, applied, crash_copy, described, histories_of_groups
from hypothesis import given, settings

from appliance.store.database import Database
from appliance.store.loading import load
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.staged import Moment

NOW = 20_000.0


def loaded(path):
    damage = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        found = load(connection, Moment(NOW, age_ms(NOW)), damage.append)
    finally:
        connection.close()
    assert damage == []
    return found


def open_at(path):
    database = Database.open(path)
    return SqliteLedger(database, FakeHistory(database), age_ms=age_ms)


@given(histories_of_groups())
@settings(max_examples=25, deadline=None)
def test_a_move_changes_nothing_wherever_it_is_interrupted(groups):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "appliance.db"
        ledger = open_at(path)
        for group in groups:
            ledger.write(group)
        expected = described(applied(groups, NOW))
        before = loaded(path)
        assert described(before.image) == expected
        reopened = open_at(crash_copy(path, Path(directory) / "stamp"))
        stamp = reopened.last_stamp
        reopened.close()
        ledger._moving = ledger._begin_move()
        steps = 0
        while ledger.step():
            steps += 1
            copy = crash_copy(path, Path(directory) / "crashed")
            found = loaded(copy)
            assert described(found.image) == expected
            assert (found.next_number, found.next_key) == (before.next_number, before.next_key)
            if steps % 3 == 0:  # goes on from there
                again = open_at(copy)
                while again.step():
                    pass
                assert described(again.load(NOW)) == expected
                assert again._database.connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
                assert again.last_stamp == stamp
                again.close()
        assert described(ledger.load(NOW)) == expected
        ledger.close()
