import pytest
from msgspec import convert

from sensors.driver import (
    BadFrame,
    Disconnected,
    DriverContext,
    DriverUnavailable,
    Implausible,
    Polled,
    SensorError,
    Switched,
    TimedOut,
    Watched,
    as_sensor_error,
    channels_of,
    numbers_of,
)
from sensors.hw.gpio import FakeGpio
from sensors.registry import KINDS, driver_class


def test_every_kind_of_failure_has_a_cause_of_its_own():
    kinds = [SensorError, Disconnected, BadFrame, Implausible, TimedOut, DriverUnavailable]
    assert len({kind.cause for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("not\na number"), "ValueError: not a number"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (SystemExit("no chip"), "SystemExit: no chip"),
        (ValueError("x" * 100_000), f"ValueError: {'x' * 300}"),
        (OSError(5, "Input/output error", "/sys/x"), "OSError: [Errno 5] Input/output error: '/sys/x'"),
    ],
)
def test_whatever_a_driver_raises_is_a_failure_of_its_sensor(error, words):
    failure = as_sensor_error(error)
    assert str(failure) == words
    assert failure.cause == "failed"
    assert failure.__cause__ is error


def test_a_sensor_error_stays_what_it_is():
    error = BadFrame("checksum")
    assert as_sensor_error(error) is error


@pytest.mark.parametrize(
    ("model", "polled", "watched", "switched"),
    [("room", True, False, False), ("door", False, True, False), ("relay", False, True, True)],
)
def test_the_three_ways_of_a_driver_are_told_apart(model, polled, watched, switched):
    kind = driver_class("simulated")
    driver = kind.build(kind.Options(model=model), DriverContext(name="hall"))
    assert isinstance(driver, Polled) is polled
    assert isinstance(driver, Watched) is watched
    assert isinstance(driver, Switched) is switched
    driver.close()
    driver.close()


KNOWN = [
    ("dht", {"pin": 4, "model": "DHT11"}, ("temperature", "humidity")),
    ("sht4x", {}, ("temperature", "humidity")),
    ("ds18b20", {}, ("temperature",)),
    ("gpio_input", {"pin": 4, "input": "door"}, ()),
    ("gpio_input", {"pin": 4, "input": "button", "measurement": "bell"}, ()),
    ("gpio_output", {"pin": 4, "output": "relay"}, ()),
    ("pulse_counter", {"pin": 4, "counts": "rain", "per_pulse": 0.2}, ("rain",)),
    ("pulse_counter", {"pin": 4, "counts": "gas", "per_pulse": 1, "rate": True}, ("gas", "gas_flow")),
    ("simulated", {}, ("temperature", "humidity")),
    ("simulated", {"model": "energy"}, ("power", "energy")),
    ("simulated", {"model": "button"}, ()),
    ("simulated", {"model": "relay"}, ()),
]


@pytest.mark.parametrize(("kind", "keys", "numbers"), KNOWN)
def test_the_numbers_of_a_sensor_are_known_before_there_is_hardware(kind, keys, numbers):
    driver = driver_class(kind)
    assert numbers_of(driver, convert(keys, driver.Options)) == numbers


def test_every_kind_tells_its_numbers_before_there_is_hardware():
    told = {kind for kind in KINDS if any(hasattr(driver_class(kind), name) for name in ("channels", "channels_of"))}
    assert set(KINDS) - told == {"host"}
    host = driver_class("host")
    assert {"cpu_temperature", "wifi_signal"} < set(numbers_of(host, host.Options()))
    assert numbers_of(object(), host.Options()) is None


def test_what_a_built_sensor_tells_is_what_was_known_before():
    keys = [(kind, keys) for kind, keys, _ in KNOWN if kind not in ("dht", "sht4x", "ds18b20")]
    for kind, given in keys:
        driver = driver_class(kind)
        options = convert(given, driver.Options)
        sensor = driver.build(options, DriverContext(name="x", gpio=FakeGpio()))
        assert sensor.channels == channels_of(driver, options)
        sensor.close()
