"""What each configured sensor needs of the computer."""

from dataclasses import dataclass

from sensors.config import SensorsConfig
from sensors.sensor_table import SensorConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """The pin, the bus or the wire of one sensor."""

    sensor: str
    kind: str
    pin: int | None = None
    pulses: str = ""  # how a DHT sensor is measured: auto, kernel …
    is_output: bool = False  # never probed: that could switch it
    is_contact: bool = False  # an open one looks like nothing at all
    bus: int | None = None
    addresses: tuple[int, ...] = ()  # where its chip may answer
    model: str = ""
    library: str = ""  # that its driver imports, beside lgpio
    one_wire: str | None = None  # the id of its device; empty: whichever is there


CONTACTS = ("door", "window", "leak", "smoke", "button")
"""What is a contact among the things on a pin; a motion sensor drives its pin itself."""


def wants(config: SensorsConfig) -> list[Want]:
    """Give the needs of all sensors that have any."""
    found = (_want(sensor) for sensor in config.sensors)
    return [want for want in found if want.pin is not None or want.bus is not None or want.one_wire is not None]


LIBRARIES = {"dht": "adafruit_dht", "gpio_input": "gpiozero", "gpio_output": "gpiozero", "pulse_counter": "gpiozero"}


def _want(sensor: SensorConfig) -> Want:
    options = sensor.options
    asked = getattr(options, "address", None)
    kind = sensor.keys.kind
    return Want(
        sensor=sensor.name,
        kind=kind,
        pin=getattr(options, "pin", None),
        pulses=getattr(options, "pulses", ""),
        is_output=hasattr(sensor.driver, "switch"),
        is_contact=kind == "pulse_counter" or getattr(options, "input", "") in CONTACTS,
        bus=getattr(options, "bus", None),
        addresses=(asked,) if asked is not None else getattr(sensor.driver, "addresses", ()),
        model=getattr(options, "model", None) or getattr(sensor.driver, "model", None) or kind,
        library=LIBRARIES.get(kind) or getattr(sensor.driver, "library", "").partition(":")[0].partition(".")[0],
        one_wire=(getattr(options, "id", None) or "") if kind == "ds18b20" else None,
    )
