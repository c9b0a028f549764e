"""The drivers through gpiozero and lgpio on a gpiochip that a kernel simulates, in a small virtual machine."""

import ast
from pathlib import Path

import pytest
from vm.guest import boot, made, missing

CHECKS = Path(__file__).with_name("checks.py")
NAMES = [
    node.name
    for node in ast.parse(CHECKS.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """What the machine said; all checks run in one."""
    if lacking := missing():
        pytest.skip(f"needs {lacking}")
    return boot(made(), tmp_path_factory.mktemp("vm"), CHECKS)


@pytest.mark.parametrize("name", NAMES)
def test_on_a_simulated_chip(console, name):
    assert f"vm: ok {name}\n" in console, console[-4000:]
