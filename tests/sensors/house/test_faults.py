import pytest

from sensors.house.chance import DAY_S
from sensors.house.faults import KINDS, Fault, parse

MIDNIGHT = 20_779 * DAY_S


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("checksum", Fault("checksum")),
        ("checksum@5%", Fault("checksum", share=0.05)),
        ("85@0.5%", Fault("85", share=0.005)),
        ("unplugged@02:00-02:10", Fault("unplugged", daily=(7200, 7800))),
        ("stuck@30s/10m", Fault("stuck", every=(30, 600))),
        ("bounce", Fault("bounce", 0.04)),
        ("bounce=1.5@10%", Fault("bounce", 1.5, share=0.1)),
        ("clock@1h/1h", Fault("clock", -3600, every=(3600, 3600))),
        ("clock=86400@23:00-01:00", Fault("clock", 86400, daily=(82_800, 3600))),
    ],
)
def test_what_is_written_is_what_is_meant(text, fault):
    assert parse(text) == fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no fault"),
        ("checksum@", "is no fault"),
        ("checksum@05", "is no fault"),
        ("unplugged@2:00-3:00", "is no fault"),
        ("unplugged@02:00-24:00", "is no fault"),
        ("checksum@5%\n", "is no fault"),
        ("fire", 'there is no fault "fire"'),
        ("stuck=5", 'fault "stuck" takes no number'),
        ("bounce=0", "cannot bounce for 0 s"),
        ("bounce=11", "cannot bounce for 11 s"),
        ("checksum@101%", "more than always"),
        ("stuck@02:00-02:00", "is no time"),
        ("stuck@11m/10m", "not a part of 10m"),
        ("stuck@0s/10m", "not a part of 10m"),
    ],
)
def test_what_cannot_be_is_said(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_what_is_always_there_is_always_there():
    assert all(Fault(kind).strikes(1, "x", MIDNIGHT + i * 777.7) for kind in KINDS for i in range(100))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("unplugged@02:00-02:10", [7200, 7799], [7199, 7800, 0]),
        ("unplugged@23:00-01:00", [82_800, 86_399, 0, 3599], [3600, 82_799]),
        ("unplugged@30s/10m", [0, 29, 600, 629], [30, 599, 630]),
    ],
)
def test_schedules_have_edges(text, inside, outside):
    fault = parse(text)
    assert all(fault.strikes(1, "x", MIDNIGHT + at) for at in inside)
    assert not any(fault.strikes(1, "x", MIDNIGHT + at) for at in outside)


def test_a_share_is_of_answers():
    struck = [parse("checksum@20%").strikes(1, "x", MIDNIGHT + 2.0 * i) for i in range(3000)]
    assert 500 < sum(struck) < 700
    assert struck != [parse("checksum@20%").strikes(2, "x", MIDNIGHT + 2.0 * i) for i in range(3000)]


def test_a_share_of_what_lasts_is_of_minutes():
    fault = parse("unplugged@20%")
    minutes = [{fault.strikes(1, "x", MIDNIGHT + 60 * i + second) for second in (0, 20, 59)} for i in range(500)]
    assert all(len(minute) == 1 for minute in minutes)
    assert 60 < sum(minute == {True} for minute in minutes) < 140
