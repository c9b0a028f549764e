from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.house.chance import DAY_S, Daily
from sensors.house.people import AWAY, PERSONS, PLACES, People, day_of, place_of
from sensors.house.weather import Weather

MONDAY = 20_780  # 23 November 2026, in days since 1970
seeds = st.integers(min_value=0, max_value=2**32)
days = st.integers(min_value=12_000, max_value=40_000)
PEOPLE = People(7)


@given(seeds, days)
def test_a_day_has_no_gap_and_ends_in_bed(seed, day):
    for person in range(PERSONS):
        stays = day_of(seed, person, day)
        assert stays[0].start == day * DAY_S
        assert stays[-1].end == (day + 1) * DAY_S
        assert all(before.end == after.start for before, after in pairwise(stays))
        assert all(stay.end > stay.start and stay.place in {*PLACES, AWAY} for stay in stays)
        assert (stays[-1].place, stays[-1].awake) == ("bedroom", False)
        assert sum(stay.end - stay.start for stay in stays if not stay.awake) > 6 * 3600


def test_people_go_to_work_on_weekdays_and_not_on_sundays():
    def away_at_ten(day):
        return mean(
            People(seed).where(person, day * DAY_S + 10 * 3600).place == AWAY for seed in range(30) for person in (0, 1)
        )

    assert away_at_ten(MONDAY) > 0.6
    assert away_at_ten(MONDAY + 6) == 0


def test_a_place_is_known_by_its_name_and_any_other_room_is_one_too():
    assert [place_of(room) for room in ("kitchen-017", "living-room", "my_bath_room", "hall")] == [
        "kitchen",
        "livingroom",
        "bathroom",
        "hall",
    ]
    assert place_of("küche") in PLACES
    assert place_of("attic") == place_of("attic")


@given(seeds, days, st.sampled_from(PLACES))
def test_what_people_leave_behind_is_never_more_than_they_are(seed, day, place):
    for hour in range(0, 24, 5):
        assert -1e-9 <= People(seed).linger(place, day * DAY_S + hour * 3600, 1800) <= PERSONS


def test_what_people_leave_behind_comes_and_fades():
    night = (MONDAY + 1) * DAY_S
    assert PEOPLE.linger("bedroom", night + 5 * 3600, 1800) == pytest.approx(2, abs=0.01)
    assert PEOPLE.linger("bedroom", night + 14 * 3600, 1800) < 0.1


def test_nothing_moves_while_all_sleep_or_are_away():
    for day in range(MONDAY, MONDAY + 7):
        for start, _ in PEOPLE.motion("livingroom", day):
            places = [PEOPLE.where(person, start + 0.01) for person in range(PERSONS)]
            assert any(stay.place == "livingroom" and stay.awake for stay in places)
        assert not any(start < day * DAY_S + 5 * 3600 for start, _ in PEOPLE.motion("livingroom", day))


def test_whoever_leaves_opens_the_front_door_and_moves_in_the_hall():
    day = next(day for day in range(MONDAY, MONDAY + 5) if PEOPLE.front_door(day))
    hall = Daily(lambda day: PEOPLE.motion("hall", day))
    for start, end in PEOPLE.front_door(day):
        assert 5 < end - start < 13
        assert any(hall.is_on(start + i - 60) for i in range(90))


def test_a_rooms_door_opens_when_somebody_goes_in_or_out():
    spans = PEOPLE.door("bathroom", MONDAY)
    assert len(spans) >= 4
    for start, _ in spans:
        around = [PEOPLE.where(person, start + second).place for person in range(PERSONS) for second in (0, 3)]
        assert "bathroom" in around


def test_rooms_are_aired_after_somebody_was_there():
    spans = [span for day in range(MONDAY, MONDAY + 10) for span in PEOPLE.window("bedroom", day)]
    assert spans
    assert all(240 < end - start < 1000 for start, end in spans)


def test_lamps_are_for_people_in_the_dark():
    spans = PEOPLE.lamp("livingroom", MONDAY)
    assert spans
    for start, end in spans:
        assert Weather(7).illuminance(start) < 2500
        assert end > start
        assert any(PEOPLE.where(person, start + 0.1).place == "livingroom" for person in range(PERSONS))


def test_the_post_rings_every_day():
    for day in range(MONDAY, MONDAY + 20):
        presses = PEOPLE.ringing(day)
        assert presses
        assert all(0.1 < end - start < 1.5 for start, end in presses)
