"""The computer itself: is it a Pi, does its GPIO chip have the name we look for, may we open what we need."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.finding import Finding, note, wrong
from sensors.doctor.boot import BootConfig
from sensors.doctor.wants import Want
from sensors.hw.gpio import HEADER_LABELS
from sensors.hw.permissions import Library, Node
from sensors.library import cure

UNDER_VOLTAGE_NOW = 0x1
UNDER_VOLTAGE_SINCE = 0x1_0000
HAND_IN = "start the container with `--device {}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Computer:
    """What was found out about it."""

    model: str = ""  # of the device tree; empty where there is none
    user: str = ""
    is_container: bool = False  # which sees of the computer what was handed in
    nodes: tuple[Node, ...] = ()  # /dev/gpiochip*, /dev/i2c-*
    labels: tuple[tuple[str, str], ...] = ()  # path and label of each GPIO chip that could be asked
    boot: BootConfig = field(default_factory=BootConfig)
    lgpio: Library = "missing"
    throttled: int | None = None  # the firmware's bits
    under_voltage: bool | None = None  # of hwmon and bits together

    @property
    def is_pi(self) -> bool:
        """Whether it says that it is a Raspberry Pi."""
        return self.model.startswith("Raspberry Pi")

    @property
    def header(self) -> str | None:
        """The path of the GPIO chip that drives the 40 pins; the newest label wins, as the agent has it."""
        paths = {label: path for path, label in reversed(self.labels)}
        return next((paths[label] for label in HEADER_LABELS if label in paths), None)


def computer_findings(computer: Computer, wants: Sequence[Want]) -> list[Finding]:
    """Judge it by what the sensors need."""
    on_pins = any(want.pin is not None for want in wants)
    found: list[Finding] = []
    if computer.is_container and not computer.model:
        what = "this is a container, which does not tell on which computer: only what was handed in is looked at"
        found.append(note("computer", what, HAND_IN.format("/dev/gpiochip0")))
    elif not computer.is_pi:
        is_what = f'says that it is a "{computer.model}"' if computer.model else "is no Raspberry Pi"
        found.append(note("computer", f"this computer {is_what}: pins, buses and power supply cannot be looked at"))
    if on_pins:
        found += _chips(computer)
        found += _library(computer.lgpio)
    found += _buses(computer, sorted({want.bus for want in wants if want.bus is not None}))
    found += _forbidden(computer, {want.bus for want in wants if want.bus is not None}, on_pins=on_pins)
    found += _power(computer)
    return found


def _chips(computer: Computer) -> list[Finding]:
    chips = [node for node in computer.nodes if node.path.startswith("/dev/gpiochip")]
    if not chips:
        if computer.is_container:
            return [wrong("GPIO", "no /dev/gpiochip* was handed into this container", HAND_IN.format("/dev/gpiochip0"))]
        if not computer.is_pi:
            return [note("GPIO", "there is no /dev/gpiochip*, and so no pin to look at", "run the agent on the Pi")]
        return [wrong("GPIO", "there is no /dev/gpiochip*", "update the kernel: `sudo apt full-upgrade`, then restart")]
    if computer.header is not None or not computer.labels:
        return []  # one that may not be opened has no label, and is told as such
    there = ", ".join(f"{path} is {label}" for path, label in computer.labels)
    return [
        wrong(
            "GPIO",
            f"no GPIO chip has the name of a Pi's header ({', '.join(HEADER_LABELS)}): {there}",
            "update this program, or the kernel with `sudo apt full-upgrade`",
        )
    ]


def _library(lgpio: Library) -> list[Finding]:
    match lgpio:
        case "missing":
            return [wrong("lgpio", "the library lgpio, which moves the pins, is not installed", cure("lgpio"))]
        case "stub":
            return [
                wrong(
                    "lgpio",
                    "the library lgpio is an empty shell (0.0.0.2), which pip takes where there is no wheel",
                    "`pip uninstall lgpio`, `sudo apt install python3-lgpio`, and a virtual environment made "
                    "with --system-site-packages",
                )
            ]
        case _:
            return []


def _buses(computer: Computer, wanted: Sequence[int]) -> list[Finding]:
    there = {node.path for node in computer.nodes}
    found = []
    for number in wanted:
        path = f"/dev/i2c-{number}"
        if path in there:
            continue
        others = ", ".join(sorted(node for node in there if node.startswith("/dev/i2c-")))
        if computer.is_container:
            found.append(wrong(path, "this bus was not handed into this container", HAND_IN.format(path)))
        elif not computer.is_pi:
            found.append(note(path, "there is no such bus, and so no chip to look at"))
        elif number == 1 and not computer.boot.has_i2c():
            what = f"I²C is switched off: its line {computer.boot.where_i2c()}"
            found.append(wrong(path, what, computer.boot.cure("dtparam=i2c_arm=on")))
        elif others:
            found.append(wrong(path, f"there is no such bus, but {others}", "set `bus` to the number of that one"))
        else:
            cure = "`sudo modprobe i2c-dev`, and the line i2c-dev in /etc/modules; or restart, if it was just added"
            found.append(wrong(path, "there is no such bus, though config.txt switches I²C on", cure))
    return found


def _forbidden(computer: Computer, buses: set[int], *, on_pins: bool) -> list[Finding]:
    """Name what is needed and may not be opened; chips of other things than the header do not matter."""
    needed = {f"/dev/i2c-{number}" for number in buses}
    if on_pins and computer.header is None:
        needed |= {node.path for node in computer.nodes if node.path.startswith("/dev/gpiochip")}
    found = []
    for node in computer.nodes:
        if node.path not in needed or node.may_open:
            continue
        who = computer.user or "this user"
        if computer.is_container:
            cure = f"start the container with `--group-add {node.group}`"
        elif node.group == "root":
            cure = "install raspberrypi-sys-mods, which gives it to a group, and restart; or run as root"
        elif node.is_member:
            cure = "log out and in again, or restart the agent: a new group counts from then on"
        else:
            cure = f"`sudo usermod -aG {node.group} {who}`, then log in again"
        found.append(wrong(node.path, f"{who} may not open it; it belongs to the group {node.group}", cure))
    return found


def _power(computer: Computer) -> list[Finding]:
    bits = computer.throttled or 0
    cure = "take the Pi's own power supply and a short, thick cable"
    if bits & UNDER_VOLTAGE_NOW or (computer.under_voltage and not bits & UNDER_VOLTAGE_SINCE):
        return [
            wrong("power", "the supply is below 4.63 V now: sensors say nonsense, and the card may be damaged", cure)
        ]
    if bits & UNDER_VOLTAGE_SINCE:
        return [wrong("power", "the supply was below 4.63 V since the firmware was last asked", cure)]
    if computer.is_pi and computer.throttled is None and computer.under_voltage is None:
        return [note("power", "the firmware does not tell whether the supply is sufficient")]
    return []
