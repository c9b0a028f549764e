"""Chores take turns."""

import pytest

from appliance.store.chores import Chores


class Work:
    def __init__(self, name, pieces, done):
        self.name, self.pieces, self.done = name, pieces, done

    def step(self, now):
        if not self.pieces:
            return False
        self.pieces -= 1
        self.done.append((self.name, now))
        return True


def test_chores_take_turns_until_none_has_anything_to_do():
    done = []
    chores = Chores([Work("a", 3, done), Work("b", 1, done), Work("c", 2, done)])
    steps = 0
    while chores.step(float(steps)):
        steps += 1
    assert done == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("c", 4), ("a", 5)]
    assert steps == 6
    assert not chores.step(7.0)
    assert not Chores([]).step(0.0)


def test_a_chore_that_fails_is_tried_again():
    class Broken:
        def step(self, now):
            raise OSError(now)

    chores = Chores([Broken()])
    for now in (1.0, 2.0):
        with pytest.raises(OSError, match=str(now)):
            chores.step(now)
