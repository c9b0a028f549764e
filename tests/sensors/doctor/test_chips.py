import pytest

from sensors.doctor.chips import chip_findings
from sensors.doctor.wants import Want
from sensors.hw.i2c_scan import Scan

AIR = Want(sensor="air", kind="bme280", bus=1, addresses=(0x76, 0x77), model="BME280")
LIGHT = Want(sensor="light", kind="bh1750", bus=1, addresses=(0x23, 0x5C), model="BH1750")


def look(*wants, **scanned):
    return chip_findings(Scan(1, **scanned), wants)


def test_a_chip_that_is_what_it_should_be_has_no_findings():
    assert look(AIR, LIGHT, answering=frozenset({0x76, 0x23}), ids={0x76: 0x60}) == []


@pytest.mark.parametrize(
    ("number", "what", "cure"),
    [
        (0x58, "the chip at 0x76 is a BMP280, which measures no humidity", 'set kind = "bmp280"'),
        (0x61, "the chip at 0x76 is a BME680, no BME280", "no kind reads it"),
        (0x55, "the chip at 0x76 is a BMP180, no BME280", "no kind reads it"),
        (0x42, "the chip at 0x76 says 0x42 of itself, no BME280", "check power"),
    ],
)
def test_a_chip_that_is_another_is_named(number, what, cure):
    (found,) = look(AIR, answering=frozenset({0x76}), ids={0x76: number})
    assert (found.level, found.about) == ("wrong", "sensor air")
    assert found.what.startswith(what)
    assert found.cure.startswith(cure)


def test_the_right_one_of_two_is_enough():
    assert look(AIR, answering=frozenset({0x76, 0x77}), ids={0x76: 0x58, 0x77: 0x60}) == []


def test_a_chip_that_does_not_answer_is_told_with_those_that_do():
    found, spare = look(AIR, answering=frozenset({0x44}))
    assert found.what == "no BME280 answers at 0x76 or 0x77 on /dev/i2c-1; 0x44 answer"
    assert (spare.level, spare.what) == ("note", "a chip at 0x44 that no sensor reads")


def test_a_chip_that_does_not_tell_its_id_is_not_judged():
    assert look(AIR, answering=frozenset({0x76})) == []


def test_a_chip_that_nobody_reads_is_a_note_with_its_kind():
    (found,) = look(LIGHT, answering=frozenset({0x23, 0x77}), ids={0x77: 0x60})
    assert (found.level, found.what) == ("note", "a chip (BME280) at 0x77 that no sensor reads")
    assert found.cure == 'kind = "bme280" reads it'


def test_a_chip_that_the_kernel_holds_is_told():
    (found,) = look(AIR, held=frozenset({0x76}))
    assert "the kernel holds the chip at 0x76" in found.what
    assert "config.txt" in found.cure


@pytest.mark.parametrize(
    ("scanned", "words"),
    [
        ({}, "no chip answers at any address"),
        ({"answering": frozenset(range(8, 0x78))}, "every address seems to answer"),
        ({"trouble": "the bus hangs; power the chips off and on"}, "the bus hangs"),
    ],
)
def test_a_bus_in_trouble_is_told_once(scanned, words):
    (found,) = look(AIR, LIGHT, **scanned)
    assert (found.level, found.about) == ("wrong", "/dev/i2c-1")
    assert words in found.what
    assert found.cure


def test_a_sensor_on_another_bus_is_not_judged():
    elsewhere = Want(sensor="attic", kind="bme280", bus=3, addresses=(0x76,), model="BME280")
    assert look(LIGHT, elsewhere, answering=frozenset({0x23})) == []
