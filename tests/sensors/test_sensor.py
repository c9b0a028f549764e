import pytest

from sensors.config import SensorConfig, SensorKeys
from sensors.driver import Channel, SensorError
from sensors.reading import Reading
from sensors.sensor import Outgoing, Sensor
from sensors.topics import AgentTopics


class Weather:
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=60, decimals=1),
        Channel(measurement="rain", role="binary_sensor"),
        Channel(measurement="awning", role="switch"),
        Channel(measurement="button", role="event"),
    )
    model = "W1"
    serial_number = "7"
    interval_s = 30.0
    min_interval_s = 2.0
    timeout_s = 1.0

    def read(self):
        return []

    def close(self):
        pass


def made(driver=None, **keys):
    keys = SensorKeys(name="weather", kind="test", room="garden", **keys)
    sensor = Sensor(SensorConfig(keys=keys, driver=None, options=None), AgentTopics("home", "house"))
    sensor.built(driver or Weather())
    return sensor


def test_every_channel_becomes_a_measurement():
    sensor = made(label="roof", title="Wetter", delta=0.5, heartbeat_s=120)
    assert sensor.availability_topic == "home/devices/house/weather/availability"
    temperature, rain, awning, button = sensor.measurements
    assert (temperature.topic, temperature.unit, temperature.role) == (
        "home/garden/roof/temperature",
        "°C",
        "sensor",
    )
    assert temperature.interval_s == 120.0  # the longest silence
    assert (temperature.model, temperature.serial_number, temperature.name) == ("W1", "7", "Wetter")
    assert rain.command_topic is None
    assert awning.command_topic == "home/garden/roof/awning/set"
    assert button.role == "event"
    assert sensor.command_topics() == {"home/garden/roof/awning/set": "awning"}


INTERVALS = [(None, 30.0), (5.0, 5.0), (1.0, 2.0), (600.0, 600.0)]


@pytest.mark.parametrize(("asked", "given"), INTERVALS)
def test_the_configuration_may_ask_for_any_interval_that_the_hardware_bears(asked, given):
    assert made(interval_s=asked).interval_s == given


def test_readings_become_payloads():
    sensor = made()
    readings = [
        Reading("temperature", 21.0),
        Reading("rain", True),
        Reading("awning", False),
        Reading("button", "hold"),
    ]
    passed, refusals = sensor.outgoing(readings, 0.0)
    assert refusals == []
    assert passed == [
        Outgoing("home/garden/temperature", "21.0", "ok", is_event=False),
        Outgoing("home/garden/rain", "ON", "ok", is_event=False),
        Outgoing("home/garden/awning", "OFF", "ok", is_event=False),
        Outgoing("home/garden/button", "hold", "ok", is_event=True),
    ]
    assert sensor.present == {"rain": True, "awning": False}


def test_a_refusal_spares_the_others():
    passed, refusals = made().outgoing([Reading("temperature", 99.0), Reading("rain", True)], 0.0)
    assert [out.topic for out in passed] == ["home/garden/rain"]
    assert "above 60" in str(refusals[0])


def test_what_was_never_announced_is_refused():
    passed, refusals = made().outgoing([Reading("wind", 3.0)], 0.0)
    assert passed == []
    assert '"wind"' in str(refusals[0])


def test_what_says_nothing_new_is_neither_sent_nor_held_against_it():
    sensor = made(delta=0.5)
    sensor.outgoing([Reading("temperature", 20.0)], 0.0)
    assert sensor.outgoing([Reading("temperature", 20.1)], 1.0) == ([], [])


def test_a_measurement_that_cannot_be_a_topic_is_the_sensors_failure():
    class Odd(Weather):
        channels = (Channel(measurement="Wind Speed"),)

    with pytest.raises(SensorError, match="Wind Speed"):
        made(Odd())


def test_a_driver_is_given_back_once_and_its_words_are_old():
    sensor = made()
    driver, generation = sensor.driver, sensor.generation
    assert sensor.dropped() is driver
    assert sensor.dropped() is None
    assert sensor.generation > generation
    assert len(sensor.measurements) == 4  # what it measured is still known
    sensor.dropped(forget=True)
    assert sensor.measurements == ()
    assert sensor.command_topics() == {}
