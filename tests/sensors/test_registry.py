import subprocess
import sys
from textwrap import dedent

import msgspec
import pytest

from sensors.cli import main
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


def test_an_unknown_kind_is_told():
    with pytest.raises(UnknownKind, match='there is no kind "thermostat" of sensor'):
        driver_class("thermostat")


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
        driver_class("host")
        print([name for name in sys.modules if name.startswith("sensors.drivers.")])
    """
    assert output_of(program) == "['sensors.drivers.host']"


NEW_KIND = """
from typing import Annotated

import msgspec
from sensors.driver import Channel
from sensors.reading import Reading


class Well:
    "A well measures its own depth."

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        "Keys of a well."

        depth: Annotated[float, msgspec.Meta(description="How deep it is.")]

    channels = (Channel(measurement="depth", unit="m", low=0, high=100, decimals=1),)
    model = serial_number = None
    interval_s, min_interval_s, timeout_s = 60.0, 1.0, 5.0

    @classmethod
    def build(cls, options, context):
        well = cls()
        well.depth = options.depth
        return well

    def read(self):
        return [Reading("depth", self.depth)]

    def close(self):
        pass
"""


def test_a_new_kind_is_one_file_and_one_row(tmp_path, monkeypatch, capsys):
    (tmp_path / "well.py").write_text(NEW_KIND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(KINDS, "well", "well:Well")
    config = tmp_path / "sensors.toml"
    config.write_text('[[sensor]]\nname = "old-well"\nkind = "well"\nroom = "garden"\ndepth = 7.25\n')
    assert main(["check", "--config", str(config)]) == 0
    assert main(["list", "--kinds"]) == 0
    assert "well: A well measures its own depth" in capsys.readouterr().out
    assert main(["read", "old-well", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "home/garden/depth 7.3 m\n"
