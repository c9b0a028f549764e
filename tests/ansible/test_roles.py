"""The roles' variables are said once: defaults, argument specifications and the README's table agree."""

import json
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
