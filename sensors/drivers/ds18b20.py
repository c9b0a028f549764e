"""DS18B20 and its family: temperature over the 1-Wire bus, through the kernel's w1_therm."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from sensors.driver import BadFrame, Channel, Disconnected, DriverContext, DriverUnavailable, Implausible, SensorError
from sensors.hw.sysfs import Sysfs, SysfsTree
from sensors.reading import Reading

FAMILIES = {"10": "DS18S20", "22": "DS1822", "28": "DS18B20", "3b": "DS1825", "42": "DS28EA00"}
DEVICES = "sys/bus/w1/devices"
PULL_UP = "a resistor of 4.7 kΩ between data and 3.3 V is missing, or a wire is loose"
NO_ANSWER = "no measurement: it was unplugged, or its power failed; check power, wiring and pull-up"
POWER_ON = 85.0  # °C in the chip's memory until it has measured
STARVED = 127.937  # °C, all bits of a measurement that broke off: 127.9375, in whole thousandths
BELIEVED_STEP = 10.0  # °C; from nearby, 85 °C is no power-on value

DeviceId = Annotated[
    str,
    Meta(
        pattern="^(10|22|28|3b|42)-[0-9a-f]{12}(?!\\n)$",
        extra={
            "takes": "a name as below /sys/bus/w1/devices",
            "cure": "give its name below /sys/bus/w1/devices, such as 28-000803702e49",
        },
    ),
]


class Ds18b20:
    """A DS18B20, DS18S20, DS1822, DS1825 or DS28EA00 measures temperature on a 1-Wire bus."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `ds18b20`."""

        id: Annotated[
            DeviceId | None, Meta(description="Which one, as in 28-000803702e49; without it, the only one on the bus.")
        ] = None

    model: str | None = FAMILIES["28"]
    channels = (Channel(measurement="temperature", unit="°C", low=-55, high=125, max_step=15, decimals=2),)
    interval_s: ClassVar[float] = 30.0
    min_interval_s: ClassVar[float] = 1.0
    timeout_s: ClassVar[float] = 20.0  # 750 ms, but others on the bus come first, and the kernel tries five times

    @classmethod
    def build(cls, options: "Ds18b20.Options", context: DriverContext) -> "Ds18b20":
        """Look at the bus; a sensor that is away may come later. Raises DriverUnavailable."""
        driver = cls(SysfsTree(context.sysfs_root), options.id)
        try:
            driver.look()
        except DriverUnavailable:
            raise
        except SensorError:
            pass  # the first read says it, and each tries again
        return driver

    def __init__(self, sysfs: Sysfs, device: str | None = None) -> None:
        self._sysfs = sysfs
        self._believed: float | None = None
        self.serial_number: str | None = None
        if device is not None:
            self._take(device)

    def look(self) -> None:
        """Make sure that there is a bus, and settle which device is meant. Raises SensorError."""
        if not self._sysfs.glob(f"{DEVICES}/w1_bus_master*"):
            raise DriverUnavailable(
                "this computer has no 1-Wire bus; add the line dtoverlay=w1-gpio to /boot/firmware/config.txt "
                "and restart (data is GPIO4 then)"
            )
        there = [path.rpartition("/")[2] for path in self._sysfs.glob(f"{DEVICES}/*-*")]
        sensors = [name for name in there if name[:2] in FAMILIES]
        if self.serial_number is None and len(sensors) > 1:
            raise DriverUnavailable(f"several sensors are on the 1-Wire bus; name one with `id`: {', '.join(sensors)}")
        if self.serial_number is None and sensors:
            self._take(sensors[0])
        if self.serial_number not in sensors:
            what = self.serial_number or "no temperature sensor"
            where = "is not on the 1-Wire bus" if self.serial_number else "is on the 1-Wire bus"
            phantom = next((name for name in there if name.startswith("00-")), None)
            if phantom:
                raise Disconnected(f"{what} {where}, only noise that looks like a device ({phantom}): {PULL_UP}")
            others = f" ({', '.join(sensors)} are)" if sensors else ""
            raise Disconnected(f"{what} {where}{others}: check power, wiring and pull-up")

    def read(self) -> Sequence[Reading]:
        """Measure once: 750 ms, in which the kernel makes us wait. Raises SensorError."""
        self.look()
        temperature, frame = self._measure(f"{DEVICES}/{self.serial_number}")
        self._believed = temperature
        return (Reading("temperature", temperature, raw=frame.hex(" ")),)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _take(self, device: str) -> None:
        self.serial_number = device
        self.model = FAMILIES[device[:2]]

    def _measure(self, directory: str) -> tuple[float, bytes]:
        """Give °C that can be believed, and the chip's memory if the kernel shows it. Raises SensorError."""
        try:
            report = self._sysfs.read(f"{directory}/w1_slave")
        except FileNotFoundError:
            return self._plausible(self._thousandths(f"{directory}/temperature"), b""), b""
        except OSError as error:
            raise _unreadable(error) from error
        try:
            frame, thousandths = parse(report)
            return self._plausible(thousandths, frame), frame
        except SensorError as error:
            error.raw = " ".join(report.split())
            raise

    def _thousandths(self, path: str) -> int:
        try:
            return int(self._sysfs.read(path))
        except FileNotFoundError as error:
            raise DriverUnavailable(
                f"the kernel's driver for {self.model} is not at work: `sudo modprobe w1-therm`"
            ) from error
        except OSError as error:
            raise _unreadable(error) from error
        except ValueError:
            raise Disconnected(NO_ANSWER) from None

    def _plausible(self, thousandths: int, frame: bytes) -> float:
        temperature = thousandths / 1000
        if frame and not any(frame):
            raise BadFrame("a frame of zeros, whose checksum is right by chance: data is shorted to ground")
        if abs(temperature - STARVED) < 0.001:
            raise Implausible("127.94 °C: the measurement broke off for lack of power; connect VDD, shorten the cable")
        if temperature == POWER_ON and self._is_power_on(frame):
            raise Implausible(
                "85 °C is what the chip says after its power dipped, before it measured; check its supply"
            )
        return temperature

    def _is_power_on(self, frame: bytes) -> bool:
        """Whether 85 °C is the power-on value: the chip's byte 6 tells, else what was measured before."""
        if len(frame) == 9 and self.model != FAMILIES["10"]:  # where a DS18S20 counts in byte 6
            if frame[6] == 0x0C:
                return True
            if frame[6] == 0x10:
                return False
        return self._believed is None or abs(POWER_ON - self._believed) > BELIEVED_STEP


def parse(report: str) -> tuple[bytes, int]:
    """Take a w1_slave file apart: nine bytes and thousandths of °C. Raises SensorError, also for a wrong checksum."""
    if not report:  # what the kernel says of a chip that does not answer, or that its own check caught
        raise Disconnected(NO_ANSWER)
    first, _, second = report.partition("\n")
    data, _, verdict = first.partition(":")
    value = second.rpartition("t=")[2].strip()
    try:
        frame, thousandths = bytes.fromhex(data), int(value)
    except ValueError:
        raise BadFrame(f"the kernel's answer is no measurement: {' '.join(report[:80].split())}") from None
    if not verdict.strip().endswith("YES"):
        raise BadFrame("the checksum is wrong; a stronger pull-up, a shorter cable or fewer branches help")
    return frame, thousandths


def _unreadable(error: OSError) -> SensorError:
    return Disconnected(f"{NO_ANSWER} ({error.strerror})")
