import subprocess
import sys
from textwrap import dedent

import msgspec
import pytest

from sensors.driver import DriverKind
from sensors.registry import KINDS, UnknownKind, driver_class

HARDWARE = ("gpiozero", "lgpio", "adafruit_dht", "board", "busio", "adafruit_bus_device", "gpiod", "RPi")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_described_options_and_can_be_built(kind):
    driver: DriverKind = driver_class(kind)
    assert issubclass(driver.Options, msgspec.Struct)
    assert driver.Options.__struct_config__.frozen
    assert driver.Options.__struct_config__.forbid_unknown_fields
    for field in msgspec.json.schema(driver.Options)["$defs"]["Options"]["properties"].values():
        assert field["description"].endswith(".")
    assert callable(driver.build)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("simulate", 'there is no kind "simulate" of sensor; "simulated"? (there are '),
        ("thermostat", 'there is no kind "thermostat" of sensor (there are '),
    ],
)
def test_unknown_kind_names_the_known(kind, message):
    with pytest.raises(UnknownKind) as caught:
        driver_class(kind)
    assert str(caught.value).startswith(message)


def output_of(program):
    return subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_importing_every_driver_imports_no_hardware_library():
    program = f"""
        import sys
        from sensors.registry import KINDS, driver_class
        for kind in KINDS:
            driver_class(kind)
        print([name for name in {HARDWARE} if name in sys.modules])
    """
    assert output_of(program) == "[]"


def test_a_kind_is_imported_when_it_is_asked_for():
    program = """
        import sys
        from sensors.registry import driver_class
        driver_class("simulated")
        print([name for name in sys.modules if name.startswith("sensors.drivers.")])
    """
    assert output_of(program) == "['sensors.drivers.simulated']"
