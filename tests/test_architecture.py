"""Who may import whom, what stays pure, and that every module has its own test. Changing a table here is a design
decision and deserves its own commit.
"""

import ast
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# cli -> app -> features -> net, store, auth -> broker -> mqtt; siblings never import each other.
# A part is a module or a package; what it may import of ours besides itself.
ARROWS = {
    "appliance": set(),  # the version
    "appliance.__main__": {"appliance.cli"},
    "appliance.cli": {
        "appliance.accounts",
        "appliance.app",
        "appliance.auth",
        "appliance.build",
        "appliance.clock",
        "appliance.config",
        "appliance.tls_context",
        "appliance.control",
        "appliance.data_dir",
        "appliance.demo",
        "appliance.devices",
        "appliance.encoding",
        "appliance.doctor",
        "appliance.exits",
        "appliance.finding",
        "appliance.hostname",
        "appliance.identity",
        "appliance.listeners",
        "appliance.logs",
        "appliance.mqtt",
        "appliance.net",
        "appliance.places",
        "appliance.private_file",
        "appliance.settings",
        "appliance.store",
        "appliance.timespan",
    },
    "appliance.doctor": {
        "appliance",
        "appliance.accounts",
        "appliance.auth",
        "appliance.clock",
        "appliance.exits",
        "appliance.finding",
        "appliance.hostname",
        "appliance.identity",
        "appliance.interfaces",
        "appliance.listeners",
        "appliance.places",
        "appliance.ports",
        "appliance.settings",
    },
    "appliance.demo": {
        "appliance.app",
        "appliance.data_dir",
        "appliance.exits",
        "appliance.places",
        "appliance.settings",
        "appliance.watchdog",
    },
    "appliance.data_dir": {"appliance.exits", "appliance.private_file"},
    "appliance.ports": {"appliance.exits", "appliance.listeners", "appliance.net", "appliance.settings"},
    "appliance.abouts": {"appliance.accounts", "appliance.broker", "appliance.devices"},
    "appliance.app": {
        "appliance",
        "appliance.abouts",
        "appliance.accounts",
        "appliance.auth",
        "appliance.broker",
        "appliance.build",
        "appliance.clock",
        "appliance.config",
        "appliance.tls_context",
        "appliance.control_socket",
        "appliance.data_dir",
        "appliance.devices",
        "appliance.exits",
        "appliance.features.doorbell",
        "appliance.features.failing",
        "appliance.features.gaps",
        "appliance.features.mdns",
        "appliance.features.recorder",
        "appliance.features.sys_topics",
        "appliance.keeping",
        "appliance.listeners",
        "appliance.memory",
        "appliance.mqtt",
        "appliance.net",
        "appliance.page",
        "appliance.places",
        "appliance.ports",
        "appliance.reloading",
        "appliance.renewing",
        "appliance.settings",
        "appliance.store",
        "appliance.watchdog",
    },
    "appliance.reloading": {
        "appliance.accounts",
        "appliance.config",
        "appliance.tls_context",
        "appliance.net",
        "appliance.revocations",
        "appliance.settings",
    },
    "appliance.revocations": set(),
    "appliance.tls_context": {"appliance.config", "appliance.net", "appliance.pem", "appliance.settings"},
    "appliance.accounts": {
        "appliance.auth",
        "appliance.broker",
        "appliance.config",
        "appliance.devices",
        "appliance.mqtt",
        "appliance.settings",
    },
    "appliance.pairing": {
        "appliance.accounts",
        "appliance.auth",
        "appliance.certified",
        "appliance.clock",
        "appliance.config",
        "appliance.hostname",
        "appliance.listeners",
        "appliance.pake",
        "appliance.settings",
    },
    "appliance.page": {
        "appliance.accounts",
        "appliance.broker",
        "appliance.devices",
        "appliance.features.web",
        "appliance.listeners",
        "appliance.mqtt",
        "appliance.net",
        "appliance.pairing",
        "appliance.settings",
        "appliance.store",
    },
    "appliance.identity": {  # at a start, and once a day
        "appliance.auth",
        "appliance.clock",
        "appliance.interfaces",
        "appliance.places",
        "appliance.private_file",
    },
    "appliance.renewing": {"appliance.clock", "appliance.hostname", "appliance.interfaces"},
    "appliance.keeping": {"appliance.broker", "appliance.net", "appliance.settings", "appliance.store"},
    "appliance.features": set(),
    "appliance.features.doorbell": {"appliance.net"},
    "appliance.features.failing": {"appliance.broker", "appliance.devices", "appliance.store"},
    "appliance.features.gaps": {
        "appliance.broker",
        "appliance.devices",
        "appliance.encoding",
        "appliance.store",
    },
    "appliance.features.mdns": {
        "appliance.hostname",
        "appliance.interfaces",
        "appliance.listeners",
        "appliance.settings",
    },
    "appliance.features.recorder": {
        "appliance.broker",
        "appliance.devices",
        "appliance.mqtt",
        "appliance.net",
        "appliance.settings",
        "appliance.store",
    },
    "appliance.features.sys_topics": {"appliance.broker", "appliance.net"},
    "appliance.features.web": {
        "appliance.broker",
        "appliance.control",
        "appliance.devices",
        "appliance.encoding",
        "appliance.hostname",
        "appliance.mqtt",
        "appliance.net",
        "appliance.pake",
        "appliance.settings",
        "appliance.store",
        "appliance.timespan",
    },
    "appliance.net": {"appliance.broker", "appliance.mqtt", "appliance.pem", "appliance.places", "appliance.settings"},
    "appliance.store": {
        "appliance.broker",
        "appliance.clock",
        "appliance.devices",
        "appliance.encoding",
        "appliance.memory",
        "appliance.mqtt",
        "appliance.private_file",
        "appliance.settings",
        "appliance.thread_state",
    },
    "appliance.auth": {
        "appliance.broker",
        "appliance.encoding",
        "appliance.mqtt",
        "appliance.pake",
        "appliance.private_file",
        "appliance.settings",
    },
    "appliance.broker": {"appliance.mqtt", "appliance.settings"},
    "appliance.mqtt": set(),
    # below everything
    "appliance.build": {"appliance"},
    "appliance.certified": {"appliance.identity", "appliance.places"},
    "appliance.clock": set(),
    "appliance.config": {"appliance.encoding", "appliance.settings", "appliance.toml_lines"},
    "appliance.control": {"appliance.places"},
    "appliance.control_socket": {"appliance.exits", "appliance.net", "appliance.places"},
    "appliance.devices": {"appliance.encoding"},
    "appliance.encoding": set(),
    "appliance.exits": set(),
    "appliance.finding": set(),
    "appliance.hostname": set(),
    "appliance.interfaces": set(),
    "appliance.listeners": {"appliance.settings"},
    "appliance.logs": set(),
    "appliance.memory": set(),
    "appliance.notify": set(),
    "appliance.pake": {"appliance.encoding", "appliance.settings"},
    "appliance.pem": set(),
    "appliance.private_file": set(),
    "appliance.places": set(),
    "appliance.settings": set(),
    "appliance.thread_state": set(),
    "appliance.timespan": set(),
    "appliance.watchdog": {"appliance.notify"},
    "appliance.toml_lines": set(),
    # the agent: of the service it knows the version and what both sides must agree on
    "sensors": set(),
    "sensors.__main__": {"sensors.cli"},
    "sensors.simulate": {"sensors.fleet", "sensors.house", "sensors.output", "sensors.scratch"},
    "sensors.output": set(),
    "sensors.scratch": set(),
    "sensors.fleet": {
        "sensors.agent",
        "sensors.config",
        "sensors.drivers.simulated",
        "sensors.entry",
        "sensors.house",
        "sensors.outbox",
        "sensors.worker",
    },
    "sensors.house": {"sensors.vapour"},
    "sensors.cli": {
        "appliance",
        "appliance.config",
        "appliance.finding",
        "appliance.logs",
        "sensors.agent",
        "sensors.catalogue",
        "sensors.config",
        "sensors.credential",
        "sensors.data_dir",
        "sensors.discovery",
        "sensors.doctor",
        "sensors.inspection",
        "sensors.pairing_client",
        "sensors.keys",
        "sensors.outbox",
        "sensors.output",
        "sensors.pairing",
        "sensors.registry",
        "sensors.simulate",
    },
    "sensors.pairing_client": {
        "appliance.pake",
        "sensors.config",
        "sensors.credential",
        "sensors.discovery",
        "sensors.pairing",
    },
    "sensors.pairing": {"appliance.pake"},
    "sensors.credential": {"appliance.encoding", "appliance.private_file", "sensors.data_dir"},
    "sensors.data_dir": {"appliance.private_file"},
    "sensors.inspection": {
        "sensors.config",
        "sensors.doctor",
        "sensors.driver",
        "sensors.keepsakes",
        "sensors.reading",
        "sensors.sensor",
        "sensors.topics",
        "sensors.worker",
        "sensors.sensor_table",
    },
    "sensors.catalogue": {"appliance.config", "appliance.settings", "sensors.driver", "sensors.registry"},
    "sensors.agent": {
        "appliance",
        "appliance.clock",
        "appliance.devices",
        "appliance.notify",
        "sensors.computer",
        "sensors.config",
        "sensors.crew",
        "sensors.driver",
        "sensors.health",
        "sensors.hw",
        "sensors.interlock",
        "sensors.keepsakes",
        "sensors.leftovers",
        "sensors.link",
        "sensors.namesake",
        "sensors.outbox",
        "sensors.ranges",
        "sensors.reading",
        "sensors.sender",
        "sensors.sensor",
        "sensors.statements",
        "sensors.topics",
        "sensors.watchdog",
        "sensors.waker",
        "sensors.worker",
    },
    "sensors.watchdog": {"appliance.notify", "appliance.thread_state"},
    "sensors.statements": {"sensors.link", "sensors.reasons"},
    "sensors.computer": {"sensors.hw"},
    "sensors.leftovers": {
        "sensors.keepsakes",
        "sensors.link",
        "sensors.reasons",
        "sensors.sensor",
        "sensors.statements",
        "sensors.topics",
    },
    "sensors.commands": {"sensors.driver", "sensors.sensor", "sensors.topics", "sensors.worker"},
    "sensors.crew": {
        "sensors.commands",
        "sensors.sensor_table",
        "sensors.driver",
        "sensors.plausibility",
        "sensors.reading",
        "sensors.schedule",
        "sensors.sensor",
        "sensors.topics",
        "sensors.worker",
    },
    "sensors.sensor": {
        "appliance.devices",
        "sensors.chain",
        "sensors.sensor_table",
        "sensors.derived",
        "sensors.driver",
        "sensors.filters",
        "sensors.health",
        "sensors.plausibility",
        "sensors.reading",
        "sensors.silence",
        "sensors.vapour",
        "sensors.topics",
        "sensors.treatment",
    },
    "sensors.sender": {
        "appliance.encoding",
        "sensors.entry",
        "sensors.link",
        "sensors.outbox",
        "sensors.reasons",
        "sensors.sensor",
        "sensors.topics",
    },
    "sensors.config": {
        "appliance.config",
        "appliance.devices",
        "sensors.conflicts",
        "sensors.credential",
        "sensors.data_dir",
        "sensors.endpoint",
        "sensors.keys",
        "sensors.sensor_table",
        "sensors.topics",
        "sensors.trust",
    },
    "sensors.conflicts": {"appliance.config", "sensors.sensor_table"},
    "sensors.sensor_table": {
        "appliance.config",
        "sensors.catalogue",
        "sensors.driver",
        "sensors.keys",
        "sensors.registry",
        "sensors.topics",
        "sensors.treatment",
    },
    "sensors.keys": {"appliance.settings", "sensors.treatment"},
    "sensors.waker": set(),
    "sensors.worker": {"sensors.driver"},
    "sensors.health": {"appliance.encoding", "sensors.driver"},
    "sensors.calibration": {"sensors.treatment"},
    "sensors.chain": {
        "sensors.calibration",
        "sensors.driver",
        "sensors.filters",
        "sensors.plausibility",
        "sensors.reading",
        "sensors.treatment",
    },
    "sensors.derived": {"sensors.driver", "sensors.vapour"},
    "sensors.vapour": set(),
    "sensors.filters": {"sensors.treatment"},
    "sensors.plausibility": {"appliance.devices", "sensors.driver", "sensors.reading", "sensors.treatment"},
    "sensors.silence": {"sensors.driver"},
    "sensors.treatment": {"sensors.derived"},
    "sensors.topics": {"appliance.devices", "sensors.reading"},
    "sensors.registry": {"sensors.driver"},
    "sensors.drivers": {  # what every driver may import; one that needs more has an entry of its own
        "sensors.driver",
        "sensors.drivers.i2c",
        "sensors.hw",
        "sensors.reading",
    },
    "sensors.drivers.i2c": {"sensors.driver", "sensors.hw", "sensors.reading"},
    "sensors.drivers.dht": {"sensors.driver", "sensors.hw", "sensors.reading"},
    "sensors.drivers.gpio_input": {
        "appliance.settings",
        "sensors.debounce",
        "sensors.driver",
        "sensors.edge_clock",
        "sensors.hw",
        "sensors.reading",
    },
    "sensors.drivers.gpio_output": {
        "appliance.settings",
        "sensors.driver",
        "sensors.hw",
        "sensors.interlock",
        "sensors.reading",
        "sensors.switching",
    },
    "sensors.drivers.host": {"sensors.driver", "sensors.hw", "sensors.reading"},
    "sensors.drivers.pulse_counter": {
        "appliance.settings",
        "sensors.debounce",
        "sensors.driver",
        "sensors.edge_clock",
        "sensors.hw",
        "sensors.keepsakes",
        "sensors.reading",
    },
    "sensors.drivers.ds18b20": {"sensors.driver", "sensors.hw", "sensors.reading"},
    "sensors.drivers.simulated": {
        "sensors.driver",
        "sensors.drivers.ds18b20",  # reads a frame of the house's
        "sensors.drivers.gpio_input",  # on a pin of the house: what is simulated is the pin
        "sensors.house",
        "sensors.hw",
        "sensors.reading",
    },
    "sensors.hw": {"sensors.driver", "sensors.library"},  # the errors that it raises, and their cure
    "sensors.library": set(),
    "sensors.doctor": {
        "appliance.clock",
        "appliance.devices",
        "appliance.finding",
        "sensors.config",
        "sensors.discovery",
        "sensors.driver",
        "sensors.drivers",
        "sensors.drivers.dht",
        "sensors.drivers.ds18b20",
        "sensors.drivers.host",
        "sensors.endpoint",
        "sensors.hw",
        "sensors.library",
        "sensors.link",
        "sensors.sensor_table",
    },
    "sensors.driver": {
        "appliance.devices",
        "sensors.hw",
        "sensors.interlock",
        "sensors.keepsakes",
        "sensors.reading",
    },
    "sensors.debounce": set(),
    "sensors.edge_clock": set(),
    "sensors.interlock": set(),
    "sensors.keepsakes": {"appliance.encoding"},
    "sensors.backoff": set(),
    "sensors.discovery": {"sensors.library"},
    "sensors.endpoint": {"sensors.discovery", "sensors.trust"},
    "sensors.attempt": {"sensors.discovery", "sensors.endpoint", "sensors.trust"},
    "sensors.link": {
        "appliance.config",
        "sensors.attempt",
        "sensors.backoff",
        "sensors.discovery",
        "sensors.endpoint",
        "sensors.reasons",
    },
    "sensors.reasons": set(),
    "sensors.trust": {"appliance.clock", "appliance.pem"},
    "sensors.namesake": {"appliance.encoding"},
    "sensors.entry": set(),
    "sensors.outbox": {"sensors.entry", "sensors.outbox_file", "sensors.ranges"},
    "sensors.outbox_file": set(),
    "sensors.ranges": set(),
    "sensors.reading": set(),
    "sensors.schedule": set(),
    "sensors.switching": set(),
}

# Packages of others stop at the edge.
LIBRARIES = {
    "adafruit_dht": {"sensors.hw"},
    "argon2": {"appliance.auth"},
    "board": {"sensors.hw"},
    "cryptography": {
        "appliance.certified",
        "appliance.doctor",
        "appliance.identity",
        "appliance.revocations",
        "appliance.pake",
    },
    "gpiozero": {"sensors.hw"},
    "ifaddr": {"appliance.interfaces"},
    "lgpio": {"sensors.hw"},
    "msgspec": {
        "appliance.auth",
        "appliance.cli",
        "appliance.config",
        "appliance.devices",
        "appliance.encoding",
        "appliance.features.failing",
        "appliance.features.gaps",
        "appliance.features.web",
        "appliance.listeners",
        "appliance.pake",
        "appliance.settings",
        "appliance.store",
        "sensors.catalogue",
        "sensors.sensor_table",
        "sensors.credential",
        "sensors.driver",
        "sensors.drivers",
        "sensors.drivers.dht",
        "sensors.drivers.ds18b20",
        "sensors.drivers.gpio_input",
        "sensors.drivers.gpio_output",
        "sensors.drivers.host",
        "sensors.drivers.i2c",
        "sensors.drivers.pulse_counter",
        "sensors.drivers.simulated",
        "sensors.health",
        "sensors.hw",
        "sensors.keepsakes",
        "sensors.keys",
        "sensors.namesake",
        "sensors.sender",
        "sensors.treatment",
    },
    "paho": {"appliance.cli", "sensors.attempt", "sensors.link"},
    "spake2": {"appliance.pake"},
    "sqlite_utils": {"appliance.store"},
    "starlette": {"appliance.features.web"},
    "systemd": {"appliance.logs", "appliance.notify"},
    "uvicorn": {"appliance.features.web"},
    "websockets": {"appliance.net"},
    "zeroconf": {"appliance.features.mdns", "sensors.discovery"},
}

# Modules that read no clock, open nothing and wait for nobody: what of the standard library they may use.
PURE = (
    "appliance.mqtt",
    "appliance.broker",
    "appliance.auth.acl",
    "appliance.auth.roles",
    "appliance.auth.turns",
    "sensors.calibration",
    "sensors.chain",
    "sensors.debounce",
    "sensors.derived",
    "sensors.edge_clock",
    "sensors.filters",
    "sensors.plausibility",
    "sensors.house.faults",
    "sensors.house.people",
    "sensors.house.rooms",
    "sensors.house.weather",
    "sensors.schedule",
    "sensors.silence",
    "sensors.switching",
    "sensors.topics",
    "sensors.reading",
)
CALM = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "heapq",
    "ipaddress",
    "itertools",
    "math",
    "mypy_extensions",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "weakref",
}
RESTLESS_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval", "__import__"}

MOST_LINES = 450
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}


class Import(NamedTuple):
    module: str
    line: int
    at_start: bool  # runs when the module is imported


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module
    lines: int


@cache
def modules():
    found = []
    for path in sorted((*ROOT.glob("appliance/**/*.py"), *ROOT.glob("sensors/**/*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        found.append(Module(name, path, ast.parse(text), text.count("\n")))
    assert len(found) > 40
    return found


@cache
def names():
    return {module.name for module in modules()}


def imports(module):
    """Every import of a module, relative ones and those inside functions too."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    return list(_imports(module.tree, package, at_start=True))


def _imports(node, package, *, at_start):
    for child in ast.iter_child_nodes(node):
        inside = at_start
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_for_types(child):
            inside = False
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_start) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                levels = package.split(".")
                assert child.level <= len(levels), f"line {child.lineno} imports from above the package"
                base = ".".join((*levels[: len(levels) - child.level + 1], *filter(None, [base])))
            for alias in child.names:
                whole = f"{base}.{alias.name}"
                yield Import(whole if whole in names() else base, child.lineno, at_start)
        else:
            yield from _imports(child, package, at_start=inside)


def _is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def part_of(module):
    """The part that a module belongs to: itself, or the nearest package that has an entry."""
    while module not in ARROWS:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return None
    return module


def is_ours(name):
    return name.partition(".")[0] in {"appliance", "sensors"}


def each_module():
    return pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


@each_module()
def test_imports_point_downwards(module):
    part = part_of(module.name)
    for name, line, _ in imports(module):
        if is_ours(name) and (other := part_of(name)) != part:
            assert other in ARROWS[part], f"{module.path.name}:{line}: {part} may not import {other}"


@pytest.mark.parametrize("package", ["appliance", "appliance.features", "sensors"])
def test_a_new_module_gets_its_own_entry(package):
    """Or else it would share its package's, which allows nothing."""
    for name in names():
        if name.rpartition(".")[0] == package:
            assert name in ARROWS, f"say in ARROWS what {name} may import"


def test_drivers_do_not_import_each_other():
    """They share an entry, so the arrows do not say it; what chips have in common is another matter."""
    for module in modules():
        if module.name.startswith("sensors.drivers."):
            siblings = {name for name, _, _ in imports(module) if name.startswith("sensors.drivers")}
            allowed = ARROWS.get(module.name, set()) | {"sensors.drivers.barometer", "sensors.drivers.i2c"}
            assert siblings <= allowed, module.name


@pytest.mark.parametrize("part", ARROWS)
def test_no_entry_is_left_of_a_part_that_is_gone(part):
    assert part in names()
    assert ARROWS[part] <= set(ARROWS)


def test_the_service_never_imports_the_agent():
    for part, allowed in ARROWS.items():
        if part.partition(".")[0] == "appliance":
            assert not {other for other in allowed if other.partition(".")[0] == "sensors"}


def test_only_the_top_reads_the_configuration_file():
    assert {part for part, allowed in ARROWS.items() if "appliance.config" in allowed} == {
        "appliance.cli",
        "appliance.accounts",
        "appliance.app",
        "appliance.pairing",  # the kind of error alone, of rules that do not read
        "appliance.tls_context",
        "appliance.reloading",
        "sensors.catalogue",  # the types alone
        "sensors.cli",
        "sensors.config",
        "sensors.conflicts",
        "sensors.link",  # the kind of error alone
        "sensors.sensor_table",
    }


def test_the_parts_have_an_order():
    """No two parts of the service need each other, not even over a third."""
    order = _sorted({part: allowed for part, allowed in ARROWS.items() if part.startswith("appliance")})
    assert order.index("appliance.mqtt") < order.index("appliance.broker") < order.index("appliance.net")


def test_modules_do_not_import_each_other_in_a_ring():
    graph = {}
    for module in modules():
        needed = {name for name, _, at_start in imports(module) if at_start and name in names()}
        graph[module.name] = needed - {module.name}
    assert len(_sorted(graph)) == len(graph)


def _sorted(graph):
    """Order the nodes so that each comes after what it needs; a ring fails and is named."""
    order, trail = [], []

    def visit(node):
        if node in order:
            return
        assert node not in trail, f"a ring of imports: {' -> '.join([*trail[trail.index(node) :], node])}"
        trail.append(node)
        for needed in sorted(graph[node]):
            visit(needed)
        order.append(trail.pop())

    for node in sorted(graph):
        visit(node)
    return order


@each_module()
def test_packages_of_others_stay_at_the_edge(module):
    for name, line, _ in imports(module):
        library = name.partition(".")[0]
        if is_ours(name) or library in sys.stdlib_module_names:
            continue
        assert part_of(module.name) in LIBRARIES.get(library, ()), (
            f"{module.path.name}:{line}: {library} does not belong here"
        )


@each_module()
def test_the_database_is_opened_in_the_store_alone(module):
    if any(name == "sqlite3" for name, _, _ in imports(module)):
        assert part_of(module.name) in {"appliance.store", "sensors.outbox", "sensors.outbox_file"}


PURE_MODULES = [m for m in modules() if any(m.name == p or m.name.startswith(f"{p}.") for p in PURE)]


@pytest.mark.parametrize("module", PURE_MODULES, ids=lambda module: module.name)
def test_pure_parts_stay_pure(module):
    for name, line, _ in imports(module):
        assert is_ours(name) or name.partition(".")[0] in CALM, f"{module.path.name}:{line}: {name} in a pure part"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in RESTLESS_CALLS, f"{module.path.name}:{node.lineno}: {node.func.id}()"
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await)), f"{module.path.name}:{node.lineno}"


def has_code(module):
    """Whether a package's own file holds more than its sentence and constants."""
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) for node in module.tree.body)


def own_test(module):
    """tests/ mirrors the packages; a package's own file is tested beside the package."""
    *above, last = module.name.split(".")
    return ROOT.joinpath("tests", *above, f"test_{last}.py")


@each_module()
def test_every_module_has_its_own_test(module):
    if module.path.name == "__main__.py" or (module.path.name == "__init__.py" and not has_code(module)):
        return
    assert own_test(module).exists(), f"{own_test(module).relative_to(ROOT)} is missing"


@each_module()
def test_a_module_holds_one_noun(module):
    assert module.lines <= MOST_LINES, f"{module.lines} lines usually hold a second noun"
    assert not VAGUE & set(module.path.stem.split("_")), f"{module.path.stem} is not a noun here"


@each_module()
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(module.tree)


RELATIVE = [
    ("appliance.net.hub", "from . import tcp", {"appliance.net.tcp"}),
    ("appliance.net.hub", "from ..broker.core import Broker", {"appliance.broker.core"}),
    ("appliance.net.hub", "def f():\n    from .. import broker", {"appliance.broker"}),
    ("appliance.net.hub", "import appliance.store.database as d, socket", {"appliance.store.database", "socket"}),
    ("appliance.net.hub", "from appliance.broker import core, nothing", {"appliance.broker.core", "appliance.broker"}),
]


@pytest.mark.parametrize(("name", "text", "expected"), RELATIVE)
def test_relative_imports_are_understood(name, text, expected):
    module = Module(name, ROOT.joinpath(*name.split(".")).with_suffix(".py"), ast.parse(text), 1)
    assert {found.module for found in imports(module)} == expected


def test_a_ring_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    with pytest.raises(AssertionError, match="b -> c -> b"):
        _sorted(graph)
