"""The computer itself: temperature of its processor, load, memory, disk, power supply and Wi-Fi."""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from sensors.driver import Channel, DriverContext, DriverUnavailable, SensorError
from sensors.hw.sysfs import Sysfs, SysfsTree, text_of
from sensors.reading import Reading

# What the processor's sensor is called, the surest name first; others (acpitz, wifi, nvme) measure something else.
THERMAL_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")
HWMON_CHIPS = ("cpu_thermal", "coretemp", "k10temp", "zenpower")

# What power supply and heat did to a Raspberry Pi: now and, 16 bits higher, since the kernel asked last, 2 s ago.
THROTTLED = "sys/devices/platform/soc*/soc*:firmware/get_throttled"  # soc, of a Pi 5 soc@107c000000
UNDER_VOLTAGE = 0x1_0001
SLOWED_DOWN = 0xE_000E  # the frequency capped, throttled, the soft limit of the temperature reached

IFF_UP = 1  # a network interface is switched on

Measure = Callable[[], float | bool]


class Host:
    """The computer that the agent runs on: temperature, load, memory, disk, supply, Wi-Fi, as far as it has them."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `host`."""

        disk: Annotated[
            str,
            Meta(
                description="A folder on the file system whose use is measured.",
                pattern="^/",
                extra={"takes": "a path", "cure": "give its whole path, such as /var/lib"},
            ),
        ] = "/"

    measures: ClassVar[tuple[str, ...]] = ("cpu_temperature", "load", "memory", "swap", "disk", "wifi_signal")
    interval_s: ClassVar[float] = 30.0
    min_interval_s: ClassVar[float] = 1.0
    timeout_s: ClassVar[float] = 10.0

    @classmethod
    def build(cls, options: "Host.Options", context: DriverContext) -> "Host":
        """Look what this computer has to measure. Raises DriverUnavailable when that is nothing."""
        return cls(SysfsTree(context.sysfs_root), options)

    def __init__(self, sysfs: Sysfs, options: "Host.Options | None" = None) -> None:
        disk = (options or self.Options()).disk.lstrip("/")
        if disk:
            _refuse_missing(sysfs, disk)
        measures: list[tuple[Channel, Measure]] = [
            (Channel(measurement="load", low=0, decimals=2), lambda: load(sysfs.read("proc/loadavg"))),
            (_percent("memory"), lambda: memory_used_percent(sysfs.read("proc/meminfo"))),
            (_percent("swap"), lambda: swap_used_percent(sysfs.read("proc/meminfo"))),
            (_percent("disk"), lambda: 100 * sysfs.used_share(disk)),
            (
                Channel(measurement="wifi_signal", unit="dBm", low=-120, high=0, decimals=0),
                lambda: wifi_signal(sysfs.read("proc/net/wireless")),
            ),
            (Channel(measurement="throttled", role="binary_sensor"), lambda: bool(throttled(sysfs) & SLOWED_DOWN)),
            (Channel(measurement="under_voltage", role="binary_sensor"), lambda: under_voltage(sysfs)),
        ]
        if thermometer := cpu_thermometer(sysfs):
            channel = Channel(measurement="cpu_temperature", unit="°C", low=-40, high=125, decimals=1)
            measures.insert(0, (channel, lambda: int(sysfs.read(thermometer)) / 1000))
        self._measures = [
            (channel, measure)
            for channel, measure in measures
            if _works(measure) or (channel.measurement == "wifi_signal" and wifi_may_connect(sysfs))
        ]
        if not self._measures:
            raise DriverUnavailable(
                "this computer tells nothing about itself in /proc and /sys; remove the host sensor"
            )
        self.channels = tuple(channel for channel, _ in self._measures)
        self.model = text_of(sysfs, "proc/device-tree/model") or text_of(
            sysfs, "sys/devices/virtual/dmi/id/product_name"
        )
        self.serial_number = text_of(sysfs, "proc/device-tree/serial-number")

    def read(self) -> Sequence[Reading]:
        """Measure all; what fails alone is left out. Raises SensorError when nothing could be read."""
        readings, problem = [], ""
        for channel, measure in self._measures:
            try:
                readings.append(Reading(channel.measurement, measure()))
            except (OSError, ValueError) as error:
                problem = f"{channel.measurement}: {error}"
        if not readings:
            raise SensorError(f"nothing could be measured on this computer; {problem}")
        return readings

    def close(self) -> None:
        """Do nothing: no file stays open."""


def load(loadavg: str) -> float:
    """Give the load of the last minute. Raises ValueError."""
    return float(loadavg.partition(" ")[0])


def memory_used_percent(meminfo: str) -> float:
    """Give what programs could not have of the memory any more, in percent. Raises ValueError."""
    return _used_percent(meminfo, "MemTotal", "MemAvailable")


def swap_used_percent(meminfo: str) -> float:
    """Give what is used of the swap space, in percent. Raises ValueError, also where there is none."""
    return _used_percent(meminfo, "SwapTotal", "SwapFree")


def wifi_signal(wireless: str) -> float:
    """Give the strongest signal of /proc/net/wireless in dBm. Raises ValueError where no Wi-Fi is connected."""
    levels = [float(line.split()[3]) for line in wireless.splitlines() if ":" in line and len(line.split()) > 3]
    levels = [level for level in levels if level]  # the kernel says 0 of one that is not connected
    if not levels:
        raise ValueError("no Wi-Fi is connected")
    return max(level - 256 if level > 0 else level for level in levels)  # old drivers give the byte, unsigned


def wifi_may_connect(sysfs: Sysfs) -> bool:
    """Say whether Wi-Fi is on and no cable is there instead: it connects some time after the computer's start."""
    try:
        wireless = [
            line.partition(":")[0].strip() for line in sysfs.read("proc/net/wireless").splitlines() if ":" in line
        ]
        is_on = any(int(sysfs.read(f"sys/class/net/{name}/flags"), 16) & IFF_UP for name in wireless)
    except (OSError, ValueError):
        return False
    real = {path.split("/")[3] for path in sysfs.glob("sys/class/net/*/device")}  # bridges and the like have none
    return is_on and not any(text_of(sysfs, f"sys/class/net/{name}/operstate") == "up" for name in real - {*wireless})


def throttled(sysfs: Sysfs) -> int:
    """Give the bits of the firmware. Raises OSError, where there is nothing of the kind too, or ValueError."""
    found = sysfs.glob(THROTTLED)
    return int(sysfs.read(found[0] if found else THROTTLED), 16)


def under_voltage(sysfs: Sysfs) -> bool:
    """Say whether the supply was below 4.63 V in the last 2 s. Raises OSError or ValueError."""
    alarms = [
        sysfs.read(path.replace("/name", "/in0_lcrit_alarm")) != "0"
        for path in sysfs.glob("sys/class/hwmon/hwmon*/name")
        if text_of(sysfs, path) == "rpi_volt"
    ]
    if any(alarms):
        return True
    try:
        return bool(throttled(sysfs) & UNDER_VOLTAGE)
    except FileNotFoundError:
        if alarms:
            return False
        raise


def cpu_thermometer(sysfs: Sysfs) -> str | None:
    """Find the file that holds the temperature of the processor in thousandths of °C; None where there is none."""
    found: dict[str | None, str] = {}
    for path in sysfs.glob("sys/class/thermal/thermal_zone*/type"):
        found.setdefault(text_of(sysfs, path), path.replace("/type", "/temp"))
    for name in THERMAL_ZONES:
        if name in found:
            return found[name]
    chips: dict[str | None, str] = {}
    for path in sysfs.glob("sys/class/hwmon/hwmon*/name"):
        chips.setdefault(text_of(sysfs, path), path.replace("/name", "/temp1_input"))
    return next((chips[name] for name in HWMON_CHIPS if name in chips), None)


def _used_percent(meminfo: str, total: str, free: str) -> float:
    kilobytes = {}
    for line in meminfo.splitlines():
        key, _, amount = line.partition(":")
        if key in {total, free}:
            kilobytes[key] = int(amount.removesuffix("kB"))
    try:
        return 100 * (1 - kilobytes[free] / kilobytes[total])
    except (KeyError, ZeroDivisionError):
        raise ValueError(f"no {total} and {free} in /proc/meminfo") from None


def _percent(measurement: str) -> Channel:
    return Channel(measurement=measurement, unit="%", low=0, high=100, decimals=1)


def _refuse_missing(sysfs: Sysfs, folder: str) -> None:
    """Raise DriverUnavailable where the configured folder cannot be measured: it would be missed by nobody."""
    try:
        sysfs.used_share(folder)
    except OSError as error:
        raise DriverUnavailable(
            f"the disk of /{folder} cannot be measured ({error.strerror}); correct `disk`, or mount it"
        ) from error


def _works(measure: Measure) -> bool:
    try:
        measure()
    except (OSError, ValueError, ZeroDivisionError):
        return False
    return True
