"""What a reading takes on disk, small enough for every run of the tests; the command measures ten millions."""

from .history import Home


def test_a_reading_takes_thirty_bytes_or_so(tmp_path):
    home = Home(tmp_path / "appliance.db", page_size=1024, move_rows=24_000, backlog=0.05)
    home.run(100_000)
    home.move()
    assert 0.02 < home.late_rows / home.rows < 0.08
    all_in, _ = home.bytes_per_row()
    assert all_in < 31.5
    assert home.ask("SELECT count(*) FROM readings").fetchone() == (home.rows,)
    assert home.ask("SELECT sum(last_seq - first_seq + 1) FROM received").fetchone() == (home.rows,)
    home.database.close()
