"""The filter `boot_lines`: the lines of a Pi's config.txt that its sensors need."""

from collections.abc import Iterable, Mapping
from typing import Any

I2C_KINDS = frozenset({"aht20", "bh1750", "bme280", "bmp280", "scd4x", "sht31", "sht4x"})
I2C = "dtparam=i2c_arm=on"
ONE_WIRE = "dtoverlay=w1-gpio"
DHT = "dtoverlay=dht11,gpiopin={pin}"
HEADER_BUS = 1
KERNEL_TIMES = {"auto", "kernel"}  # values of `pulses` with which the kernel reads a DHT sensor where it can


def boot_lines(sensors: Iterable[Any]) -> list[str]:
    """Give the lines for the sensors of an inventory; one that is wrong needs none, the check names it."""
    tables = [sensor for sensor in sensors if isinstance(sensor, Mapping)]
    lines = []
    if any(sensor.get("kind") in I2C_KINDS and sensor.get("bus", HEADER_BUS) == HEADER_BUS for sensor in tables):
        lines.append(I2C)
    if any(sensor.get("kind") == "ds18b20" for sensor in tables):
        lines.append(ONE_WIRE)
    dht = [sensor for sensor in tables if sensor.get("kind") == "dht" and "pin" in sensor]
    lines += [DHT.format(pin=sensor["pin"]) for sensor in dht if sensor.get("pulses", "auto") in KERNEL_TIMES]
    return lines


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Any]:
        """Name the filters."""
        return {"boot_lines": boot_lines}
