"""The administrator's first password."""

import math

from appliance.identity.first_secret import GROUP_LETTERS, GROUPS, LETTERS, forget, keep, kept, new


def test_it_cannot_be_guessed():
    assert len(set(LETTERS)) == len(LETTERS) == 32
    assert GROUPS * GROUP_LETTERS * math.log2(len(LETTERS)) >= 128
    made = {new() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        groups = secret.split("-")
        assert [len(group) for group in groups] == [GROUP_LETTERS] * GROUPS
        assert set("".join(groups)) <= set(LETTERS)


def test_it_is_kept_until_it_was_shown(tmp_path):
    path = tmp_path / "secret"
    assert kept(path) is None
    keep(path, "abc")
    assert (kept(path), path.stat().st_mode & 0o777) == ("abc", 0o600)
    forget(path)
    assert kept(path) is None
