"""The chips on an I²C bus: who answers, and as what."""

from collections.abc import Sequence

from appliance.finding import Finding, note, wrong
from sensors.doctor.wants import Want
from sensors.hw.i2c import CHIP_IDS, KINDS
from sensors.hw.i2c_scan import Scan


def chip_findings(scan: Scan, wants: Sequence[Want]) -> list[Finding]:
    """Judge a scan by the sensors on that bus."""
    wanted = [want for want in wants if want.bus == scan.number]
    if scan.trouble:
        what, _, cure = scan.trouble.partition("; ")
        return [wrong(scan.path, what, cure or "`sudo dmesg | tail` says more")]
    found = []
    if not scan.answering and not scan.held:
        cure = "check power, ground, SDA (GPIO2) and SCL (GPIO3); swapped SDA and SCL look like this too"
        return [wrong(scan.path, "no chip answers at any address", cure)]
    if len(scan.answering) > 100:
        return [
            wrong(
                scan.path,
                "every address seems to answer",
                "SDA is held low: check for a short, power the chips off and on",
            )
        ]
    for want in wanted:
        found += _judged(scan, want)
    known = {address for want in wanted for address in want.addresses}
    for address in sorted(scan.answering - known):
        name = CHIP_IDS.get(scan.ids.get(address, -1))
        cure = f'kind = "{KINDS[name]}" reads it' if name in KINDS else ""
        found.append(
            note(scan.path, f"a chip{f' ({name})' if name else ''} at {address:#04x} that no sensor reads", cure)
        )
    return found


def _judged(scan: Scan, want: Want) -> list[Finding]:
    about = f"sensor {want.sensor}"
    places = " or ".join(f"{address:#04x}" for address in want.addresses)
    if held := sorted(scan.held.intersection(want.addresses)):
        cure = "take its overlay (dtoverlay=i2c-sensor …) out of config.txt and restart"
        return [wrong(about, f"the kernel holds the chip at {held[0]:#04x} on {scan.path}", cure)]
    there = sorted(scan.answering.intersection(want.addresses))
    if not there:
        others = ", ".join(f"{address:#04x}" for address in sorted(scan.answering))
        what = f"no {want.model} answers at {places} on {scan.path}" + (f"; {others} answer" if others else "")
        return [wrong(about, what, "check its power and wiring, and its address pin")]
    names = {address: CHIP_IDS.get(scan.ids[address]) for address in there if address in scan.ids}
    if want.model not in set(CHIP_IDS.values()) or want.model in names.values() or not names:
        return []
    ((address, name), *_) = names.items()
    if name is None:
        cure = "check power, SDA and SCL, or set `kind` to what is printed on it"
        return [
            wrong(about, f"the chip at {address:#04x} says {scan.ids[address]:#04x} of itself, no {want.model}", cure)
        ]
    cure = f'set kind = "{KINDS[name]}"' if name in KINDS else f"no kind reads it: replace it by a {want.model}"
    sold = ", which measures no humidity and is often sold as the other" if name == "BMP280" else ""
    return [wrong(about, f"the chip at {address:#04x} is a {name}{sold}, no {want.model}", cure)]
