import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.driver import Channel, Implausible
from sensors.filters import Filter, Filters
from sensors.reading import Reading

DHT22 = Channel(measurement="temperature", unit="°C", low=-40, high=80, max_step=5, decimals=1)


def sent(judge, values, every_s=1.0):
    """What a filter makes of these values: the number sent, None for held back, the words of a refusal."""
    results = []
    for i, value in enumerate(values):
        try:
            reading = judge.offer(Reading("temperature", value), i * every_s)
        except Implausible as error:
            results.append(str(error))
        else:
            results.append(None if reading is None else reading.value)
    return results


REFUSED = [
    (math.nan, "not_a_number", "temperature: nan is not a number"),
    (-math.inf, "not_a_number", "temperature: -inf is not a number"),
    (-40.1, "range", "temperature: -40.1 °C is below -40 °C"),
    (85.0, "range", "temperature: 85 °C is above 80 °C"),  # DS18B20 at power-on, BMP180 without a bus
    (True, "wrong_type", "temperature: True is nothing that a sensor says"),
    ("21.4", "wrong_type", "temperature: '21.4' is nothing that a sensor says"),
]


@pytest.mark.parametrize(("value", "cause", "words"), REFUSED)
def test_what_cannot_be_true_is_refused_explained_and_counted(value, cause, words):
    judge = Filter(DHT22)
    assert sent(judge, [value, value]) == [words, words]
    assert judge.refused == {cause: 2}


@pytest.mark.parametrize("value", [-40, -40.0, 0, 80.0])
def test_the_ends_of_the_range_are_in_it(value):
    assert sent(Filter(DHT22), [value]) == [value]


JUMPS = [
    ([20.0, 25.0, 20.0], [20.0, 25.0, 20.0]),  # just believable
    ([20.0, 25.1, 20.1], [20.0, "jump", 20.1]),  # one wild value
    ([20.0, 33.0, 33.4], [20.0, "jump", 33.4]),  # a real change: the second reading agrees
    ([20.0, 33.0, 60.0, 20.2], [20.0, "jump", "jump", 20.2]),  # two wild values that disagree
    ([20.0, 33.0, 20.1, 33.0], [20.0, "jump", 20.1, "jump"]),  # a doubt does not outlive a good value
    ([20.0, 33.0, 85.0, 33.0], [20.0, "jump", "range", 33.0]),  # an impossible value confirms nothing
    ([60.0, 20.0, 20.0], [60.0, "jump", 20.0]),  # a wild first value does not last
]


@pytest.mark.parametrize(("values", "expected"), JUMPS)
def test_a_jump_needs_a_second_reading(values, expected):
    judge = Filter(DHT22)
    causes = {"jump": "at once is more than 5 °C; waiting for a second reading", "range": "is above"}
    for result, wanted in zip(sent(judge, values), expected, strict=True):
        if isinstance(wanted, str):
            assert causes[wanted] in result
        else:
            assert result == wanted
    assert judge.refused.total() == sum(isinstance(wanted, str) for wanted in expected)


@pytest.mark.parametrize(
    ("decimals", "value", "expected"),
    [(None, 21.4567, 21.4567), (1, 21.45, 21.4), (1, 21.46, 21.5), (0, 21.6, 22.0), (1, -0.04, 0.0), (2, 5, 5.0)],
)
def test_digits_that_the_sensor_cannot_tell_are_not_sent(decimals, value, expected):
    judge = Filter(Channel(measurement="temperature", decimals=decimals))
    (number,) = sent(judge, [value])
    assert number == expected
    assert math.copysign(1, number) > 0


DELTAS = [
    (Filters(), 1, [20.0, 20.0, 20.1], [20.0, 20.0, 20.1]),  # without delta all are sent
    (Filters(delta=0.2), 1, [20.0, 20.1, 20.2, 20.3, 20.1], [20.0, None, 20.2, None, None]),
    (Filters(delta=0.1), 1, [0.2, 0.3, 0.2], [0.2, 0.3, 0.2]),  # 0.3 - 0.2 < 0.1 in binary
    (Filters(delta=1, heartbeat_s=3), 1, [20.0] * 7, [20.0, None, None, 20.0, None, None, 20.0]),
    (Filters(delta=1, heartbeat_s=3), 4, [20.0] * 3, [20.0] * 3),
    (Filters(delta=0.5), 1, [20.0, 20.3, 20.6], [20.0, None, 20.6]),  # slow drift counts from what was sent
]


@pytest.mark.parametrize(("filters", "every_s", "values", "expected"), DELTAS)
def test_small_changes_are_held_back_until_the_heartbeat(filters, every_s, values, expected):
    assert sent(Filter(Channel(measurement="temperature"), filters), values, every_s) == expected


def test_what_was_sent_can_be_forgotten():
    judge = Filter(Channel(measurement="temperature"), Filters(delta=1))
    assert sent(judge, [20.0, 20.0]) == [20.0, None]
    judge.forget_sent()
    assert sent(judge, [20.0, 20.0]) == [20.0, None]


def test_the_configuration_overrules_the_kind():
    judge = Filter(DHT22, Filters(low=0, high=30, max_step=50, decimals=0))
    assert sent(judge, [-1, 29.6, 0.4, 31])[1:3] == [30.0, 0.0]
    assert judge.refused == {"range": 2}


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
    judge = Filter(Channel(measurement="hall", role=role), Filters(delta=5))
    reading = Reading("hall", value)
    for now in range(2):  # a state or an event is sent every time it is said
        if believed:
            assert judge.offer(reading, now) is reading
        else:
            with pytest.raises(Implausible, match=f"nothing that a {role} says"):
                judge.offer(reading, now)


def test_quality_goes_along():
    reading = Filter(DHT22).offer(Reading("temperature", 20.04, quality="estimated"), 0)
    assert reading == Reading("temperature", 20.0, quality="estimated")


@pytest.mark.parametrize("keys", [{"delta": 0}, {"heartbeat_s": 0}, {"decimals": 7}, {"max_step": -1}, {"hight": 3}])
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, Filters)


@given(st.lists(st.floats() | st.floats(min_value=-60, max_value=100), max_size=40))
def test_whatever_comes_only_believable_numbers_leave(values):
    judge = Filter(DHT22, Filters(delta=0.5, heartbeat_s=5))
    results = sent(judge, values)
    numbers = [result for result in results if isinstance(result, float)]
    assert all(-40 <= number <= 80 and round(number, 1) == number for number in numbers)
    assert judge.refused.total() == sum(isinstance(result, str) for result in results)


@given(st.lists(st.floats(min_value=-40, max_value=80), min_size=2, max_size=40))
def test_a_refused_jump_never_lasts_when_the_value_stays(values):
    judge = Filter(DHT22)
    sent(judge, values)
    assert sent(judge, [30.0, 30.0, 30.0])[-1] == 30.0
