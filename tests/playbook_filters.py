"""Filters of ansible/filter_plugins, without Ansible."""

import importlib.util
from pathlib import Path

PLUGINS = Path(__file__).parents[1] / "ansible" / "filter_plugins"


def filters_of(name):
    """Give the filters that the file of that name brings."""
    spec = importlib.util.spec_from_file_location(f"filter_{name}", PLUGINS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FilterModule().filters()
