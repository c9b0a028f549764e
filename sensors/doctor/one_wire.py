"""The 1-Wire bus: is it there, who is on it, and what only looks like a device."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.finding import Finding, note, wrong
from sensors.doctor.computer import Computer
from sensors.doctor.wants import Want
from sensors.drivers.ds18b20 import FAMILIES, PULL_UP


@dataclass(frozen=True, slots=True)
class OneWire:
    """What the kernel tells of it."""

    masters: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()  # 28-000803702e49; 00-… are phantoms


def one_wire_findings(bus: OneWire, computer: Computer, wants: Sequence[Want]) -> list[Finding]:
    """Judge it by the sensors that need it; without any, nobody cares."""
    wanted = [want for want in wants if want.one_wire is not None]
    if not wanted:
        return []
    if not bus.masters:
        return [_no_bus(computer)]
    found = []
    phantoms = [device for device in bus.devices if device.startswith("00-")]
    sensors = [device for device in bus.devices if device[:2] in FAMILIES]
    if phantoms:
        found.append(
            wrong(
                "1-Wire",
                f"{', '.join(phantoms[:3])} {'is' if len(phantoms) == 1 else 'are'} noise that looks like a device",
                f"mend the wiring: {PULL_UP}",
            )
        )
    if not sensors and not phantoms:
        found.append(
            wrong("1-Wire", "no temperature sensor is on the bus", f"check power, ground and data (GPIO4): {PULL_UP}")
        )
    for want in wanted:
        if want.one_wire and want.one_wire not in bus.devices and sensors:
            cure = f"check its wiring, or set `id` to one of those that are: {', '.join(sensors)}"
            found.append(wrong(f"sensor {want.sensor}", f"{want.one_wire} is not on the 1-Wire bus", cure))
        elif not want.one_wire and len(sensors) > 1:
            cure = f"name one with `id`: {', '.join(sensors)}"
            found.append(wrong(f"sensor {want.sensor}", "several sensors are on the 1-Wire bus", cure))
    spare = [device for device in sensors if device not in {want.one_wire for want in wanted}]
    if spare and all(want.one_wire for want in wanted):
        found.append(note("1-Wire", f"no sensor of the configuration reads {', '.join(spare)}"))
    return found


def _no_bus(computer: Computer) -> Finding:
    if computer.is_container and not computer.is_pi:  # it sees the buses of its computer, not the config.txt
        cure = "add the line dtoverlay=w1-gpio to config.txt of the Pi that it runs on and restart (data is GPIO4 then)"
        return wrong("1-Wire", "there is no 1-Wire bus", cure)
    if not computer.is_pi:
        return note("1-Wire", "there is no 1-Wire bus, and so no sensor to look at")
    boot = computer.boot
    if not boot.has_overlay("w1-gpio"):
        cure = f"{boot.cure('dtoverlay=w1-gpio')} (data is GPIO4 then)"
        return wrong("1-Wire", f"there is no 1-Wire bus: its overlay {boot.where_overlay('w1-gpio')}", cure)
    cure = f"restart, if the line was just added to {boot.path}; else `sudo dmesg | grep w1` says why"
    return wrong("1-Wire", "there is no 1-Wire bus, though config.txt has its overlay", cure)
