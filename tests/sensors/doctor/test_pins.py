import pytest

from sensors.doctor.pins import Follows, floating_findings, line_findings, overlay_of
from sensors.doctor.wants import Want
from sensors.hw.gpiochips import Line, Program

DOOR = Want(sensor="door", kind="gpio_input", pin=17, is_contact=True)
MOTION = Want(sensor="pir", kind="gpio_input", pin=17)
DAMP = Want(sensor="damp", kind="dht", pin=17)
PUMP = Want(sensor="pump", kind="gpio_output", pin=17, is_output=True)


def lines(want, consumer, agent=None, programs=()):
    return line_findings({17: Line(used=True, consumer=consumer)}, [want], agent=agent, programs=programs)


def test_a_free_line_has_no_findings():
    assert line_findings({17: Line()}, [DOOR], agent=None) == []
    assert line_findings({}, [DOOR], agent=None) == []


def test_a_claimed_line_says_by_whom():
    (found,) = lines(DOOR, "lg", programs=[Program(812, "octorelay")])
    assert (found.level, found.about) == ("wrong", "GPIO17 (door)")
    assert found.what == 'it is claimed by "lg", it may be octorelay (process 812)'
    (found,) = lines(PUMP, "")
    assert "somebody without a name" in found.what
    assert "lsof" in found.cure


def test_a_line_of_the_running_agent_is_told_as_such():
    (found,) = lines(PUMP, "lg", agent=99, programs=[Program(99, "sensors")])
    assert (found.level, found.what) == ("note", 'the running agent (process 99) holds it, as "lg"; it is not probed')


@pytest.mark.parametrize("agent", [None, 99])
def test_a_line_of_an_overlay_names_it(agent):
    (found,) = lines(DOOR, "onewire@0", agent=agent)
    assert found.level == "wrong"
    assert found.cure.startswith("take the overlay w1-gpio out of config.txt")


def test_the_kernels_own_dht_driver_is_no_stranger_to_a_dht():
    (found,) = lines(DAMP, "dht11@11")
    assert found.level == "note"
    (found,) = lines(DOOR, "dht11@11")
    assert found.level == "wrong"


@pytest.mark.parametrize(("consumer", "overlay"), [("spi0 CS0", "spi (dtparam=spi=on)"), ("lg", None), ("", None)])
def test_overlays_are_known_by_what_they_call_themselves(consumer, overlay):
    assert overlay_of(consumer) == overlay


@pytest.mark.parametrize(
    ("want", "up", "down", "level", "words"),
    [
        (MOTION, True, False, "wrong", "nothing drives it"),
        (DOOR, True, False, "note", "the contact is open, or nothing is connected"),
        (DAMP, True, False, "wrong", "neither a sensor nor its pull-up"),
        (DAMP, False, False, "wrong", "held at 0 V"),
        (MOTION, False, True, "wrong", "went against our own resistor"),
    ],
)
def test_a_pin_that_follows_what_it_should_not_is_told(want, up, down, level, words):
    (found,) = floating_findings({17: Follows(up, down)}, [want])
    assert (found.level, words in found.what) == (level, True)
    assert found.cure


@pytest.mark.parametrize(
    ("want", "up", "down"), [(MOTION, False, False), (MOTION, True, True), (DOOR, False, False), (DAMP, True, True)]
)
def test_a_pin_that_somebody_drives_has_no_findings(want, up, down):
    assert floating_findings({17: Follows(up, down)}, [want]) == []


def test_a_pin_that_was_not_drawn_is_not_judged():
    assert floating_findings({}, [MOTION]) == []
