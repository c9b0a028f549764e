"""Who answers on an I²C bus, without waking or configuring anybody."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sensors.hw.i2c import I2cBus, Wire

FIRST, LAST = 0x08, 0x77  # the rest is reserved
CHIP_ID = 0xD0  # register of Bosch's chips
BOSCH = (0x76, 0x77)
HUNG = (errno.ETIMEDOUT, errno.EAGAIN)


@dataclass(frozen=True, slots=True)
class Scan:
    """One bus: the addresses that answer, the id of those that have one, and those that the kernel holds."""

    number: int
    answering: frozenset[int] = frozenset()
    ids: Mapping[int, int] = field(default_factory=dict)
    held: frozenset[int] = frozenset()
    trouble: str = ""  # why it could not be looked at, and the cure behind a semicolon

    @property
    def path(self) -> str:
        """Its device file."""
        return f"/dev/i2c-{self.number}"


def scan(bus: I2cBus, number: int) -> Scan:
    """Call every address, and ask those of Bosch's chips for their id. Takes a tenth of a second."""
    answering, held, ids = set(), set(), dict[int, int]()
    with bus.lock:
        for address in range(FIRST, LAST + 1):
            try:
                if _answers(bus.wire, address):
                    answering.add(address)
                    if address in BOSCH and (chip := _chip_id(bus.wire, address)) is not None:
                        ids[address] = chip
            except OSError as error:
                if error.errno == errno.EBUSY:
                    held.add(address)
                    continue
                what = f"the bus cannot be used ({error.strerror or error})"
                if error.errno in HUNG:
                    what = "the bus hangs: a chip or a short holds SDA or SCL down; power the chips off and on"
                return Scan(number, frozenset(answering), ids, frozenset(held), what)
    return Scan(number, frozenset(answering), ids, frozenset(held))


def _answers(wire: Wire, address: int) -> bool:
    """Call it with nothing to say; what acknowledges only a read is asked for a byte. Raises OSError of the bus."""
    calls: tuple[Callable[[], None], ...] = (
        lambda: wire.writeto(address, b""),
        lambda: wire.readfrom_into(address, bytearray(1)),
    )
    for call in calls:
        try:
            call()
        except OSError as error:
            if error.errno in {errno.EBUSY, *HUNG, errno.EACCES, errno.EPERM}:
                raise
            continue  # nobody is there, or it does not take such a call
        return True
    return False


def _chip_id(wire: Wire, address: int) -> int | None:
    answer = bytearray(1)
    try:
        wire.writeto_then_readfrom(address, bytes([CHIP_ID]), answer)
    except OSError:
        return None
    return answer[0]
