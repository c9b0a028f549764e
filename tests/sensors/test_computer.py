"""What a computer says of itself."""

import socket

from sensors.computer import MODEL, SERIAL_NUMBER, Computer
from sensors.hw.sysfs import SysfsTree


def test_a_raspberry_pi_is_known_by_its_number(tmp_path):
    (tmp_path / MODEL).parent.mkdir(parents=True)
    (tmp_path / MODEL).write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    (tmp_path / SERIAL_NUMBER).write_text("10000000abcdef01\0")
    computer = Computer(SysfsTree(tmp_path))
    assert (computer.model, computer.serial_number) == ("Raspberry Pi 4 Model B Rev 1.4", "10000000abcdef01")
    assert computer.named("192.168.1.5") == f"{socket.gethostname()}, 192.168.1.5, serial number 10000000abcdef01"


def test_another_computer_has_its_name(tmp_path):
    computer = Computer(SysfsTree(tmp_path))
    assert (computer.model, computer.serial_number) == (None, None)
    assert computer.named("") == socket.gethostname()
