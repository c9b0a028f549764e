"""What the writer tells begins with nothing."""

from dataclasses import astuple

from appliance.store.written import WriterStats


def test_it_begins_with_nothing():
    assert set(astuple(WriterStats())) == {0}
