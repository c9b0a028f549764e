"""What this computer is called and which it is, as far as it can be told."""

import socket

from sensors.hw.sysfs import Sysfs, text_of

MODEL = "proc/device-tree/model"
SERIAL_NUMBER = "proc/device-tree/serial-number"  # a Raspberry Pi's own


class Computer:
    """Read from the files of the kernel each time it is asked."""

    def __init__(self, sysfs: Sysfs) -> None:
        self._sysfs = sysfs

    @property
    def model(self) -> str | None:
        """The board, where the firmware says it."""
        return text_of(self._sysfs, MODEL)

    @property
    def serial_number(self) -> str | None:
        """The board's, which no other has; None where there is none to tell by."""
        return text_of(self._sysfs, SERIAL_NUMBER)

    def named(self, address: str) -> str:
        """Name it for people who look for it in their network, where it has this address, or none."""
        serial = self.serial_number
        known = (socket.gethostname(), address, f"serial number {serial}" if serial else "")
        return ", ".join(text for text in known if text)
