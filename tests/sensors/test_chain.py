import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.chain import Chain
from sensors.driver import Channel
from sensors.plausibility import Doubt, NotANumber, OutOfRange
from sensors.treatment import Treatment

DHT22 = Channel(measurement="temperature", unit="°C", low=-40, high=80, max_step=5, decimals=1)


def test_a_number_is_believed_as_the_sensor_says_it_and_sent_as_it_should_have():
    chain = Chain(DHT22, Treatment(low=0.0, high=30.0, offset=5.04))
    assert chain.believe(29.0) == pytest.approx(34.04)
    assert chain.news(34.04, 0.0) == 34.0
    with pytest.raises(OutOfRange, match="31 °C is above 30 °C"):
        chain.believe(31.0)


def test_what_is_refused_reaches_no_filter():
    chain = Chain(DHT22, Treatment(median=3))
    assert chain.news(chain.believe(20.0), 0.0) == 20.0
    with pytest.raises(Doubt):
        chain.believe(79.0)
    assert chain.news(chain.believe(20.2), 1.0) == 20.1


def test_a_calibration_that_leads_out_of_all_numbers_is_a_doubt():
    chain = Chain(Channel(measurement="light"), Treatment(scale=1e300))
    with pytest.raises(NotANumber, match="light: 1e\\+10 is too large"):
        chain.believe(1e10)


@pytest.mark.parametrize(("role", "value"), [("binary_sensor", True), ("switch", False), ("event", "press")])
def test_states_and_events_pass_untouched(role, value):
    keys = {"offset": 5, "median": 9, "send_every": 9, "throttle_s": 900, "delta": 5, "decimals": 0}
    chain = Chain(Channel(measurement="hall", role=role), Treatment(**keys))
    for now in range(3):  # every time they are said
        assert chain.news(chain.believe(value), now) is value


@pytest.mark.parametrize(("decimals", "known"), [(None, 1), (0, 0), (3, 3)])
def test_the_configuration_may_say_how_many_digits_there_are(decimals, known):
    assert Chain(DHT22, Treatment(decimals=decimals)).decimals == known


def test_what_was_sent_and_what_is_past_can_be_forgotten():
    chain = Chain(DHT22, Treatment(moving_average=2, delta=5))
    assert [chain.news(number, 0.0) for number in (20.0, 21.0)] == [20.0, None]
    chain.forget_sent()
    assert chain.news(22.0, 0.0) == 21.5
    chain.forget_past()
    assert chain.news(30.0, 0.0) == 30.0


treatments = st.builds(
    Treatment,
    max_step=st.none() | st.floats(0.1, 100),
    offset=st.none() | st.floats(-10, 10),
    scale=st.none() | st.floats(0.5, 2),
    median=st.none() | st.integers(2, 5),
    moving_average=st.none() | st.integers(2, 5),
    send_every=st.integers(1, 3),
    throttle_s=st.none() | st.floats(0.1, 9),
    decimals=st.none() | st.integers(0, 3),
    delta=st.none() | st.floats(0.1, 9) | st.just("5%"),
    heartbeat_s=st.floats(0.1, 9),
)


@given(treatments, st.lists(st.floats() | st.floats(min_value=-60, max_value=100) | st.integers(), max_size=30))
def test_whatever_comes_only_believable_numbers_leave(treatment, values):
    chain = Chain(DHT22, treatment)
    believed = []
    for at, value in enumerate(values):
        try:
            true = chain.believe(value)
        except Doubt:
            assert not -40 <= value <= 80 or believed  # what is no number or out of range; or a jump
            continue
        believed.append(true)
        news = chain.news(true, float(at))
        assert news is not None or len(believed) > 1  # the first one goes out at once
        if news is not None:
            assert math.isfinite(news)
            assert min(believed) - 0.5 <= news <= max(believed) + 0.5
            assert news == round(news, chain.decimals)
