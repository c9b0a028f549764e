import importlib
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from appliance import __version__, build

ROOT = Path(__file__).parents[2]
COMPILED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["home-sensor-appliance"]["compiled"]


@pytest.mark.parametrize(("suffix", "shown"), [(".py", "pure Python"), (EXTENSION_SUFFIXES[0], "compiled")])
def test_the_version_says_which_broker_runs(monkeypatch, suffix, shown):
    class Spec:
        origin = f"/somewhere/inbound{suffix}"

    monkeypatch.setattr(build, "find_spec", lambda _name: Spec)
    assert build.version() == f"{__version__} ({shown})"


def test_it_says_what_is_true():
    module = importlib.import_module("appliance.broker.inbound")
    assert build.compiled() is not module.__file__.endswith(".py")


def test_the_build_names_modules_that_exist_and_everything_that_a_message_passes():
    assert not [module for module in COMPILED if not (ROOT / f"appliance/{module}.py").exists()]
    assert {"mqtt/publish", "broker/inbound", "broker/router", "net/direct", "net/hub"} <= set(COMPILED)


def test_all_that_the_build_names_is_compiled_or_nothing_is():
    files = [importlib.import_module(f"appliance.{module.replace('/', '.')}").__file__ for module in COMPILED]
    assert {file.endswith(".py") for file in files} == {not build.compiled()}
