from appliance.broker.deadlines import Deadlines


def test_things_come_up_in_time_and_in_order():
    deadlines = Deadlines()
    deadlines.set(2.0, "b")
    deadlines.set(1.0, "a")
    deadlines.set(2.0, "c")
    assert deadlines.next() == 1.0
    assert list(deadlines.due(0.9)) == []
    assert list(deadlines.due(2.0)) == [(1.0, "a"), (2.0, "b"), (2.0, "c")]
    assert deadlines.next() is None


def test_what_is_set_while_others_come_up_comes_up_too():
    deadlines = Deadlines()
    deadlines.set(1.0, "a")
    seen = []
    for at, what in deadlines.due(3.0):
        seen.append(what)
        if what == "a":
            deadlines.set(at + 1, "b")
    assert seen == ["a", "b"]
