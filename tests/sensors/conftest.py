"""Pins of a header for the tests of what sits on them."""

import pytest
from pins import LINES, ChipPins, MockPins


@pytest.fixture
def pins():
    """On gpiozero's mock; in the machine of `tests/vm` on its kernel's simulated chip."""
    pins = MockPins() if LINES is None else ChipPins()
    yield pins
    pins.close()


@pytest.fixture
def gpiochip(pins):
    """The simulated chip, for tests that the mock cannot stand."""
    assert LINES is not None
    return pins


def pytest_collection_modifyitems(config, items):
    """Here what needs the chip is left out; in the machine, all that needs no pins."""
    wants = [
        item
        for item in items
        if ("gpiochip" not in item.fixturenames if LINES is None else "pins" in item.fixturenames)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in wants])
    items[:] = wants
