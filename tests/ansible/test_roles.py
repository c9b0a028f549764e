"""The roles' variables are said once: defaults, argument specifications and the README's table agree."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "ansible" / "roles"
README = (ROOT / "README.md").read_text()
NAMES = sorted(path.name for path in ROLES.iterdir())


def read(path):
    return yaml.safe_load(path.read_text()) or {}


def options(role):
    """Give what a role says of its variables."""
    return read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]


def defaults(role):
    return read(ROLES / role / "defaults" / "main.yml")


def told(role, name):
    """How the README tells a default: as JSON, or in the words of the specification where it is computed."""
    default, said = defaults(role)[name], options(role)[name].get("default")
    if said is not None and said != default:
        return str(said)
    return f"`{json.dumps(default)}`"


def rows():
    for role in NAMES:
        for name, option in options(role).items():
            yield f"| `{name}` | {told(role, name)} | {option['description']} |"


@pytest.mark.parametrize("role", NAMES)
def test_what_can_be_set_is_described_and_has_a_default(role):
    assert set(options(role)) == set(defaults(role))
    assert all(name.startswith(f"{role}_") for name in defaults(role))


@pytest.mark.parametrize("row", list(rows()))
def test_every_variable_has_its_row(row):
    assert row in README


def test_no_row_is_left_of_a_variable_that_is_gone():
    table = README.partition("| variable | default | what it is |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == list(rows())


def keys(value):
    """Give the keys of a table and of all tables in it."""
    for key, inner in value.items():
        yield key
        if isinstance(inner, dict):
            yield from keys(inner)


def test_the_example_of_an_inventory_sets_nothing_that_there_is_not():
    example = (ROOT / "ansible" / "inventory.example.yml").read_text()
    known = {name for role in NAMES for name in options(role)}
    ours = {key for key in keys(yaml.safe_load(example)) if key.partition("_")[0] in NAMES}
    assert {"appliance_site", "sensors_list"} <= ours
    assert ours <= known
    assert set(re.findall(r"(?m)^ *# ([a-z]+_[a-z_]+): ", example)) <= known


def tasks(*path):
    """Give the tasks of a file of a role, in their order."""
    return read(ROLES.joinpath(*path))


def test_all_are_for_the_ansible_that_the_extra_brings():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["provision"]
    (wanted,) = [re.fullmatch("ansible-core>=(.*)", one)[1] for one in extra if one.startswith("ansible-core")]
    assert not list(ROOT.glob("LICEN[CS]E*"))  # whoever adds one names it in the roles
    for role in NAMES:
        told = read(ROLES / role / "meta" / "main.yml")["galaxy_info"]
        assert (told["min_ansible_version"], told["license"]) == (wanted, "NONE")


def test_what_a_run_that_fails_has_changed_takes_effect_all_the_same():
    plays = [play for play in read(ROOT / "ansible" / "site.yml") if "roles" in play]
    assert [play["hosts"] for play in plays] == ["hubs", "agents"]
    assert all(play["force_handlers"] is True for play in plays)


def test_the_judge_of_trials_is_enabled_by_every_run():
    (enabled,) = [task for task in tasks("release", "tasks", "main.yml") if task["name"] == "Enable it"]
    assert enabled["ansible.builtin.systemd_service"]["enabled"] is True


@pytest.mark.parametrize("role", ["appliance", "sensors"])
def test_a_configuration_that_is_refused_leaves_the_unit_as_it_was(role):
    steps = tasks(role, "tasks", "main.yml")
    (checked,) = [number for number, task in enumerate(steps) if "validate" in task.get("ansible.builtin.template", {})]
    called = [task.get("ansible.builtin.include_role", {}).get("tasks_from") for task in steps]
    assert checked < called.index("activate")
    assert "Install the unit" in [task["name"] for task in tasks("release", "tasks", "activate.yml")]


def doings(steps):
    """Give what tasks do, those in blocks too, apart from their names; calls of roles may be alike."""
    for task in steps:
        for part in ("block", "rescue", "always"):
            yield from doings(task.get(part, []))
        if not {"block", "ansible.builtin.include_role"} & set(task):
            yield json.dumps({key: value for key, value in task.items() if key != "name"}, sort_keys=True)


def test_no_two_files_of_tasks_do_the_same():
    found = {}
    for path in sorted(ROLES.glob("*/tasks/*.yml")):
        for doing in doings(read(path)):
            found.setdefault(doing, []).append(str(path.relative_to(ROLES)))
    assert [(doing, places) for doing, places in found.items() if len(places) > 1] == []
