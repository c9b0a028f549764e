import pytest

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
)
from sensors.registry import driver_class


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
