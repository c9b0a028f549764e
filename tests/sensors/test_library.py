import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from sensors.library import cure, package_of
from sensors.registry import KINDS, driver_class

ROOT = Path(__file__).parents[2]


@pytest.fixture
def python(tmp_path, monkeypatch):
    """A Python of which `venv`, `managed` and the version are as wanted."""

    def make(*, venv=True, managed=True, version=(3, 11), system=False, pip=True):
        monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv") if venv else "/usr")
        monkeypatch.setattr(sys, "base_prefix", "/usr")
        monkeypatch.setattr(sys, "executable", f"{sys.prefix}/bin/python3")
        monkeypatch.setattr(sys, "version_info", (*version, 0))
        monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path / "lib"))
        (tmp_path / "lib").mkdir()
        (tmp_path / "venv" / "bin").mkdir(parents=True)
        if managed:
            (tmp_path / "lib" / "EXTERNALLY-MANAGED").write_text("")
        if pip:
            (tmp_path / "venv" / "bin" / "pip").write_text("")
        setting = f"home = /usr/bin\ninclude-system-site-packages = {str(system).lower()}\n"
        (tmp_path / "venv" / "pyvenv.cfg").write_text(setting)
        return tmp_path / "venv" / "bin"

    return make


def test_a_virtual_environment_has_a_pip_of_its_own(python):
    place = python()
    assert cure("adafruit_bme280.basic") == f"`{place}/pip install adafruit-circuitpython-bme280`"
    assert cure("gpiozero.pins.lgpio") == f"`{place}/pip install gpiozero`"


def test_a_virtual_environment_without_pip_has_that_of_its_python(python):
    place = python(pip=False)
    assert cure("gpiod") == f"`{place}/python3 -m pip install gpiod`"


def test_the_python_of_the_system_takes_packages_of_the_system(python):
    python(venv=False)
    assert cure("gpiozero.pins.lgpio") == "`sudo apt install python3-gpiozero`"
    assert cure("lgpio") == "`sudo apt install python3-lgpio`"


def test_what_the_system_has_no_package_of_wants_a_virtual_environment(python):
    python(venv=False)
    words = cure("adafruit_sht4x")
    assert words.startswith("this Python is the system's: make a virtual environment with `python3 -m venv ")
    assert words.endswith("`.venv/bin/pip install adafruit-circuitpython-sht4x`")


def test_another_python_has_its_pip(python):
    python(venv=False, managed=False)
    assert cure("adafruit_sht4x") == "`/usr/bin/python3 -m pip install adafruit-circuitpython-sht4x`"


@pytest.mark.parametrize(
    ("version", "system", "words"),
    [
        ((3, 12), False, "pip install lgpio`"),
        ((3, 13), True, "`sudo apt install python3-lgpio`"),
        ((3, 13), False, "`sudo apt install python3-lgpio`, and a virtual environment with --system-site-packages"),
    ],
)
def test_lgpio_has_no_wheel_for_a_new_python(python, version, system, words):
    python(version=version, system=system)
    assert cure("lgpio").endswith(words)


def test_every_package_is_one_that_the_project_asks_for():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["hardware"]
    asked = {wanted.partition(">=")[0].strip() for wanted in extras}
    chips = {
        package_of(driver_class(kind).library.partition(":")[0])
        for kind in KINDS
        if hasattr(driver_class(kind), "library")
    }
    named = {package_of(name) for name in ("gpiozero", "lgpio", "gpiod", "adafruit_dht", "adafruit_extended_bus")}
    assert chips | named == asked
    assert package_of("board") == "adafruit-blinka"
