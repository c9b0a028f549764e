from sensors.entry import OVERHEAD_BYTES, Entry


def test_an_entry_counts_for_its_texts_in_bytes_and_for_its_row():
    entry = Entry(7, "0123456789abcdef", "home/k\u00fcche/x", "21.4", "2026-11-22T20:05:51.120Z", "ok", "synced")
    assert entry.size == OVERHEAD_BYTES + 13 + 4 + 24 + 2 + 6
