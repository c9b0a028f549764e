"""Large letters: all that a code can have, none to be taken for another."""

from itertools import combinations

import pytest

from appliance.cli.banner import GLYPHS, ROWS, banner
from appliance.pake import ALPHABET, new_code, shown


def test_every_letter_of_a_code_has_a_shape_of_its_own():
    assert set(GLYPHS) == {*ALPHABET, "-"}
    for letter, rows in GLYPHS.items():
        assert len(rows) == ROWS, letter
        assert len({len(row) for row in rows}) == 1, letter
        assert set("".join(rows)) <= {"#", "."}, letter
    for one, other in combinations(ALPHABET, 2):
        pairs = zip(GLYPHS[one], GLYPHS[other], strict=True)
        assert sum(a != b for rows in pairs for a, b in zip(*(row.ljust(5, ".") for row in rows), strict=True)) >= 2, (
            one,
            other,
        )


def test_a_code_fits_beside_each_other_on_a_terminal():
    for _ in range(50):
        lines = banner(shown(new_code()))
        assert len(lines) == ROWS
        assert max(map(len, lines)) <= 70


@pytest.mark.parametrize(("ink", "expected"), [("#", ["#...#".replace(".", " "), " # #", "  #", "  #", "  #"])])
def test_it_looks_as_it_should(ink, expected):
    assert banner("Y", ink) == expected
