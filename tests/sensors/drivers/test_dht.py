import msgspec
import pytest

from sensors.driver import BadFrame, Disconnected, DriverContext, DriverUnavailable, Implausible, Polled
from sensors.drivers.dht import SHEETS, Dht
from sensors.hw.dht import FakeDht


def values(sensor):
    return {reading.measurement: reading.value for reading in sensor.read()}


def test_a_frame_is_two_readings():
    assert values(Dht(FakeDht([(21.4, 48.5)]), "DHT22")) == {"temperature": 21.4, "humidity": 48.5}


BELIEVED = [
    ("DHT22", -40.0, 0.0),
    ("DHT22", 80.0, 100.0),
    ("DHT22", 0.0, 50.0),  # freezing is no error
    ("DHT22", 21.0, 0.0),
    ("DHT11", 0.0, 20.0),
    ("AM2301", -10.1, 65.2),
]


@pytest.mark.parametrize(("model", "temperature", "humidity"), BELIEVED)
def test_what_the_sheet_allows_is_believed(model, temperature, humidity):
    assert values(Dht(FakeDht([(temperature, humidity)]), model)) == {"temperature": temperature, "humidity": humidity}


REFUSED = [
    ("DHT22", 0.0, 0.0, "a frame of zeros, which no air has; check the pull-up"),
    ("DHT11", 0, 0, "a frame of zeros"),
    ("DHT22", 150.0, 50.0, "temperature 150 °C is nothing that a DHT22 measures; is the model right?"),
    ("DHT22", -40.1, 50.0, "temperature -40.1 °C"),
    ("DHT11", 1.5, 2, "humidity 2 % is nothing that a DHT11 measures"),  # a DHT22's frame, read as a DHT11's
]


@pytest.mark.parametrize(("model", "temperature", "humidity", "words"), REFUSED)
def test_what_cannot_be_true_is_refused_whole(model, temperature, humidity, words):
    with pytest.raises(Implausible) as caught:
        Dht(FakeDht([(temperature, humidity)]), model).read()
    assert str(caught.value).startswith(words)


def test_failures_pass_through_and_the_next_reading_is_its_own():
    sensor = Dht(FakeDht([Disconnected("no answer"), BadFrame("checksum"), (21.4, 48.5)]), "DHT22")
    with pytest.raises(Disconnected):
        sensor.read()
    with pytest.raises(BadFrame):
        sensor.read()
    assert values(sensor) == {"temperature": 21.4, "humidity": 48.5}


@pytest.mark.parametrize("model", SHEETS)
def test_every_model_has_its_channels(model):
    sensor = Dht(FakeDht([]), model)
    assert isinstance(sensor, Polled)
    assert sensor.min_interval_s >= 2
    assert sensor.model == model
    assert [(channel.measurement, channel.unit) for channel in sensor.channels] == [
        ("temperature", "°C"),
        ("humidity", "%"),
    ]


def test_closing_lets_go_of_the_pin():
    fake = FakeDht([])
    Dht(fake, "DHT22").close()
    assert fake.closed


def test_without_pins_the_driver_is_unavailable():
    options = msgspec.convert({"pin": 4, "model": "DHT22", "pulses": "bitbang"}, Dht.Options)
    words = "GPIO4"
    try:
        Dht.build(options, DriverContext(name="cellar")).close()  # on a Pi
    except DriverUnavailable as error:
        words = str(error)
    assert "GPIO4" in words


@pytest.mark.parametrize("keys", [{}, {"pin": 4}, {"pin": 4, "model": "DHT33"}, {"pin": "4", "model": "DHT22"}])
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, Dht.Options)
