"""Exit codes are a promise to scripts."""

from appliance.exits import CommandError, Exit


def test_codes_stay_what_they_are():
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0,
        "NOTHING": 1,
        "USAGE": 2,
        "TIMEOUT": 27,
        "UNAVAILABLE": 69,
        "DATA": 73,
        "CONFIG": 78,
        "INTERRUPTED": 130,
    }


def test_an_error_carries_its_line_and_code():
    error = CommandError("no, because; do this", Exit.DATA)
    assert (str(error), error.exit_code) == ("no, because; do this", Exit.DATA)
