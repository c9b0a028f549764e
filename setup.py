"""The compiled broker: `APPLIANCE_COMPILE=1 pip install .` translates what every message passes with mypyc.

Without the variable nothing is compiled and no compiler is wanted; everything else stands in pyproject.toml.
"""

import os
import sys
import tomllib
from pathlib import Path

from setuptools import Extension, setup

COMPILER = ["mypy[mypyc]>=1.14", "msgspec>=0.19"]  # msgspec, since the limits' types are its

wanted = os.environ.get("APPLIANCE_COMPILE") == "1"


def extensions() -> list[Extension]:
    """Translate the modules to C; nothing while pip only asks what there is and what a build needs."""
    if not wanted or not {"build_ext", "bdist_wheel", "editable_wheel"} & set(sys.argv):
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 not there otherwise

    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    modules = project["tool"]["home-sensor-appliance"]["compiled"]
    return list(mypycify([f"appliance/{module}.py" for module in modules], opt_level="3", debug_level="0"))


setup(setup_requires=COMPILER if wanted else [], ext_modules=extensions())
