import pytest

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
    with pytest.raises(NotANumber, match="light: 1e\\+300 is too large"):
        chain.believe(1e300)


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
    chain.forget_sent()
    assert chain.news(30.0, 0.0) == 30.0
