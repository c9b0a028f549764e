"""What the README says is true: commands, settings, topics, exit codes."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from appliance.cli import build_parser
from appliance.config import Document
from appliance.exits import Exit
from appliance.settings import Rule, Rules, Settings, described
from sensors.catalogue import keys_of, kind_of
from sensors.cli import _parser as build_sensors_parser
from sensors.drivers.gpio_input import WIRINGS
from sensors.drivers.pulse_counter import METERS
from sensors.keys import Broker, Keys, OutboxBounds, SensorKeys
from sensors.registry import KINDS, driver_class
from sensors.sensor_table import read_sensor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BACKSLASH = "\\"
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/appliance demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"


def row(setting, table=""):
    name = ".".join(part for part in (table, setting.section, setting.name) if part)
    default = "required" if setting.default is msgspec.NODEFAULT else written(setting.default)
    help_text = setting.help.replace("<", "\\<")  # Markdown would take it for HTML
    return f"| `{name}` | {default} | {help_text} |"


def key_row(key, table=""):
    name = f"{table}.{key.name}" if table else key.name
    default = "required" if key.required else written(key.default)
    takes = "an address of the chip's" if key.name == "address" else key.takes  # one row for all chips
    return f"| `{name}` | {default} | {takes} | {key.help.replace('<', BACKSLASH + '<')} |"


def written(default):
    if default is None:
        return "none"
    return f"`{json.dumps(default)}`"


def settings_tables():
    """Give the README's tables of settings: title -> rows."""
    tables = {"appliance.toml": [row(setting) for setting in described(Settings)]}
    agent = {"": Keys, "broker": Broker, "outbox": OutboxBounds, "sensor": SensorKeys}
    tables["sensors.toml"] = [
        key_row(key, name) for name in agent for key in keys_of(agent[name]) if key.name != "sensor"
    ]
    tables["rules.toml"] = [row(setting, "rule") for setting in described(Rule)]
    for kind in KINDS:
        tables[kind] = [key_row(key) for key in kind_of(kind).keys]
    return tables


def blocks(language, text=README):
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [dedent(text) for _, text in found]


@pytest.mark.parametrize("row", [row for rows in settings_tables().values() for row in rows])
def test_every_setting_has_its_row(row):
    assert row in README


def test_no_row_is_left_of_a_setting_that_is_gone():
    rows = {row for rows in settings_tables().values() for row in rows}
    for table in re.findall(
        r"^\| setting \| default \|(?: takes \|)? what it is \|\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE
    ):
        assert set(table.splitlines()) <= rows


I2C_KINDS = [kind for kind in KINDS if hasattr(driver_class(kind), "addresses")]


@pytest.mark.parametrize("kind", I2C_KINDS)
def test_every_chip_has_its_row(kind):
    driver = driver_class(kind)
    measures = ", ".join(f"{channel.measurement} in {channel.unit}" for channel in driver.channels)
    addresses = ", ".join(f"{address:#04x}" for address in driver.addresses)
    assert f"\n| `{kind}` | {measures} | {addresses} | " in README


@pytest.mark.parametrize("input_", WIRINGS)
def test_the_usual_wiring_of_every_input_has_its_row(input_):
    usual = WIRINGS[input_]
    assert f"\n| `{input_}` | `{usual.pull}` | `{usual.active}` | {usual.debounce_s:g} | " in README


@pytest.mark.parametrize("counts", METERS)
def test_every_meter_has_its_row(counts):
    meter = METERS[counts]
    units = ", ".join(f"`{unit}`" for unit in meter.units)
    rates = ", ".join(dict.fromkeys(unit for unit, _ in meter.units.values()))
    assert f"\n| `{counts}` | {units} | `{meter.rate}` in {rates} | {meter.debounce_s:g} |\n" in README


@pytest.mark.parametrize("kind", I2C_KINDS)
def test_the_library_of_every_chip_is_asked_for(kind):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    module = driver_class(kind).library.partition(":")[0].partition(".")[0]
    package = module.replace("adafruit_", "adafruit-circuitpython-") + ">="
    for extra in ("hardware", "test"):
        assert any(wanted.startswith(package) for wanted in extras[extra])


def test_the_example_of_a_new_kind_is_the_real_one():
    driver, row, test = blocks("python")
    assert driver == (ROOT / "sensors/drivers/bh1750.py").read_text()
    assert row in (ROOT / "sensors/registry.py").read_text().replace("    ", "")
    assert test in (ROOT / "tests/sensors/drivers/test_bh1750.py").read_text()


def test_the_five_minute_start_is_two_commands():
    assert README.count(INSTALL) == 1
    assert README.count(TEST) == 1


def command_lines():
    """Every command of ours in a shell block, without the way to it."""
    for block in blocks("sh"):
        for line in block.splitlines():
            for part in line.split(" && "):
                words = shlex.split(part.partition("  #")[0])
                if words and words[0].removeprefix(".venv/bin/") in {"appliance", "sensors"}:
                    yield pytest.param(words, id=part.strip())


@pytest.mark.parametrize("words", list(command_lines()))
def test_every_command_shown_is_understood(words):
    parser = build_parser() if words[0].endswith("appliance") else build_sensors_parser()
    parser.parse_args(words[1:])  # a mistake ends the test with SystemExit


def development_commands():
    """Every command of a shell block for who works on the project; pytest is running already."""
    section = README.partition("\n## Development\n")[2].partition("\n## ")[0]
    for block in blocks("sh", section):
        for line in block.splitlines():
            for part in line.partition("  #")[0].split(" && "):
                if "bin/pytest" not in part:
                    yield pytest.param(shlex.split(part), id=part.strip())


@pytest.mark.parametrize("words", list(development_commands()))
def test_every_command_for_developers_starts(words):
    name = words[0].removeprefix(".venv/bin/")
    program = sys.executable if name == "python" else Path(sys.executable).with_name(name)
    done = subprocess.run([program, *words[1:], "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout.lower()


def test_the_commands_for_developers_are_those_of_the_tests():
    shown = {word for param in development_commands() for word in param.values[0] if word.startswith("tests.")}
    commands = {f"tests.{path.parent.name}" for path in (ROOT / "tests").glob("*/__main__.py")}
    assert shown == {*commands, "tests.benchmarks.agent", "tests.benchmarks.history"}


@pytest.mark.parametrize(("parser", "name"), [(build_parser(), "appliance"), (build_sensors_parser(), "sensors")])
def test_every_command_is_shown(parser, name):
    (commands,) = (action for action in parser._actions if action.choices)
    for command in commands.choices:
        assert f"`{name} {command}" in README or f"{name} {command}" in "".join(blocks("sh"))


def test_every_example_of_a_configuration_is_good():
    examples = blocks("toml")
    assert examples
    for example in examples:
        document = Document(Path("README.md"), example)
        if "sensor" not in document.data:
            document.convert(Rules if "rule" in document.data else Settings)
            continue
        document.convert(Keys)
        for number, table in enumerate(document.data["sensor"]):
            assert read_sensor(document, number).name == table["name"]


@pytest.mark.parametrize("code", [code for code in Exit if code is not Exit.OK])
def test_every_exit_code_is_explained(code):
    assert re.search(rf"^\| {int(code)} \| \w", README, re.MULTILINE)


TOPICS = [
    "<site>/<room>/<measurement>",
    "<site>/<room>/<label>/<measurement>",
    "<site>/<room>/<event>",
    "<site>/<room>/<actuator>/set",
    "<site>/devices/<agent>/availability",
    "<site>/devices/<agent>/<sensor>/availability",
    "<site>/devices/<agent>/about",
    "<site>/devices/<agent>/backlog",
    "<site>/devices/<agent>/health",
]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_described(topic):
    assert re.search(rf"^\| `{re.escape(topic)}` \|", README, re.MULTILINE)


def test_every_link_within_it_leads_to_a_heading():
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    links = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert len(links) > 10
    assert links - headings == set()
