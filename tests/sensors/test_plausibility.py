import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.driver import Channel, Implausible
from sensors.plausibility import AllZero, Doubt, Jump, NotANumber, OutOfRange, Plausibility, WrongType, zeroed
from sensors.reading import Reading
from sensors.treatment import Treatment

DHT22 = Channel(measurement="temperature", unit="°C", low=-40, high=80, max_step=5, decimals=1)


def judged(judge, values):
    """Class and words of the doubt about each value; None where it is believed."""
    doubts = []
    for value in values:
        try:
            judge.check(value)
        except Doubt as doubt:
            doubts.append((type(doubt), str(doubt)))
        else:
            doubts.append(None)
    return doubts


REFUSED = [
    (math.nan, NotANumber, "temperature: nan is not a number"),
    (-math.inf, NotANumber, "temperature: -inf is not a number"),
    (-40.1, OutOfRange, "temperature: -40.1 °C is below -40 °C"),
    (85.0, OutOfRange, "temperature: 85 °C is above 80 °C"),  # DS18B20 at power-on, BMP180 without a bus
    (10**400, NotANumber, "temperature: beyond ±1e+15 nothing is measured"),
    (-(10**400), NotANumber, "temperature: beyond ±1e+15 nothing is measured"),
    (1e15, OutOfRange, "temperature: 1e+15 °C is above 80 °C"),
    (True, WrongType, "temperature: True is nothing that a sensor says"),
    ("21.4", WrongType, "temperature: '21.4' is nothing that a sensor says"),
]


@pytest.mark.parametrize(("value", "doubt", "words"), REFUSED)
def test_what_cannot_be_true_is_refused_and_explained(value, doubt, words):
    assert judged(Plausibility(DHT22, Treatment()), [value, value]) == [(doubt, words)] * 2


def test_every_doubt_has_a_cause_of_its_own_and_knows_its_measurement():
    doubts = (WrongType, NotANumber, OutOfRange, Jump, AllZero)
    assert len({doubt.cause for doubt in (*doubts, Implausible)}) == 6
    assert {doubt("humidity", "no").measurement for doubt in doubts} == {"humidity"}


@pytest.mark.parametrize("value", [1e308, -1e308, 1.1e15, 2**60])
def test_no_sensor_says_a_number_that_no_filter_could_hold(value):
    (doubt,) = judged(Plausibility(Channel(measurement="energy"), Treatment()), [value])
    assert doubt == (NotANumber, "energy: beyond ±1e+15 nothing is measured")


def test_what_is_of_a_wrong_type_is_shown_in_short():
    (doubt,) = judged(Plausibility(DHT22, Treatment()), [b"x" * 100_000])
    assert doubt[0] is WrongType
    assert len(doubt[1]) < 200


@pytest.mark.parametrize("value", [-40, -40.0, 0, 80.0])
def test_the_ends_of_the_range_are_in_it(value):
    assert judged(Plausibility(DHT22, Treatment()), [value]) == [None]


JUMPS = [
    ([20.0, 25.0, 20.0], [None, None, None]),  # just believable
    ([20.0, 25.1, 20.1], [None, Jump, None]),  # one wild value
    ([20.0, 33.0, 33.4], [None, Jump, None]),  # a real change: the second reading agrees
    ([20.0, 33.0, 60.0, 20.2], [None, Jump, Jump, None]),  # two wild values that disagree
    ([20.0, 33.0, 20.1, 33.0], [None, Jump, None, Jump]),  # a doubt does not outlive a good value
    ([20.0, 33.0, 85.0, 33.0], [None, Jump, OutOfRange, None]),  # an impossible value confirms nothing
    ([60.0, 20.0, 20.0], [None, Jump, None]),  # a wild first value does not last
]


@pytest.mark.parametrize(("values", "expected"), JUMPS)
def test_a_jump_needs_a_second_reading(values, expected):
    doubts = judged(Plausibility(DHT22, Treatment()), values)
    assert [doubt and doubt[0] for doubt in doubts] == expected
    words = {Jump: "at once is more than 5 °C; waiting for a second reading", OutOfRange: "is above"}
    assert all(words[doubt[0]] in doubt[1] for doubt in doubts if doubt)


def test_the_configuration_overrules_the_kind():
    judge = Plausibility(DHT22, Treatment(low=0, high=30, max_step=50))
    assert [doubt and doubt[0] for doubt in judged(judge, [-1, 29.6, 0.4, 31])] == [OutOfRange, None, None, OutOfRange]


@pytest.mark.parametrize(
    ("role", "value", "believed"),
    [
        ("binary_sensor", True, True),
        ("binary_sensor", 1.0, False),
        ("switch", False, True),
        ("switch", "ON", False),
        ("event", "press", True),
        ("event", True, False),
    ],
)
def test_each_role_has_its_type_of_value(role, value, believed):
    (doubt,) = judged(Plausibility(Channel(measurement="hall", role=role), Treatment()), [value])
    assert (doubt is None) is believed
    assert believed or f"nothing that a {role} says" in doubt[1]


ZEROS = [
    ({"temperature": 0.0, "humidity": 0}, {"temperature", "humidity"}),
    ({"temperature": -0.0, "humidity": 0.0, "pressure": 1013.0}, {"temperature", "humidity"}),
    ({"temperature": 0.0, "humidity": 0.1}, set()),
    ({"temperature": 0.0}, set()),  # a thermometer in the freezer
    ({"temperature": 0.0, "humidity": False}, set()),
    ({"temperature": math.nan, "humidity": 0.0}, set()),
    ({}, set()),
]


@pytest.mark.parametrize(("values", "empty"), ZEROS)
def test_air_of_zero_degrees_and_no_water_is_an_empty_frame(values, empty):
    assert zeroed([Reading(name, value) for name, value in values.items()]) == empty


def test_a_jump_knows_whether_it_follows_another():
    judge = Plausibility(DHT22, Treatment())
    judge.check(20.0)
    first = []
    for value in (33.0, 60.0, 80.0):
        with pytest.raises(Jump) as caught:
            judge.check(value)
        first.append(caught.value.first)
    assert first == [True, False, False]


NEAR_AND_FAR = st.sampled_from([20.0, 21.0, 24.0, 50.0, 52.0])  # so that what is doubted comes again


@given(st.lists(st.floats() | st.floats(min_value=-60, max_value=100) | NEAR_AND_FAR, max_size=40))
def test_what_is_believed_is_in_the_range_and_within_a_step_of_what_was_said_before(values):
    doubts = judged(Plausibility(DHT22, Treatment()), values)
    believed = [i for i, doubt in enumerate(doubts) if doubt is None]
    assert all(-40 <= values[i] <= 80 for i in believed)
    for before, i in pairwise(believed):  # near the last that was believed, or one that was doubted since
        assert any(abs(values[i] - values[j]) <= 5 for j in range(before, i))


@given(st.lists(st.floats(min_value=-40, max_value=80), min_size=2, max_size=40))
def test_a_refused_jump_never_lasts_when_the_value_stays(values):
    judge = Plausibility(DHT22, Treatment())
    judged(judge, values)
    assert judged(judge, [30.0, 30.0])[-1] is None
