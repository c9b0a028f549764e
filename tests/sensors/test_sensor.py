import math

import pytest

from sensors.driver import Channel, DriverUnavailable, SensorError
from sensors.keys import SensorKeys
from sensors.plausibility import AllZero, OutOfRange
from sensors.reading import Reading
from sensors.sensor import Outgoing, Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics
from sensors.treatment import Treatment


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


class Air(Weather):
    channels = (
        Channel(measurement="temperature", unit="°C", low=-40, high=80, decimals=1),
        Channel(measurement="humidity", unit="%", low=0, high=100, decimals=1),
        Channel(measurement="pressure", unit="hPa", decimals=1),
    )


def made(driver=None, *, tables=None, kind=None, **keys):
    keys = SensorKeys(name="weather", kind="test", room="garden", **keys)
    tables = {name: Treatment(**table) for name, table in (tables or {}).items()}
    config = SensorConfig(keys=keys, driver=kind, options=None, tables=tables, treatments=tables)
    sensor = Sensor(config, AgentTopics("home", "house"))
    sensor.built(driver or Weather())
    return sensor


def air(temperature=25.0, humidity=60.0, pressure=1013.0):
    return [
        Reading("temperature", temperature),
        Reading("humidity", humidity),
        Reading("pressure", pressure),
    ]


def told(sensor, readings, now=0.0):
    """Payloads by measurement."""
    passed, _ = sensor.outgoing(readings, now)
    return {out.topic.removeprefix("home/garden/"): out.payload for out in passed}


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
    assert (rain.interval_s, awning.interval_s, button.interval_s) == (30.0, 30.0, 30.0)  # they pass untouched
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


@pytest.mark.parametrize("value", [10**400, 1.7e308, math.nan, None, "21.4", b"x" * 100_000])
def test_nonsense_spares_the_others_whatever_smooths_them(value):
    sensor = made(Air(), tables={"pressure": {"median": 2, "moving_average": 2}})
    for number, at in ((value, 0.0), (1013.0, 30.0), (value, 60.0)):
        passed, refusals = sensor.outgoing([*air()[:2], Reading("pressure", number)], at)
        assert [out.payload for out in passed[:2]] == ["25.0", "60.0"]
        assert [refusal.measurement for refusal in refusals] == ([] if number == 1013.0 else ["pressure"])
        assert all(len(out.payload) < 30 for out in passed)


def test_a_calibration_that_makes_nonsense_is_refused():
    sensor = made(Air(), tables={"pressure": {"scale": 1e13, "moving_average": 2}})
    for at in (0.0, 30.0):
        passed, (refusal,) = sensor.outgoing(air(), at)
        assert len(passed) == 2
        assert str(refusal) == "pressure: 1013 is too large to be calibrated"


def test_what_was_never_announced_is_refused():
    passed, refusals = made().outgoing([Reading("wind", 3.0)], 0.0)
    assert passed == []
    assert str(refusals[0]) == "wind: the driver never announced that it measures this"


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


def test_each_measurement_has_its_own_calibration_and_filters():
    sensor = made(Air(), tables={"temperature": {"offset": -0.5}, "humidity": {"delta": 5.0, "throttle_s": 90.0}})
    assert told(sensor, air()) == {"temperature": "24.5", "humidity": "60.0", "pressure": "1013.0"}
    assert told(sensor, air(), 30.0) == {"temperature": "24.5", "pressure": "1013.0"}
    silences = {measurement.kind: measurement.interval_s for measurement in sensor.measurements}
    assert silences == {"temperature": 30.0, "humidity": 90.0, "pressure": 30.0}


BOTH = ("dew_point", "absolute_humidity")


def test_derived_measurements_come_from_calibrated_values():
    sensor = made(Air(), derived=BOTH, tables={"temperature": {"offset": -5.0}})
    assert told(sensor, air(temperature=30.0)) == {
        "temperature": "25.0",
        "humidity": "60.0",
        "pressure": "1013.0",
        "dew_point": "16.7",
        "absolute_humidity": "13.8",
    }
    dew, grams = sensor.measurements[3:]
    assert (dew.topic, dew.unit, dew.model, dew.interval_s) == ("home/garden/dew_point", "°C", "W1", 30.0)
    assert (grams.kind, grams.unit) == ("absolute_humidity", "g/m³")


def test_nothing_is_derived_from_what_is_not_believed():
    sensor = made(Air(), derived=BOTH)
    assert set(told(sensor, air(humidity=101.0))) == {"temperature", "pressure"}
    assert set(told(sensor, air()[:1])) == {"temperature"}


def test_derived_values_have_filters_of_their_own():
    sensor = made(Air(), derived=["dew_point", "dew_point"], tables={"dew_point": {"delta": 1.0, "decimals": 0}})
    assert told(sensor, air())["dew_point"] == "17"
    assert "dew_point" not in told(sensor, air(), 30.0)
    assert len(sensor.measurements) == 4


def test_a_derived_value_is_no_better_than_what_it_is_made_of():
    sensor = made(Air(), derived=["dew_point"])
    readings = [Reading("temperature", 25.0), Reading("humidity", 60.0, quality="estimated")]
    passed, _ = sensor.outgoing(readings, 0.0)
    assert [out.quality for out in passed] == ["ok", "estimated", "estimated"]


def test_air_that_is_all_zero_is_refused_and_the_rest_of_the_frame_is_not():
    sensor = made(Air(), derived=BOTH)
    passed, refusals = sensor.outgoing(air(0.0, 0.0), 0.0)
    assert [out.topic for out in passed] == ["home/garden/pressure"]
    assert [(type(refusal), refusal.measurement) for refusal in refusals] == [
        (AllZero, "temperature"),
        (AllZero, "humidity"),
    ]
    assert refusals[0].cause == "all_zero"
    assert set(told(sensor, air(0.0, 60.0))) == {"temperature", "humidity", "pressure", *BOTH}


def test_low_and_high_are_of_what_the_sensor_says():
    sensor = made(Air(), tables={"temperature": {"high": 30.0, "offset": 5.0}})
    assert told(sensor, air(temperature=29.0))["temperature"] == "34.0"
    _, (refusal,) = sensor.outgoing(air(temperature=31.0), 1.0)
    assert isinstance(refusal, OutOfRange)


NONSENSE = [
    ({"offset": 1.0}, "offset: this sensor measures temperature and humidity and pressure; say which one"),
    ({"tables": {"temprature": {}}}, 'temprature: .*; did you mean "temperature"'),
    ({"tables": {"dew_point": {"delta": 1.0}}}, "dew_point is not derived"),
]


@pytest.mark.parametrize(("keys", "words"), NONSENSE)
def test_keys_for_what_is_not_measured_are_told_once_the_driver_knows(keys, words):
    with pytest.raises(DriverUnavailable, match=words):
        made(Air(), **keys)


def test_what_this_computer_does_not_have_may_be_configured():
    class Kind:
        measures = ("temperature", "wind")

    assert "wind" not in told(made(kind=Kind, tables={"wind": {"offset": 1.0}}), [Reading("temperature", 20.0)])
    with pytest.raises(DriverUnavailable, match="sun"):
        made(kind=Kind, tables={"sun": {"offset": 1.0}})


def test_only_numbers_are_awaited():
    sensor = made(timeout_s=60.0)
    assert sensor.silence.trouble(0.0) is None
    sensor.outgoing([Reading("temperature", 20.0)], 10.0)
    sensor.outgoing([Reading("temperature", 99.0)], 20.0)  # refused
    assert sensor.silence.trouble(69.0) is None
    assert "temperature" in str(sensor.silence.trouble(70.0))
