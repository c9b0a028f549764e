"""What the drivers of all chips on the I²C bus have in common: finding one, asking it, starting anew after a failure.

Each chip is a file beside this one: a class with a table of facts and a `measure` of a line or two.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from msgspec import Meta

from sensors.driver import Channel, Disconnected, DriverContext, DriverUnavailable, SensorError
from sensors.hw.i2c import I2cBus, I2cPort, absent, line_fault, load, open_bus
from sensors.reading import Reading

SLACK_S = 2.0  # how much earlier than `timeout_s` the chip is given up


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a sensor on the I²C bus."""

    bus: Annotated[int, Meta(ge=0, le=255, description="Number of the bus: 1 is /dev/i2c-1.")] = 1
    address: int | None = None  # each chip's own Options narrow it


class I2cDriver:
    """One chip. A failed read leaves nothing of Adafruit's object: the next begins with a new one and a reset chip."""

    Options: ClassVar[type[msgspec.Struct]]  # made of `keys` and `addresses`

    keys: ClassVar[type[Keys]] = Keys  # a chip with keys of its own has a struct made of this one
    library: ClassVar[str]  # module:class of Adafruit's driver
    addresses: ClassVar[tuple[int, ...]]
    channels: tuple[Channel, ...]
    model: str | None
    serial_number: str | None = None
    interval_s: ClassVar[float] = 30.0
    min_interval_s: ClassVar[float] = 1.0
    timeout_s: ClassVar[float] = 10.0

    def __init_subclass__(cls) -> None:
        """Let the options allow the chip's own addresses."""
        help_text = "Where the chip answers; without it, the one of its addresses that answers."
        literal, annotated = cast("Any", Literal), cast("Any", Annotated)  # made of values, which no checker can read
        cure = f"give {' or '.join(f'{address:#04x}' for address in cls.addresses)}, without quotation marks"
        address = annotated[literal[cls.addresses] | None, Meta(description=help_text, extra={"cure": cure})]
        cls.Options = msgspec.defstruct(
            "Options",
            [("address", address, None)],
            bases=(cls.keys,),
            namespace={"__doc__": f"Keys of a {cls.__name__} on the I²C bus."},
            module=cls.__module__,
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
        )

    @classmethod
    def build(cls, options: msgspec.Struct, context: DriverContext) -> "I2cDriver":
        """Open the bus and look for the chip; one that is away may come later. Raises DriverUnavailable."""
        asked = cast("Keys", options)
        bus = (context.i2c or partial(open_bus, root=context.sysfs_root))(asked.bus)
        driver = cls(bus, asked, load(cls.library), context)
        try:
            driver.look()
        except DriverUnavailable:
            driver.close()
            raise
        except SensorError:
            pass  # the first read says it, and each tries again
        return driver

    def __init__(self, bus: I2cBus, options: Keys, chip: Callable[..., Any], context: DriverContext) -> None:
        self._bus = bus
        self._name = context.name
        self._address = options.address
        self.options = options
        self._make = chip
        self._chip: Any = None
        self.clock = context.clock
        self._port = I2cPort(bus, self.fault_of, context.clock)

    @abstractmethod
    def measure(self, chip: Any) -> Sequence[float]:
        """Ask Adafruit's object; a value for each channel, or none at all while there is no measurement yet."""

    def begin(self, chip: Any) -> str | None:
        """Get a found chip ready; gives its serial number, if it has one."""

    def fault_of(self, frame: bytes) -> str:
        """Say what is wrong with the bytes of a frame; empty when nothing is."""
        return line_fault(frame)

    def look(self) -> None:
        """Find the chip and get it ready. Raises SensorError."""
        self._guarded(lambda: None)

    def read(self) -> Sequence[Reading]:
        """Measure once. Raises SensorError."""
        try:
            values: Sequence[float] = self._guarded(lambda: self.measure(self._chip))
        except SensorError as error:
            error.raw = self._port.raw
            raise
        if not values:
            return []
        raw = self._port.raw
        return [
            Reading(channel.measurement, value, raw=raw) for channel, value in zip(self.channels, values, strict=True)
        ]

    def close(self) -> None:
        """See Driver."""
        self._port.close()
        self._bus.release(self._name)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        self._port.allow(self.timeout_s - SLACK_S)
        try:
            if self._chip is None:
                self._chip = self._find()
            return call()
        except SensorError:
            self._chip = None
            raise
        except Exception as error:
            self._chip = None
            raise self._explained(error, self._address or self.addresses[0]) from error

    def _find(self) -> Any:
        """Make Adafruit's object for the one address that is ours, and get its chip ready."""
        if self._address is None:
            places = [address for address in self.addresses if self._bus.is_free(address, self._name)]
        else:
            self._bus.claim(self._address, self._name)
            places = [self._address]
        found: dict[int, tuple[Any, str | None]] = {}
        failures: list[SensorError] = []
        for address in places:
            try:
                chip = self._make(self._port, address)
                found[address] = chip, self.begin(chip)
            except Exception as error:  # noqa: BLE001 what Adafruit's drivers raise
                failures.append(self._explained(error, address, is_known=False))
        if len(found) != 1:
            raise self._none_or_many(found, failures, places)
        ((address, (chip, serial)),) = found.items()
        self._bus.claim(address, self._name)
        self._address = address
        self.serial_number = serial or self.serial_number
        return chip

    def _none_or_many(self, found: Collection[int], failures: list[SensorError], places: list[int]) -> SensorError:
        if found:
            several = " and ".join(f"{address:#04x}" for address in found)
            return DriverUnavailable(
                f"there is a {self.model} at {several} of {self._bus.name}; name one with `address`"
            )
        # A chip of the wrong kind, or a damaged answer, says more than an address where nobody is.
        telling = next((failure for failure in failures if not isinstance(failure, Disconnected)), None)
        if telling is not None:
            return telling
        if places:
            everywhere = " or ".join(f"{address:#04x}" for address in places)
            return absent(self.model or type(self).__name__, f"at {everywhere} on {self._bus.name}")
        return DriverUnavailable(f"other sensors read all that a {self.model} could be on {self._bus.name}")

    def _explained(self, error: Exception, address: int, *, is_known: bool = True) -> SensorError:
        return self._port.explain(error, self.model or type(self).__name__, address, is_known=is_known)
