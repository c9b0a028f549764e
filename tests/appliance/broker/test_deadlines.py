from appliance.broker.deadlines import Deadlines


def test_things_come_up_in_time_and_in_order():
    deadlines = Deadlines()
    deadlines.set(2.0, "b")
    deadlines.set(1.0, "a")
    deadlines.set(2.0, "c")
    assert deadlines.next() == 1.0
    assert list(deadlines.due(0.9)) == []
    assert list(deadlines.due(2.0)) == ["a", "b", "c"]
    assert deadlines.next() is None


def test_what_is_set_while_others_come_up_comes_up_too():
    deadlines = Deadlines()
    deadlines.set(1.0, "a")
    seen = []
    for what in deadlines.due(3.0):
        seen.append(what)
        if what == "a":
            deadlines.set(2.0, "b")
    assert seen == ["a", "b"]


def test_what_is_set_again_comes_up_once():
    deadlines = Deadlines()
    deadlines.set(1.0, "a")
    deadlines.set(3.0, "a")
    deadlines.set(2.0, "a")
    assert len(deadlines) == 1
    assert deadlines.next() == 2.0
    assert list(deadlines.due(9.0)) == ["a"]


def test_what_is_cancelled_does_not_come_up():
    deadlines = Deadlines()
    deadlines.set(1.0, "a")
    deadlines.set(2.0, "b")
    deadlines.cancel("a")
    deadlines.cancel("never set")
    assert deadlines.next() == 2.0
    assert list(deadlines.due(9.0)) == ["b"]
    assert len(deadlines) == 0


def test_nothing_of_what_is_gone_is_kept():
    deadlines = Deadlines()
    deadlines.set(5.0, "stays")
    for number in range(10_000):
        deadlines.set(1e9 + number, "again")
        deadlines.set(1e9, number)
        deadlines.cancel(number)
    assert len(deadlines) == 2
    assert len(deadlines._heap) < 100
    assert list(deadlines.due(5.0)) == ["stays"]
