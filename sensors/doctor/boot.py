"""A Pi's config.txt: which of its lines count on this Pi, and which stand where another one reads them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

CONFIG = "/boot/firmware/config.txt"
MODELS = {  # section → what the model says that reads it, behind "Raspberry Pi "
    "pi0": "Zero",
    "pi0w": "Zero W",
    "pi02": "Zero 2",
    "pi1": "Model|Compute Module Rev",
    "pi2": "2 ",
    "pi3": "(Compute Module )?3 ",
    "pi3+": "(Compute Module )?3 .*Plus",
    "pi4": "(Compute Module )?(4|400|4S) ",
    "pi400": "400 ",
    "pi5": "(Compute Module )?(5|500) ",
    "pi500": "500 ",
    "cm1": "Compute Module Rev",
    "cm3": "Compute Module 3 ",
    "cm3+": "Compute Module 3 .*Plus",
    "cm4": "Compute Module 4 ",
    "cm4s": "Compute Module 4S ",
    "cm5": "Compute Module 5 ",
}
NOBODYS = ("none", "tryboot")
I2C = {"i2c_arm", "i2c", "i2c1"}
ON = {"", "on", "yes", "true", "1"}


@dataclass(frozen=True, slots=True)
class BootConfig:
    """The lines without comments and blanks."""

    path: str = ""  # empty where there is none
    lines: tuple[str, ...] = ()  # that count
    elsewhere: tuple[str, ...] = ()  # in sections that this Pi does not read
    section: str = "all"  # in which the file ends

    def has_overlay(self, name: str) -> bool:
        """Whether it loads an overlay, or one for another Pi whose name goes on (w1-gpio-pi5)."""
        return _loads(name, self.lines)

    def has_i2c(self) -> bool:
        """Whether it switches on the bus of the header."""
        return _switches_on_i2c(self.lines)

    def where_overlay(self, name: str) -> str:
        """Say where the line is that does not count."""
        return self._where(is_elsewhere=_loads(name, self.elsewhere))

    def where_i2c(self) -> str:
        """Say where the line is that does not count."""
        return self._where(is_elsewhere=_switches_on_i2c(self.elsewhere))

    def cure(self, line: str) -> str:
        """Say how to add a line so that it counts."""
        lines = f"the line {line} to" if self.section == "all" else f"the lines [all] and {line} to the end of"
        return f"add {lines} {self.path or CONFIG} and restart"

    def _where(self, *, is_elsewhere: bool) -> str:
        if not self.path:
            return "belongs into config.txt, which cannot be seen from here"
        return "stands in a section of config.txt that this Pi skips" if is_elsewhere else "is missing in config.txt"


def boot_config(path: str, text: str, model: str) -> BootConfig:
    """Read the text of a config.txt as the firmware of a Pi of that model does; an unknown one reads all sections."""
    lines: list[str] = []
    elsewhere: list[str] = []
    section = "all"
    for raw in text.splitlines():
        line = raw.partition("#")[0].replace(" ", "").strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].lower()
        elif line:
            (lines if _is_read(section, model) else elsewhere).append(line)
    return BootConfig(path, tuple(lines), tuple(elsewhere), section)


def _is_read(section: str, model: str) -> bool:
    if section in NOBODYS:
        return False
    wanted = MODELS.get(section)
    return wanted is None or not model or re.match(f"Raspberry Pi ({wanted})", f"{model} ") is not None


def _loads(name: str, lines: Iterable[str]) -> bool:
    return any(re.match(rf"dtoverlay={re.escape(name)}(?!\d)", line) for line in lines)  # GPIO1 is not in gpiopin=17


def _switches_on_i2c(lines: Iterable[str]) -> bool:
    is_on = False
    for line in lines:
        for parameter in line.removeprefix("dtparam=").split(","):
            name, _, value = parameter.partition("=")
            if name in I2C:
                is_on = value in ON  # the last one counts
    return is_on
