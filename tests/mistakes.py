"""What a person is told of a mistake in sensors.toml."""


def assert_told(error, line, key, parts):
    """One line, with where it is, what the cure is, and these words."""
    assert (error.line, error.key) == (line, key)
    assert error.cure
    words = str(error)
    assert "\n" not in words
    assert all(part in words for part in parts), words
