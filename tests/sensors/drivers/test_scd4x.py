import pytest
from i2c_chips import Clock, Wire, build, values
from i2c_chips import Scd4x as Chip

from sensors.driver import Disconnected, Implausible, TimedOut
from sensors.drivers.scd4x import FIRST_MINUTE_S, Scd4x

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "80 00 a2 | 80 06 04 | 02 64 27 66 66 93 80 00 a2"  # what it sends for a reading


@pytest.fixture
def chip():
    return Chip(CLOCK)


@pytest.fixture
def sensor(chip, monkeypatch):
    return build(Scd4x, Wire({0x62: chip}), CLOCK, monkeypatch)


def test_carbon_dioxide_temperature_and_humidity_of_one_measurement(sensor):
    assert values(sensor) == {
        "co2": 612,
        "temperature": pytest.approx(25.0, abs=0.01),
        "humidity": pytest.approx(50.0, abs=0.01),
    }


def test_it_tells_its_serial_number(sensor):
    assert sensor.serial_number == "f89631a4bb07"


@pytest.mark.parametrize(
    ("keys", "setting"), [({}, (0, 1)), ({"altitude_m": 1600, "self_calibration": False}, (1600, 0))]
)
def test_height_and_self_calibration_are_told_the_chip(monkeypatch, keys, setting):
    chip = Chip(CLOCK)
    chip.altitude, chip.self_calibration = 500, 0  # what an earlier configuration left
    sensor = build(Scd4x, Wire({0x62: chip}), CLOCK, monkeypatch, **keys)
    assert (chip.altitude, chip.self_calibration) == setting
    assert values(sensor)["co2"] == 612
    CLOCK.sleep(FIRST_MINUTE_S)
    chip.power_on()
    with pytest.raises(TimedOut, match="has stopped measuring; it is started again"):
        sensor.read()
    assert values(sensor)["co2"] == 612
    assert (chip.altitude, chip.self_calibration) == setting


def test_a_chip_that_an_earlier_run_left_measuring_is_taken_over(monkeypatch):
    chip = Chip(CLOCK)
    build(Scd4x, Wire({0x62: chip}), CLOCK, monkeypatch).read()
    again = build(Scd4x, Wire({0x62: chip}), CLOCK, monkeypatch)
    assert again.serial_number == "f89631a4bb07"
    assert values(again)["co2"] == 612
    assert chip.starts == 2


def test_every_reading_is_a_new_measurement(chip, sensor):
    assert values(sensor)["co2"] == 612
    chip.co2 = 900
    assert values(sensor)["co2"] == 900
    assert chip.starts == 1


def test_it_may_be_silent_in_its_first_minute_and_not_longer(chip, sensor):
    chip.silent = True
    begin = CLOCK.now
    while CLOCK.now - begin < FIRST_MINUTE_S - 10:
        assert sensor.read() == []
    CLOCK.sleep(10)
    with pytest.raises(TimedOut, match="has stopped measuring; it is started again"):
        sensor.read()
    chip.silent = False
    assert values(sensor)["co2"] == 612
    assert chip.starts == 2


def test_no_carbon_dioxide_at_all_is_refused(chip, sensor):
    chip.co2 = 0
    with pytest.raises(Implausible, match="0 ppm of carbon dioxide, which no air has"):
        sensor.read()


def test_a_command_that_nobody_takes_is_a_chip_that_is_gone(chip, sensor):
    chip.power_on()  # nothing is measured, so reading a measurement is not acknowledged
    chip.write = lambda _sent: (_ for _ in ()).throw(OSError(121, "Remote I/O error"))
    with pytest.raises(Disconnected, match="no SCD4x answers at 0x62"):
        sensor.read()
