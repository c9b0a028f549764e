"""The administrator's first password."""

from appliance.identity.first_secret import forget, keep, kept


def test_it_is_kept_until_it_was_shown(tmp_path):
    path = tmp_path / "secret"
    assert kept(path) is None
    keep(path, "abc")
    assert (kept(path), path.stat().st_mode & 0o777) == ("abc", 0o600)
    forget(path)
    assert kept(path) is None
