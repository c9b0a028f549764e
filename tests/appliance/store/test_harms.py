"""What is wrong with a file in words of ours."""

from appliance.store.harms import CUT, HARMS, UNREADABLE, in_words


def test_only_our_own_words_are_for_people():
    assert in_words(CUT) == CUT
    assert in_words('malformed database schema (due) - near "ROWID": syntax error') == UNREADABLE
    assert not any("\n" in harm or len(harm) > 60 for harm in HARMS)
