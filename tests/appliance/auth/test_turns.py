import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.auth.turns import (
    ADDRESSES,
    FIRST_WAIT_S,
    FORGIVEN_S,
    FREE,
    FREE_OF_NETWORK,
    LONGEST_WAIT_OF_NETWORK_S,
    LONGEST_WAIT_S,
    WAITING,
    WAITING_OF_NETWORK,
    Turns,
)

T = 1000.0


def lined_up(**lines):
    turns = Turns()
    for address, items in lines.items():
        for item in items:
            assert turns.join(address, item)
    return turns


def order(turns, now=T):
    taken = []
    while (found := turns.take(now)) is not None:
        taken.append(found[1])
    return taken


def guess(turns, times, address="eve", now=T):
    for _ in range(times):
        turns.wrong(address, now)


def test_nobody_waits():
    turns = Turns()
    assert turns.due() is None
    assert turns.take(T) is None


def test_addresses_take_turns():
    turns = lined_up(eve=["e1", "e2", "e3"], ann=["a1"], bob=["b1", "b2"])
    assert order(turns) == ["e1", "a1", "b1", "e2", "b2", "e3"]
    assert turns.due() is None


def test_a_line_is_so_long_and_no_longer():
    turns = lined_up(eve=range(WAITING))
    assert not turns.join("eve", "one more")
    assert turns.join("ann", "a1")
    turns.take(T)
    assert turns.join("eve", "one more")


def test_who_leaves_is_not_waited_for():
    turns = lined_up(eve=["e1", "e2"], ann=["a1"])
    turns.leave("eve", "e1")
    turns.leave("ann", "a1")
    turns.leave("ann", "a1")  # gone already
    turns.leave("nobody", "x")
    assert order(turns) == ["e2"]


WAITS = [
    (1, 0),
    (FREE - 1, 0),
    (FREE, FIRST_WAIT_S),
    (FREE + 1, 2 * FIRST_WAIT_S),
    (FREE + 2, 4 * FIRST_WAIT_S),
    (FREE + 3, LONGEST_WAIT_S),
    (FREE + 5_000, LONGEST_WAIT_S),
]


@pytest.mark.parametrize(("times", "wait_s"), WAITS)
def test_guessing_costs_time(times, wait_s):
    turns = lined_up(eve=["e1"])
    guess(turns, times)
    assert turns.due() == (T + wait_s if wait_s else 0)
    assert turns.take(T + wait_s - 0.01) is None or not wait_s
    turns = lined_up(eve=["e1"])
    guess(turns, times)
    assert turns.take(T + wait_s) == ("eve", "e1")


def test_it_costs_the_guesser_alone():
    turns = lined_up(eve=["e1"], ann=["a1", "a2"])
    guess(turns, 100)
    assert turns.due() == 0
    assert order(turns) == ["a1", "a2"]
    assert turns.due() == T + LONGEST_WAIT_S


def test_it_is_forgiven_after_a_while():
    turns = lined_up(eve=["e1"])
    guess(turns, 100)
    turns.wrong("eve", T + FORGIVEN_S + 1)
    assert turns.due() == 0


def test_so_many_guessers_are_remembered_and_no_more():
    turns = Turns()
    guess(turns, 100, "first")
    for number in range(ADDRESSES - 1):
        turns.wrong(f"address {number}", T)
    guess(turns, 1, "first")  # fresh again, so the others are older
    turns.wrong("one more", T)
    assert len(turns._wrong) == ADDRESSES
    assert "first" in turns._wrong
    assert "address 0" not in turns._wrong


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=80))
def test_everybody_has_a_turn_in_the_order_of_its_line(steps):
    turns, waiting = Turns(), {name: [] for name in "abcd"}
    for number, (address, comes) in enumerate(steps):
        if comes:
            joined = turns.join(address, number)
            assert joined is (len(waiting[address]) < WAITING)
            if joined:
                waiting[address].append(number)
        elif (found := turns.take(T)) is not None:
            assert waiting[found[0]].pop(0) == found[1]
        else:
            assert not any(waiting.values())
    assert sorted(order(turns)) == sorted(item for line in waiting.values() for item in line)
    assert not turns._lines


# --- networks, in which one host has as many addresses as it likes ---


def of_networks():
    return Turns(lambda address: address.partition(":")[0])


def test_networks_take_turns_and_in_each_its_addresses():
    turns = of_networks()
    for place in ("six:a", "six:a", "six:b", "six:c", "four", "four"):
        turns.join(place, place)
    assert order(turns) == ["six:a", "four", "six:b", "four", "six:c", "six:a"]
    assert not turns._lines


def test_a_guesser_costs_its_neighbours_a_moment_and_no_more():
    turns = of_networks()
    guess(turns, 100, "six:eve")
    while turns.join("six:eve", "e"):
        pass
    assert turns.join("six:ann", "a")
    assert turns.due() == T + LONGEST_WAIT_OF_NETWORK_S
    assert turns.take(T + LONGEST_WAIT_OF_NETWORK_S) == ("six:ann", "a")
    assert turns.due() == T + LONGEST_WAIT_S


def test_new_addresses_of_one_network_are_no_new_guesses():
    turns = of_networks()
    for number in range(FREE_OF_NETWORK):
        assert turns.due() in (None, 0)
        turns.wrong(f"six:{number}", T)
    turns.join("six:fresh", "x")
    assert turns.due() == T + FIRST_WAIT_S


def test_a_network_has_so_many_lines_and_no_more():
    turns = of_networks()
    assert all(turns.join(f"six:{number}", number) for number in range(WAITING_OF_NETWORK))
    assert not turns.join("six:fresh", "x")
    assert turns.join("four", "y")
    turns.leave("six:0", 0)
    assert turns.join("six:fresh", "x")
