"""A DHT temperature and humidity sensor that the kernel's driver `dht11` reads: two files below /sys/bus/iio."""

import errno
import os
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from sensors.driver import BadFrame, CutShort, Disconnected, DriverUnavailable, SensorError
from sensors.hw.dht import Kind, Measurement
from sensors.hw.dht_child import SPACING_S
from sensors.hw.sysfs import Sysfs

DEVICES = "sys/bus/iio/devices"
OVERLAY = "dtoverlay=dht11,gpiopin={pin}"
KERNEL_LOG = Path("dev/kmsg")  # below the root
WHOLE = 84  # edges of a whole answer
OWN = 2  # edges of the start signal, which some kernels count
MOST_RECORD = 8192  # bytes of a record of the kernel's log


def find(sysfs: Sysfs, pin: int) -> str | None:
    """Give the device at a GPIO: the one whose node in the device tree names it, else the only one that names none.

    Raises DriverUnavailable where several might be it.
    """
    nameless = []
    for device in sysfs.glob(f"{DEVICES}/iio:device*"):
        try:
            if not sysfs.read(f"{device}/name").startswith("dht11"):  # dht11@4, or @0: not always the pin
                continue
        except OSError:
            continue  # a device that vanished just now
        wired_to = _pin_of(sysfs, device)
        if wired_to == pin:
            return device
        if wired_to is None:
            nameless.append(device)
    if len(nameless) > 1:
        raise DriverUnavailable(
            f"the kernel reads several DHT sensors and does not tell which is on GPIO{pin}: take their dtoverlay "
            'lines out of config.txt, or set pulses = "bitbang" and leave this one out'
        )
    return nameless[0] if nameless else None


def _pin_of(sysfs: Sysfs, device: str) -> int | None:
    """Read the second of the cells phandle, number, flags; the node is that of the device or of the one above it."""
    for node in (f"{device}/of_node", f"{device}/../of_node"):
        for name in ("gpios", "gpio"):
            try:
                cells = sysfs.read_bytes(f"{node}/{name}")
            except OSError:
                continue
            if len(cells) >= 8:
                return int.from_bytes(cells[4:8], "big")
    return None


class DhtIio:
    """A sensor of the kernel's. A read ends within a second by itself, and needs no process of its own."""

    def __init__(
        self,
        sysfs: Sysfs,
        kind: Kind,
        pin: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        kernel_log: Path = Path("/") / KERNEL_LOG,
    ) -> None:
        """Raises DriverUnavailable where the kernel has none at this pin."""
        self._sysfs = sysfs
        self._kind = kind
        self._pin = pin
        self._clock = clock
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._kernel_log = kernel_log
        self._asked_at: float | None = None
        self._find()

    def measure(self) -> Measurement:
        """See DhtSensor. The first file measures; the second, within 2 s, tells the rest of the same frame."""
        device = self._find()
        if self._asked_at is not None:  # after a failure the kernel would ask again at once
            self._wait(max(0.0, self._asked_at + SPACING_S - self._clock()))
        if self._closed.is_set():
            raise SensorError(f"the sensor on GPIO{self._pin} is closed")
        self._asked_at = self._clock()
        with _overheard(self._kernel_log) as heard:
            temperature = self._thousandths(device, "in_temp_input", heard)
            humidity = self._thousandths(device, "in_humidityrelative_input", heard)
        raw = f"in_temp_input {temperature}, in_humidityrelative_input {humidity}"
        return Measurement(temperature / 1000, humidity / 1000, raw)

    def close(self) -> None:
        """See DhtSensor."""
        self._closed.set()

    def _find(self) -> str:
        device = find(self._sysfs, self._pin)
        if device is None:
            raise DriverUnavailable(
                f"the kernel reads no DHT sensor on GPIO{self._pin}; add the line {OVERLAY.format(pin=self._pin)} to "
                '/boot/firmware/config.txt and restart, or set pulses = "auto"'
            )
        return device

    def _thousandths(self, device: str, name: str, heard: Callable[[], str]) -> int:
        try:
            return int(self._sysfs.read(f"{device}/{name}"))
        except OSError as error:
            raise self._explain(error, device, heard) from error
        except ValueError:
            raise BadFrame(f"the kernel's answer for GPIO{self._pin} is no number") from None

    def _explain(self, error: OSError, device: str, heard: Callable[[], str]) -> SensorError:
        pin = f"GPIO{self._pin}"
        match error.errno:
            case errno.ETIMEDOUT:
                return self._too_few(self._edges(device, heard()))
            case errno.EIO:
                tenths = " (the kernel's driver also refuses a DHT11 that tells tenths or frost)"
                return BadFrame(
                    f"the answer on {pin} is damaged: wrong checksum or timing{tenths if self._kind == 'DHT11' else ''}"
                )
            case errno.EACCES | errno.EPERM:
                return DriverUnavailable(f"not allowed to read the kernel's DHT sensor on {pin}")
            case _:
                return Disconnected(f"the kernel could not read the DHT sensor on {pin} ({error.strerror})")

    def _too_few(self, edges: int | None) -> SensorError:
        pin = f"GPIO{self._pin}"
        if edges is None:
            return Disconnected(
                f"no whole answer on {pin}: check power, wiring, pin number and pull-up; `sudo dmesg` tells how many "
                f"edges there were: 0 is no power or another pin, 1 to {WHOLE - 1} a weak pull-up or a busy computer"
            )
        if edges <= OWN:
            return Disconnected(f"no answer on {pin}: check power, wiring and pin number")
        return CutShort(
            f"the answer on {pin} stopped after {edges} of {WHOLE} edges: a pull-up (4.7 to 10 kΩ) or a shorter cable "
            "helps"
        )

    def _edges(self, device: str, words: str) -> int | None:
        """Find what the driver said of this device: as its own (dht11@4) or as that of the files (iio:device0)."""
        try:
            names = (self._sysfs.read(f"{device}/name"), device.rpartition("/")[2])
        except OSError:
            return None
        which = "|".join(map(re.escape, names))
        found = re.findall(rf"(?:{which}): Only (\d+) signal edges", words)
        return int(found[-1]) if found else None


@contextmanager
def _overheard(path: Path) -> Generator[Callable[[], str]]:
    """Give what the kernel says from here on; nothing where it may not be heard."""
    try:
        log = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield str
        return
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield lambda: _rest(log)
    finally:
        os.close(log)


def _rest(log: int) -> str:
    """Read record by record what there is."""
    records = []
    while True:
        try:
            record = os.read(log, MOST_RECORD)
        except BrokenPipeError:  # some were overwritten before they were read; the next read goes on behind them
            continue
        except OSError:
            break
        if not record:
            break
        records.append(record)
    return b"".join(records).decode("utf-8", "replace")
