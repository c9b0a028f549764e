"""Every case of groups A to J and O has a test that carries its number."""

import re
from pathlib import Path

import pytest

GROUPS = {
    "a": range(1, 11),
    "b": range(11, 21),
    "c": range(21, 32),
    "d": range(32, 43),
    "e": range(43, 48),
    "f": range(48, 53),
    "g": range(53, 59),
    "h": range(59, 65),
    "i": range(65, 70),
    "j": range(70, 73),
    "o": range(84, 89),
}
TESTS = re.compile(r"^def test((?:_[a-jo]\d+)+)_", re.MULTILINE)


def claimed():
    """Give the cases that the names of tests claim, such as `c27`."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for names in TESTS.findall(path.read_text(encoding="utf-8")):
            found.update(names.strip("_").split("_"))
    return found


@pytest.mark.parametrize(("group", "number"), [(group, number) for group, of in GROUPS.items() for number in of])
def test_the_case_is_claimed_by_a_test(group, number):
    assert f"{group}{number}" in claimed()


def test_no_test_claims_a_case_that_is_none():
    assert claimed() <= {f"{group}{number}" for group, of in GROUPS.items() for number in of}
