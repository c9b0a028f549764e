"""One look at a sensor: what it says, what is not believed, and that its driver is let go of."""

import pytest

from sensors.config import config_of
from sensors.driver import Disconnected
from sensors.drivers.simulated import SimulatedInstrument
from sensors.inspection import Inspection, inspect


@pytest.fixture
def look(tmp_path):
    """Inspect the one sensor of a configuration."""

    def once(text):
        config = config_of(f'data_dir = "{tmp_path}"\n[[sensor]]\nname = "it"\nroom = "attic"\n{text}', tmp_path)
        return inspect(config, config.sensors[0])

    return once


def test_what_it_says_is_told_by_topic(look):
    seen = look('kind = "simulated"')
    assert [row["topic"] for row in seen.rows] == ["home/attic/temperature", "home/attic/humidity"]
    assert seen.is_good


def test_what_is_not_believed_is_not_good(look):
    seen = look('kind = "simulated"\ntemperature.high = -100')
    assert (seen.problem, seen.is_good) == ("", False)


def test_a_driver_is_let_go_of_also_when_it_fails(look, monkeypatch):
    closed = []

    def fail(_self):
        raise Disconnected("nobody is there")

    monkeypatch.setattr(SimulatedInstrument, "read", fail)
    monkeypatch.setattr(SimulatedInstrument, "close", lambda _self: closed.append(True))
    assert look('kind = "simulated"') == Inspection(rows=[], problem="nobody is there")
    assert closed == [True]


def test_an_output_is_not_touched(look):
    assert look('kind = "gpio_output"\npin = 4\noutput = "relay"').problem.startswith("taking its pin could switch")


def test_a_button_has_nothing_to_say(look):
    seen = look('kind = "simulated"\nmodel = "button"')
    assert (seen.rows, seen.is_good) == ([], True)
    assert seen.remark
