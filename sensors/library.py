"""A library that is missing: which package of the index has it, and how this very Python gets it."""

import sys
import sysconfig
from pathlib import Path
from typing import Final

BLINKA: Final = ("adafruit_blinka", "adafruit_platformdetect", "board", "busio", "digitalio", "microcontroller")
PACKAGES: Final = {
    "adafruit_bus_device": "adafruit-circuitpython-busdevice",
    "adafruit_extended_bus": "adafruit-extended-bus",
    **dict.fromkeys(BLINKA, "adafruit-blinka"),
}
DEBIAN: Final = {"gpiozero": "python3-gpiozero", "lgpio": "python3-lgpio"}  # new enough on Raspberry Pi OS
WHEELS_BELOW: Final = (3, 13)  # of lgpio; for newer Pythons pip takes an empty shell in its place


def package_of(library: str) -> str:
    """Give the name on the package index of what is imported under this name."""
    module = library.partition(".")[0]
    usual = module.replace("adafruit_", "adafruit-circuitpython-", 1) if module.startswith("adafruit_") else module
    return PACKAGES.get(module, usual).replace("_", "-")


def cure(library: str) -> str:
    """Say how this Python gets a library: by a command where one will do."""
    module = library.partition(".")[0]
    debian = DEBIAN.get(module)
    is_virtual = sys.prefix != sys.base_prefix
    if not is_virtual and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        if debian:
            return f"`sudo apt install {debian}`"
        return (
            "this Python is the system's: make a virtual environment with `python3 -m venv --system-site-packages "
            f".venv`, install this program there, and `.venv/bin/pip install {package_of(module)}`"
        )
    if module == "lgpio" and sys.version_info >= WHEELS_BELOW:
        made = "" if _sees_the_system() or not is_virtual else ", and a virtual environment with --system-site-packages"
        return f"`sudo apt install {debian}`{made}"
    pip = Path(sys.prefix, "bin", "pip")
    command = str(pip) if is_virtual and pip.exists() else f"{sys.executable} -m pip"
    return f"`{command} install {package_of(module)}`"


def _sees_the_system() -> bool:
    try:
        lines = Path(sys.prefix, "pyvenv.cfg").read_text("utf-8").splitlines()
    except OSError:
        return False
    return "include-system-site-packages=true" in {line.replace(" ", "").lower() for line in lines}
