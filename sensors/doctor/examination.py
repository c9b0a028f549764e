"""Gathers the facts, in an order that disturbs nobody, and lets the rules judge them."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from appliance.clock import SYNCED, clock_quality
from appliance.finding import Finding, note, wrong
from sensors.config import SensorsConfig
from sensors.discovery import look
from sensors.doctor.boot import boot_config
from sensors.doctor.broker import broker_finding
from sensors.doctor.chips import chip_findings
from sensors.doctor.computer import Computer, computer_findings
from sensors.doctor.holder import holder_of
from sensors.doctor.one_wire import OneWire, one_wire_findings
from sensors.doctor.pairing import pairing_findings
from sensors.doctor.pins import Follows, floating_findings, line_findings
from sensors.doctor.premises import Premises, premises_findings
from sensors.doctor.pulses import PULL_UP, Pulses, dht_finding, overlay_finding
from sensors.doctor.wants import Want, wants
from sensors.driver import BadFrame, DriverUnavailable, SensorError
from sensors.drivers.dht import SHEETS, Dht
from sensors.drivers.host import throttled, under_voltage
from sensors.endpoint import Look
from sensors.hw.dht_iio import KERNEL_LOG, DhtIio, find
from sensors.hw.gpiochips import Chips, KernelChips, Line, Program, programs
from sensors.hw.i2c import I2cBus, open_bus
from sensors.hw.i2c_scan import Scan, scan
from sensors.hw.permissions import Library, Node, has_library, is_container, lgpio_library, nodes, owner_of, user_name
from sensors.hw.sysfs import Sysfs, SysfsTree
from sensors.library import cure

BOOT_CONFIGS = ("boot/firmware/config.txt", "boot/config.txt")
SETTLE_S = 0.005  # for a weak resistor to move a metre of cable
DHT_ASKS = 3
DHT_PAUSE_S = 2.1  # the sensor needs 2 s between two answers
DHT_START_S = 0.02  # a DHT11 wants 18 ms
DHT_LISTEN_S = 0.05  # an answer takes 5 ms


@dataclass(frozen=True, kw_only=True)
class World:
    """What is looked at; tests hand in another one."""

    root: Path = Path("/")
    sysfs: Sysfs = field(default_factory=SysfsTree)
    chips: Chips = field(default_factory=KernelChips)
    i2c: Callable[[int], I2cBus] = open_bus
    nodes: Callable[[], tuple[Node, ...]] = nodes
    programs: Callable[[], tuple[Program, ...]] = programs
    library: Callable[[], Library] = lgpio_library
    has_library: Callable[[str], bool] = has_library
    holder: Callable[[Path], int | None] = holder_of
    now: Callable[[], float] = time.time
    clock_quality: Callable[[], str] = clock_quality
    sleep: Callable[[float], None] = time.sleep
    look: Look = look


class Examination:
    """One look at a computer with a configuration. Each step gives its findings; a step that fails is one itself."""

    def __init__(self, config: SensorsConfig, world: World) -> None:
        self._config = config
        self._world = world
        self._wants = wants(config)

    def findings(self) -> Iterator[Finding]:
        """Look at everything, the quick and harmless first."""
        for about, step in (
            ("computer", self._look_at_computer),
            ("libraries", self._look_at_libraries),
            ("premises", self._look_at_premises),
            ("broker", self._look_at_broker),
            ("1-Wire", self._look_at_one_wire),
            ("I²C", self._look_at_buses),
            ("DHT", self._look_at_kernel_dht),
            ("GPIO", self._look_at_pins),
        ):
            try:
                yield from step()
            except Exception as error:  # noqa: BLE001 what one look stumbles over must not hide the others
                words = " ".join(str(error).split())
                yield wrong(about, f"it could not be looked at ({type(error).__name__}: {words})", "report this")

    @cached_property
    def agent(self) -> int | None:
        """The process of the running agent; 0 where this user may not know."""
        try:
            return self._world.holder(self._config.outbox_path)
        except PermissionError:
            return 0

    @cached_property
    def computer(self) -> Computer:
        """The facts of the computer."""
        world = self._world
        found = world.nodes()
        labels = []
        for node in found:
            if node.path.startswith("/dev/gpiochip") and node.may_open:
                with suppress(OSError):
                    labels.append((node.path, world.chips.label(node.path)))
        boot_path, boot_text = next(
            ((f"/{path}", text) for path in BOOT_CONFIGS if (text := _text(world.sysfs, path)) is not None), ("", "")
        )
        bits = supply = None
        with suppress(OSError, ValueError):
            bits = throttled(world.sysfs)
        with suppress(OSError, ValueError):
            supply = under_voltage(world.sysfs)
        model = _text(world.sysfs, "proc/device-tree/model") or ""
        return Computer(
            model=model,
            user=user_name(),
            is_container=is_container(world.root),
            nodes=found,
            labels=tuple(labels),
            boot=boot_config(boot_path, boot_text, model),
            lgpio=world.library(),
            throttled=bits,
            under_voltage=supply,
        )

    def _look_at_computer(self) -> list[Finding]:
        return computer_findings(self.computer, self._wants)

    def _look_at_broker(self) -> Iterator[Finding]:
        found = broker_finding(self._config.endpoint, agent_runs=self.agent is not None)
        yield found
        yield from pairing_findings(self._config, is_let_in=found.level == "note", look=self._world.look)

    def _look_at_libraries(self) -> Iterator[Finding]:
        needed: dict[str, list[str]] = {}
        for want in self._wants:
            if want.library and not self._is_the_kernels(want):
                needed.setdefault(want.library, []).append(want.sensor)
        for name, sensors in needed.items():
            if not self._world.has_library(name):
                yield wrong(name, f"the library {name}, which {', '.join(sensors)} needs, is not installed", cure(name))

    def _is_the_kernels(self, want: Want) -> bool:
        """Whether a DHT sensor is read without a library."""
        if want.kind != "dht" or want.pin is None:
            return False
        with suppress(DriverUnavailable):
            return want.pulses == "kernel" or (want.pulses == "auto" and find(self._world.sysfs, want.pin) is not None)
        return True  # by the kernel, which cannot tell them apart

    def _look_at_premises(self) -> list[Finding]:
        outbox = self._config.outbox_path
        place = next(path for path in (outbox, *outbox.parents) if _is_there(path))
        directory = place if place.is_dir() else place.parent
        seen = Premises(
            outbox=outbox,
            user=user_name(),
            in_the_way=place if place.is_dir() is (place == outbox) else None,
            has_directory=place in (outbox, outbox.parent),
            outbox_owner=owner_of(place),
            is_on_hardware=any(want.pin is not None or want.bus is not None for want in self._wants),
            may_write=os.access(place, os.W_OK) and os.access(directory, os.W_OK | os.X_OK),
            read_only=bool(os.statvfs(directory).f_flag & os.ST_RDONLY),
            free_bytes=shutil.disk_usage(directory).free,
            agent=self.agent or None,
            is_hidden=self.agent == 0,
            now_s=self._world.now(),
            is_synced=self._world.clock_quality() == SYNCED,
        )
        return premises_findings(seen, outbox_bytes=self._config.outbox.max_bytes)

    def _look_at_one_wire(self) -> list[Finding]:
        names = [path.rpartition("/")[2] for path in self._world.sysfs.glob("sys/bus/w1/devices/*")]
        masters = tuple(name for name in names if name.startswith("w1_bus_master"))
        return one_wire_findings(
            OneWire(masters, tuple(name for name in names if name not in masters)), self.computer, self._wants
        )

    def _look_at_buses(self) -> Iterator[Finding]:
        for number in sorted({want.bus for want in self._wants if want.bus is not None}):
            path = f"/dev/i2c-{number}"
            if not any(node.path == path and node.may_open for node in self.computer.nodes):
                continue  # told already
            if self.agent is not None:
                who = f"the running agent (process {self.agent}) talks" if self.agent else "an agent may talk"
                yield note(path, f"{who} to its chips; it is not scanned", "stop the agent and look again")
                continue
            try:
                seen = scan(self._world.i2c(number), number)
            except DriverUnavailable as error:
                seen = Scan(number, trouble=str(error))
            yield from chip_findings(seen, self._wants)

    def _look_at_kernel_dht(self) -> Iterator[Finding]:
        """Ask the DHT sensors that the kernel's driver reads: it holds their lines, so that their edges are its own."""
        for want in self._wants:
            if want.kind != "dht" or want.pin is None or want.pulses not in {"auto", "kernel"}:
                continue
            try:
                if (device := find(self._world.sysfs, want.pin)) is not None and self.agent is None:
                    yield from self._ask_kernel(want)
                elif device is None and want.pulses == "kernel":
                    yield overlay_finding(want, self.computer)
            except DriverUnavailable as error:
                what, _, cure = str(error).partition("; ")
                yield wrong(f"GPIO{want.pin} ({want.sensor})", what, cure or "give each a dtoverlay line with its pin")

    def _ask_kernel(self, want: Want) -> Iterator[Finding]:
        world, pin = self._world, want.pin or 0

        def wait(seconds: float) -> bool:
            world.sleep(seconds)
            return False

        sensor = DhtIio(world.sysfs, SHEETS[want.model].kind, pin, wait=wait, kernel_log=world.root / KERNEL_LOG)
        try:
            Dht(sensor, want.model, DHT_ASKS).read()
        except SensorError as error:
            cure = PULL_UP if type(error) is BadFrame else f"then look again with `sensors read {want.sensor}`"
            yield wrong(f"GPIO{pin} ({want.sensor})", f"the kernel's driver cannot read it: {error}", cure)

    def _look_at_pins(self) -> Iterator[Finding]:
        header = self.computer.header
        on_pins = [want for want in self._wants if want.pin is not None]
        if header is None or not on_pins:
            return
        lines = self._lines(header, on_pins)
        who = self._world.programs() if any(line.used for line in lines.values()) else ()
        yield from line_findings(lines, on_pins, agent=self.agent or None, programs=who)
        # An output would be switched, and a line that the agent may take any moment is the agent's.
        free = [
            want
            for want in on_pins
            if self.agent is None and not want.is_output and not lines.get(want.pin or 0, Line(used=True)).used
        ]
        follows: dict[int, Follows] = {}
        for want in free:
            if want.pin is not None and want.pin not in follows:
                try:
                    follows[want.pin] = self._follows(header, want.pin)
                except OSError as error:
                    about = f"GPIO{want.pin} ({want.sensor})"
                    yield wrong(about, f"it could not be looked at ({error.strerror or error})", "look again")
        yield from floating_findings(follows, free)
        for want in free:
            if want.kind == "dht" and want.pin in follows and not follows[want.pin].is_floating:
                yield self._ask_dht(header, want)

    def _lines(self, header: str, on_pins: Sequence[Want]) -> dict[int, Line]:
        lines = {}
        for want in on_pins:
            if want.pin is not None:
                with suppress(OSError):  # a line that the chip does not have
                    lines[want.pin] = self._world.chips.line(header, want.pin)
        return lines

    def _follows(self, header: str, pin: int) -> Follows:
        """Draw a pin up and down with the Pi's own resistor, and look."""
        up, down = (self._world.chips.drawn(header, pin, up=up, settle_s=SETTLE_S) for up in (True, False))
        return Follows(up, down)

    def _ask_dht(self, header: str, want: Want) -> Finding:
        """Ask a few times: one answer of ten is damaged on a busy computer, and that is no fault."""
        answers: list[Pulses] = []
        for _ in range(DHT_ASKS):
            if answers:
                self._world.sleep(DHT_PAUSE_S)
            try:
                edges = self._world.chips.edges(header, want.pin or 0, low_s=DHT_START_S, listen_s=DHT_LISTEN_S)
            except OSError as error:
                about = f"GPIO{want.pin} ({want.sensor})"
                return wrong(about, f"the sensor could not be asked ({error.strerror or error})", "look again")
            answers.append(Pulses(edges))
            if answers[-1].is_good:
                break
        return dht_finding(want, answers)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a directory that is not ours to look into
        return False


def _text(sysfs: Sysfs, path: str) -> str | None:
    try:
        return sysfs.read(path)
    except OSError:
        return None
