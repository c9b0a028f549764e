"""A sensor of the inventory has the lines in config.txt that it needs."""

from ast import literal_eval

import pytest
from playbook_filters import PLUGINS, filters_of

from sensors.doctor.boot import boot_config
from sensors.registry import KINDS, driver_class

boot_lines = filters_of("boot_lines")["boot_lines"]
I2C_KINDS = [kind for kind in KINDS if hasattr(driver_class(kind), "addresses")]


def test_the_plugin_knows_all_chips():
    words = (PLUGINS / "boot_lines.py").read_text().partition("I2C_KINDS = frozenset(")[2].partition(")")[0]
    assert sorted(literal_eval(words)) == sorted(I2C_KINDS)


@pytest.mark.parametrize("kind", I2C_KINDS)
def test_a_chip_needs_the_bus(kind):
    assert boot_config("", "\n".join(boot_lines([{"kind": kind}])), "").has_i2c()
    assert boot_lines([{"kind": kind, "bus": 3}]) == []


def test_one_line_serves_several_sensors_of_a_bus():
    chips = [{"kind": "bme280"}, {"kind": "sht4x"}, {"kind": "ds18b20"}, {"kind": "ds18b20", "id": "28-0"}]
    assert boot_lines(chips) == ["dtparam=i2c_arm=on", "dtoverlay=w1-gpio"]


def test_each_dht_sensor_has_a_line_with_its_pin_unless_another_one_reads_it():
    sensors = [
        {"kind": "dht", "pin": 4},
        {"kind": "dht", "pin": 17, "pulses": "kernel"},
        {"kind": "dht", "pin": 27, "pulses": "bitbang"},
    ]
    lines = boot_lines(sensors)
    assert lines == ["dtoverlay=dht11,gpiopin=4", "dtoverlay=dht11,gpiopin=17"]
    assert boot_config("", "\n".join(lines), "").has_overlay("dht11,gpiopin=17")


def test_others_need_nothing_and_what_is_wrong_is_left_to_the_check():
    assert boot_lines([{"kind": "simulated"}, {"kind": "gpio_input", "pin": 4}, {"kind": "dht"}, "air", {}]) == []
