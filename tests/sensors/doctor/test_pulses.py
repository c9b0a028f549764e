import pytest

from sensors.doctor.computer import Computer
from sensors.doctor.pulses import Pulses, dht_finding, overlay_finding
from sensors.doctor.wants import Want

DAMP = Want(sensor="damp", kind="dht", pin=4)
GOOD = bytes.fromhex("02 8c 01 5f ee")


def answer(frame, *, zero_us=27, one_us=70, rise=False):
    """The edges of an answer, as the data sheet of the DHT22 has them, with the end of the start signal or without."""
    edges, now = [], 1_000_000

    def lasting(microseconds, level):
        nonlocal now
        edges.append((now, level))
        now += microseconds * 1000

    if rise:
        lasting(30, True)
    lasting(80, False)
    lasting(80, True)
    for byte in frame:
        for bit in range(7, -1, -1):
            lasting(50, False)
            lasting(one_us if byte >> bit & 1 else zero_us, True)
    lasting(50, False)
    lasting(0, True)
    return Pulses(tuple(edges))


def cut(pulses, count):
    return Pulses(pulses.edges[:count])


@pytest.mark.parametrize("rise", [False, True])
def test_an_answer_is_read_by_how_long_its_highs_last(rise):
    pulses = answer(GOOD, rise=rise)
    assert len(pulses.edges) == 84 + rise
    assert pulses.frame == GOOD
    assert pulses.is_good
    found = dht_finding(DAMP, [pulses])
    assert (found.level, found.what) == ("note", f"the sensor answers: {84 + rise} edges, 02 8c 01 5f ee")


@pytest.mark.parametrize("edges", [(), ((1000, True),)])
def test_no_edge_is_no_power_or_the_wrong_pin(edges):
    found = dht_finding(DAMP, [Pulses(edges)] * 3)
    assert (found.level, found.about) == ("wrong", "GPIO4 (damp)")
    assert "no power, or the wrong pin" in found.what


@pytest.mark.parametrize("count", [2, 41, 79])
def test_too_few_edges_are_pull_up_or_timing(count):
    found = dht_finding(DAMP, [cut(answer(GOOD), count)])
    assert found.level == "wrong"
    assert f"the sensor gives {count} edges" in found.what
    assert "pull-up or timing" in found.what


def test_all_zeros_are_a_stuck_sensor():
    found = dht_finding(DAMP, [answer(bytes(5))])
    assert found.level == "wrong"
    assert "stuck: 84 edges, all bits zero" in found.what


def test_a_wrong_checksum_shows_the_frame():
    found = dht_finding(DAMP, [answer(bytes.fromhex("02 8c 01 5f ef"))])
    assert "the checksum of 02 8c 01 5f ef is wrong" in found.what


def test_one_good_answer_of_three_is_enough():
    found = dht_finding(DAMP, [Pulses(), cut(answer(GOOD), 60), answer(GOOD)])
    assert found.level == "note"


def test_a_good_answer_counts_more_than_a_longer_bad_one():
    found = dht_finding(DAMP, [answer(GOOD), answer(bytes.fromhex("02 8c 01 5f ef"), rise=True)])
    assert found.level == "note"


def test_the_longest_answer_is_judged_where_none_is_good():
    found = dht_finding(DAMP, [Pulses(), cut(answer(GOOD), 60)])
    assert "60 edges" in found.what


def test_off_a_pi_a_missing_driver_of_the_kernel_is_a_note():
    assert overlay_finding(DAMP, Computer()).level == "note"
