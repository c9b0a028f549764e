"""What of a gap is really empty."""

import pytest

from appliance.store.holes import Gap, holes


def gap(since_at, until_at, cause="agent offline"):
    return Gap(since_at=since_at, until_at=until_at, cause=cause, detail="", scope="agent", name="a")


MINUTES = [float(at) for at in range(0, 600, 60)]

CASES = [
    ("nothing in it", [gap(610, 900)], MINUTES, [(610, 900)]),
    ("cut to the stretch", [gap(-100, 5000)], [], [(0, 1000)]),
    ("still open", [gap(600, None)], MINUTES, [(600, None)]),
    ("outside", [gap(-100, -1), gap(1001, 1100), gap(5, 5)], MINUTES, []),
    ("filled by what came later", [gap(100, 400)], MINUTES, []),
    ("open, but readings go on", [gap(100, None)], MINUTES, [(540, None)]),
    ("filled but for its end", [gap(100, 900)], MINUTES, [(540, 900)]),
    ("filled but for its beginning", [gap(-500, 400)], [*(float(at) for at in range(310, 1000, 60))], [(0, 310)]),
    ("a hole in the middle", [gap(0, 1000)], [0.0, 60.0, 120.0, 700.0, 760.0, 820.0, 880.0, 940.0], [(120, 700)]),
    ("too few readings to know a rhythm", [gap(10, 500)], [200.0], [(10, 200), (200, 500)]),
    ("two at once", [gap(700, 800), gap(650, 750, "broker down")], MINUTES, [(650, 750), (700, 800)]),
]


@pytest.mark.parametrize(("gaps", "at", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_holes(gaps, at, expected):
    found = holes(gaps, at, 0.0, 1000.0)
    assert [(one.since_at, one.until_at) for one in found] == expected
    assert {one.name for one in found} <= {"a"}
