"""Finds what announces itself by mDNS: an address book that anybody may write into, never a reason to trust.

zeroconf takes 8 MB that an agent needs for three seconds in its life: it looks in a process of its own,
`python -m sensors.discovery`, which prints what it finds.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sensors.library import cure

if TYPE_CHECKING:
    from zeroconf import Zeroconf

PLAIN: Final = "_mqtt._tcp"
SECURE: Final = "_secure-mqtt._tcp"
PAGE: Final = "_https._tcp"  # of a hub; printers and storage have one too, and no site
LOOK_S: Final = 3.0
CHILD_S: Final = 30.0  # more than a Pi Zero needs to start one and look
SMALLEST_ASK_MS: Final = 500  # for where one is that was named at the last moment
MOST_FOUND: Final = 16
MOST_ADDRESSES: Final = 4
MOST_NAME: Final = 253


class DiscoveryError(Exception):
    """Nobody could look; one line that says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A broker that says it is there, and of which site; no site where it does not say."""

    name: str
    port: int
    addresses: tuple[str, ...]
    site: str = ""


def look(service: str, site: str, *, seconds: float = LOOK_S, interface: str = "") -> list[Found]:
    """Look for brokers of our site or of none, ours first; on one interface, by its address, or all. DiscoveryError."""
    # -P: what lies in the directory where the agent was started is none of Python's modules.
    command = [sys.executable, "-P", "-m", "sensors.discovery", service, site, f"--seconds={seconds}"]
    command += [f"--interface={interface}"] if interface else []
    try:
        done = subprocess.run(  # noqa: S603 our own words
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + CHILD_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DiscoveryError(f"looking for brokers by mDNS failed: {error}") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise DiscoveryError(f"looking for brokers by mDNS failed: {lines[-1]}")
    return choose([Found(**{**told, "addresses": tuple(told["addresses"])}) for told in json.loads(done.stdout)], site)


def choose(found: Sequence[Found], site: str) -> list[Found]:
    """Leave out what belongs to other sites; our own first, each kind in an order that is always the same."""
    return sorted((one for one in found if one.site in {site, ""}), key=lambda one: (one.site != site, one.name))


def understood(name: str | None, port: int | None, addresses: Sequence[str], site: bytes | None) -> Found | None:
    """Take what the network said; None where it cannot be a broker's."""
    name = (name or "").rstrip(".").lower()
    if (
        not name
        or len(name) > MOST_NAME
        or not all(char.isascii() and (char.isalnum() or char in ".-") for char in name)
    ):
        return None
    usable = sorted({text for text in addresses if _usable(text)}, key=lambda text: (":" in text, text))
    if not usable or not 0 < (port or 0) <= 65_535:
        return None
    return Found(name, port or 0, tuple(usable[:MOST_ADDRESSES]), (site or b"").decode("utf-8", "replace"))


def _usable(text: str) -> bool:
    address = ip_address(text)
    return not (address.is_multicast or address.is_unspecified)


class _Listener:
    """Collects the names of instances; zeroconf calls it from its thread."""

    def __init__(self) -> None:
        from queue import SimpleQueue  # noqa: PLC0415

        self.names: SimpleQueue[str] = SimpleQueue()

    def add_service(self, _zeroconf: "Zeroconf", _service: str, name: str) -> None:
        self.names.put(name)

    def update_service(self, _zeroconf: "Zeroconf", _service: str, name: str) -> None:
        """What was told is asked for anyway."""

    def remove_service(self, _zeroconf: "Zeroconf", _service: str, name: str) -> None:
        """It may be back before we have connected."""


def browse(service: str, site: str, seconds: float, interface: str) -> list[Found]:
    """Look with zeroconf, here; ends early when a broker of our own site answers."""
    import time  # noqa: PLC0415
    from queue import Empty  # noqa: PLC0415

    from zeroconf import InterfaceChoice, IPVersion, ServiceBrowser, Zeroconf  # noqa: PLC0415

    kind = f"{service}.local."
    found: list[Found] = []
    deadline = time.monotonic() + seconds
    listener = _Listener()
    with Zeroconf([interface] if interface else InterfaceChoice.All) as zeroconf:
        browser = ServiceBrowser(zeroconf, kind, listener=listener)  # type: ignore[arg-type]  # the three that it calls
        try:
            while len(found) < MOST_FOUND and (left := deadline - time.monotonic()) > 0:
                try:
                    name = listener.names.get(timeout=left)
                except Empty:
                    break
                left_ms = max(int((deadline - time.monotonic()) * 1000), SMALLEST_ASK_MS)
                info = zeroconf.get_service_info(kind, name, timeout=left_ms)
                if info is None:
                    continue
                addresses = info.parsed_scoped_addresses(IPVersion.All)
                one = understood(info.server, info.port, addresses, info.properties.get(b"site"))
                if one is not None and (one.site or service != PAGE):
                    found.append(one)
                    if one.site == site:
                        break
        finally:
            browser.cancel()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is found as a JSON array."""
    parser = argparse.ArgumentParser(prog="python -m sensors.discovery", description="Looks for brokers by mDNS.")
    parser.add_argument("service", choices=[PLAIN, SECURE, PAGE])
    parser.add_argument("site", help="looking ends as soon as a broker of this site answers")
    parser.add_argument("--seconds", type=float, default=LOOK_S)
    parser.add_argument("--interface", default="", help="address of the one to look on; all, if none is given")
    options = parser.parse_args(argv)
    try:
        found = browse(options.service, options.site, options.seconds, options.interface)
    except ImportError:
        sys.stderr.write(f"the library zeroconf is missing; {cure('zeroconf')}, or set broker.host\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}; set broker.host\n")
        return 1
    sys.stdout.write(json.dumps([asdict(one) for one in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
