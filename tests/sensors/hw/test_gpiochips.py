import ctypes
import errno
import os
import subprocess
import sys
from contextlib import closing

import pytest
from gpio_kernel import ChipInfo, Config, Event, FakeChip, LineInfo, Request, Values

from sensors.hw import gpiochips
from sensors.hw.gpiochips import KernelChips, Line, Program, programs

PATH = "/dev/gpiochip0"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "gpiochip0").touch()
    return tmp_path


def test_what_is_packed_has_the_kernels_sizes():
    for ours, theirs in (
        (gpiochips.CHIP_INFO, ChipInfo),
        (gpiochips.LINE_INFO, LineInfo),
        (gpiochips.CONFIG, Config),
        (gpiochips.REQUEST, Request),
        (gpiochips.EVENT, Event),
        (gpiochips.VALUES, Values),
    ):
        assert ours.size == ctypes.sizeof(theirs)


def test_a_chip_says_its_label(root):
    assert KernelChips(root, FakeChip("pinctrl-bcm2711").ioctl).label(PATH) == "pinctrl-bcm2711"


def test_a_line_says_who_holds_it(root):
    chips = KernelChips(root, FakeChip(held={17: "octorelay"}).ioctl)
    assert chips.line(PATH, 17) == Line(used=True, consumer="octorelay")
    assert chips.line(PATH, 18) == Line()
    with pytest.raises(OSError, match="Invalid argument"):
        chips.line(PATH, 99)


def test_a_chip_that_is_gone_raises(root):
    with pytest.raises(FileNotFoundError):
        KernelChips(root, FakeChip().ioctl).label("/dev/gpiochip9")


def test_a_line_is_held_low_and_then_heard(root):
    edges = tuple((1000 * number, number % 2 == 0) for number in range(84))
    with closing(FakeChip(edges=edges)) as chip:
        heard = KernelChips(root, chip.ioctl).edges(PATH, 4, low_s=0, listen_s=0)
        assert heard == edges
        low, listening = chip.configs
        assert low == gpiochips.OUTPUT
        assert listening == gpiochips.INPUT | gpiochips.RISING | gpiochips.FALLING | gpiochips.PULL_UP
        (reader,) = chip.pipes
        with pytest.raises(OSError, match="Bad file descriptor"):  # it was let go
            os.fstat(reader)


@pytest.mark.parametrize("up", [True, False])
def test_a_line_is_drawn_and_given_back(root, up):
    with closing(FakeChip()) as chip:
        chip.driven = {5: True, 6: False}
        drawn = [KernelChips(root, chip.ioctl).drawn(PATH, line, up=up, settle_s=0) for line in (4, 5, 6)]
        assert drawn == [up, True, False]
        assert set(chip.configs) == {gpiochips.INPUT | (gpiochips.PULL_UP if up else gpiochips.PULL_DOWN)}
        for reader in set(chip.pipes):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(reader)


def test_silence_is_no_edge(root):
    with closing(FakeChip()) as chip:
        assert KernelChips(root, chip.ioctl).edges(PATH, 4, low_s=0, listen_s=0) == ()


def test_a_line_that_is_held_is_not_asked(root):
    with pytest.raises(OSError, match="busy") as raised:
        KernelChips(root, FakeChip(held={4: "lg"}).ioctl).edges(PATH, 4, low_s=0, listen_s=0)
    assert raised.value.errno == errno.EBUSY


def test_processes_with_lines_open_are_found(tmp_path):
    for pid, name, target in (
        (812, "octorelay", "anon_inode:gpio-line"),
        (90, "python3", "/dev/gpiochip4"),
        (7, "sshd", "socket:[123]"),
        (os.getpid(), "doctor", "/dev/gpiochip4"),
    ):
        descriptors = tmp_path / "proc" / str(pid) / "fd"
        descriptors.mkdir(parents=True)
        (descriptors / "3").symlink_to(target)
        (descriptors.parent / "comm").write_text(f"{name}\n")
    (tmp_path / "proc" / "1").mkdir()  # not ours to look into
    found = programs(tmp_path)
    assert found == (Program(90, "python3"), Program(812, "octorelay"))
    assert str(found[1]) == "octorelay (process 812)"


def test_looking_at_chips_needs_no_library():
    program = "import sensors.hw.gpiochips, sys; assert not {'lgpio', 'gpiozero', 'gpiod'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
