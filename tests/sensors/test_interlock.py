import math

from hypothesis import given
from hypothesis import strategies as st

from sensors.interlock import Interlock, Interlocks


def group(*names):
    stirred = []
    one = Interlock()
    for name in names:
        one.join(name, lambda name=name: stirred.append(name))
    return one, stirred


def test_the_second_comes_on_after_the_first_went_off_and_the_wait():
    lock, stirred = group("up", "down")
    lock.claim("up")
    assert lock.take("up", 10.0) is None
    stirred.clear()
    lock.claim("down")
    assert stirred == ["up"]
    assert not lock.stands("up")
    assert lock.take("down", 11.0, 0.5) == math.inf
    lock.release("up", 12.0)
    assert stirred == ["up", "down"]
    assert lock.take("down", 12.1, 0.5) == 12.5
    assert lock.take("down", 12.5, 0.5) is None
    assert lock.stands("down")


def test_who_had_it_last_does_not_wait_for_itself():
    lock, _ = group("up", "down")
    assert lock.take("up", 1.0) is None
    lock.release("up", 2.0)
    assert lock.take("up", 2.0, 60.0) is None


def test_the_last_claim_counts():
    lock, _ = group("a", "b", "c")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.claim("c")
    assert not lock.stands("b")
    lock.release("a", 2.0)
    assert lock.take("b", 3.0) == math.inf
    assert lock.take("c", 3.0) is None


def test_a_claim_of_who_is_on_takes_back_another_s():
    lock, _ = group("a", "b")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.claim("a")
    assert lock.stands("a")
    assert not lock.stands("b")


def test_a_claim_can_be_withdrawn_and_still_has_sent_the_other_off():
    lock, _ = group("a", "b")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.withdraw("a")  # it has none
    assert not lock.stands("a")
    lock.withdraw("b")
    assert not lock.stands("a")
    assert not lock.stands("b")
    assert lock.take("a", 1.5) == math.inf
    lock.release("a", 2.0)
    lock.claim("a")
    assert lock.stands("a")
    assert lock.take("a", 3.0) is None


def test_who_fails_keeps_the_others_off_on_or_not():
    lock, stirred = group("a", "b", "c")
    lock.take("a", 1.0)
    lock.claim("b")
    stirred.clear()
    lock.doubt("c")
    assert stirred == ["a", "b"]
    assert [name for name in "abc" if lock.stands(name)] == []
    lock.release("a", 2.0)
    assert lock.take("b", 3.0) == math.inf
    assert lock.unseen("b") == ["c"]
    assert lock.unseen("c") == []
    assert not lock.begin("b")
    stirred.clear()
    lock.vouch("c", 4.0)
    assert stirred == ["a", "b"]
    assert lock.take("b", 4.0, 0.5) == 4.5
    assert lock.take("b", 4.5, 0.5) is None


def test_who_waited_when_another_failed_has_to_claim_anew():
    lock, _ = group("a", "b", "c")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.doubt("c")
    lock.vouch("c", 2.0)
    assert not lock.stands("b")
    assert not lock.stands("a")
    lock.release("a", 3.0)
    lock.claim("b")
    assert lock.take("b", 3.0) is None


def test_nobody_comes_on_before_all_that_are_expected_were_seen():
    lock = Interlock()
    lock.expect("a")
    lock.expect("b")
    lock.claim("b")
    assert lock.take("b", 1.0) == math.inf
    lock.vouch("b", 1.0)
    assert lock.unseen("b") == ["a"]
    assert lock.take("b", 1.0) == math.inf
    lock.vouch("a", 2.0)
    lock.vouch("a", 9.0)  # that it still is off is no news
    assert lock.take("b", 2.0, 1.0) == 3.0
    assert lock.take("b", 3.0, 1.0) is None


def test_one_has_it_from_the_start_and_is_not_thrown_off_by_who_is_not_there_yet():
    lock = Interlock()
    lock.expect("a")
    lock.expect("b")
    assert lock.begin("a")
    assert lock.begin("a")
    assert not lock.begin("b")
    assert lock.stands("a")
    lock.claim("b")
    assert not lock.stands("a")


def test_who_leaves_on_keeps_the_group_and_who_leaves_waiting_does_not():
    lock, stirred = group("a", "b", "c")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.leave("b")
    lock.leave("a")
    stirred.clear()
    lock.claim("c")
    assert stirred == []  # nobody is there to be told
    assert lock.take("c", 9.0) == math.inf
    lock.release("a", 9.0)
    assert lock.take("c", 9.0) is None


def test_who_left_while_it_waited_holds_nobody_up():
    lock, _ = group("a", "b", "c")
    lock.take("a", 1.0)
    lock.claim("b")
    lock.leave("b")
    lock.release("a", 2.0)
    assert lock.begin("c")


def test_groups_by_name():
    locks = Interlocks()
    assert locks.group("blind") is locks.group("blind")
    assert locks.group("blind") is not locks.group("pump")


def test_at_the_end_nobody_comes_on_any_more():
    locks = Interlocks()
    lock = locks.group("blind")
    lock.take("a", 1.0)
    lock.claim("b")
    locks.end()
    lock.release("a", 2.0)
    assert lock.take("b", 3.0) == math.inf


steps = st.lists(
    st.tuples(st.sampled_from(["claim", "withdraw", "take", "release", "doubt", "vouch"]), st.sampled_from("abc")),
    max_size=60,
)


@given(steps)
def test_never_two_have_it(taken):
    lock, _ = group(*"abc")
    on, doubtful = set(), set()
    for now, (step, name) in enumerate(taken):
        match step:
            case "take":
                if lock.take(name, now, 2.0) is None:
                    on.add(name)
                    assert doubtful <= {name}
            case "doubt":
                doubtful.add(name)
                lock.doubt(name)
            case "vouch":
                doubtful.discard(name)
                lock.vouch(name, now)
            case "release":
                on.discard(name)
                lock.release(name, now)
            case _:
                getattr(lock, step)(name)
        assert len(on) <= 1
        assert sum(lock.stands(name) for name in "abc") <= 1
    now = len(taken)
    for name in "abc":  # whatever came before, who may come on does
        lock.vouch(name, now)
        lock.release(name, now)
    for name in "abc":
        lock.claim(name)
        assert lock.take(name, now + 2, 2.0) is None
        assert lock.stands(name)
        now += 3
        lock.release(name, now)
