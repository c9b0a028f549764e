"""The pins of the header: who holds one, and whether anything is connected to one that nobody holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.finding import Finding, note, wrong
from sensors.doctor.wants import Want
from sensors.hw.gpiochips import Line, Program

# What the kernel's own users of a line are called, and the overlay that brings them.
OVERLAYS = {
    "dht11": "dht11",
    "onewire": "w1-gpio",
    "w1": "w1-gpio",
    "spi0": "spi (dtparam=spi=on)",
    "ir-receiver": "gpio-ir",
    "gpio-fan": "gpio-fan",
    "power_ctrl": "gpio-poweroff",
    "shutdown": "gpio-shutdown",
}


@dataclass(frozen=True, slots=True)
class Follows:
    """What a free pin said under our own weak resistor, drawn up and then drawn down."""

    up: bool
    down: bool

    @property
    def is_floating(self) -> bool:
        """Whether it went along with both: nothing that is stronger is connected."""
        return self.up and not self.down


def overlay_of(consumer: str) -> str | None:
    """Give the overlay whose driver calls itself so; None where it is a program."""
    return next((overlay for word, overlay in OVERLAYS.items() if consumer.lower().startswith(word)), None)


def line_findings(
    lines: Mapping[int, Line], wants: Sequence[Want], *, agent: int | None, programs: Sequence[Program] = ()
) -> list[Finding]:
    """Say of every line that a sensor needs who holds it; `agent` is the process of the running agent."""
    found = []
    for want in wants:
        line = lines.get(want.pin) if want.pin is not None else None
        if line is None or not line.used:
            continue
        about = f"GPIO{want.pin} ({want.sensor})"
        overlay = overlay_of(line.consumer)
        called = f'"{line.consumer}"' if line.consumer else "somebody without a name"
        if overlay == "dht11" and want.kind == "dht":
            found.append(note(about, f"the kernel's driver reads the sensor, as {called}"))
        elif overlay is not None:
            cure = f"take the overlay {overlay} out of config.txt and restart, or use another pin"
            found.append(wrong(about, f"it is claimed by the kernel, as {called}", cure))
        elif agent is not None:
            found.append(note(about, f"the running agent (process {agent}) holds it, as {called}; it is not probed"))
        else:
            who = ", ".join(map(str, programs))
            perhaps = f", it may be {who}" if who else ""
            cure = "stop the program; `sudo lsof | grep gpio` names it" if not who else "stop it, or use another pin"
            found.append(wrong(about, f"it is claimed by {called}{perhaps}", cure))
    return found


def floating_findings(follows: Mapping[int, Follows], wants: Sequence[Want]) -> list[Finding]:
    """Say of the pins that were drawn up and down which have nothing on them."""
    found = []
    for want in wants:
        pin = follows.get(want.pin) if want.pin is not None else None
        if pin is None:
            continue
        about = f"GPIO{want.pin} ({want.sensor})"
        if not pin.up and pin.down:
            cure = "look again; if it stays so, something drives the pin to and fro: check the wire"
            found.append(wrong(about, "it went against our own resistor, both up and down", cure))
        elif not pin.is_floating:
            if want.kind == "dht" and not pin.down:
                cure = "check for a short to ground, and that the pin is the sensor's data pin"
                found.append(wrong(about, "it is held at 0 V, where a DHT sensor at rest is at 3.3 V", cure))
        elif want.kind == "dht":
            cure = "check power and wiring, and put 4.7 to 10 kΩ between data and 3.3 V"
            found.append(wrong(about, "it floats: neither a sensor nor its pull-up is connected", cure))
        elif want.is_contact:
            found.append(
                note(about, "it floats: the contact is open, or nothing is connected", "close it and look again")
            )
        else:
            cure = "check the sensor's power and the wire, and that `pin` is the GPIO number"
            found.append(wrong(about, "it floats: nothing drives it", cure))
    return found
