import threading

import pytest

from sensors.house.rounds import Rounds


@pytest.fixture
def rounds():
    rounds = Rounds()
    numbers = []
    add = rounds.add

    def noted(look):
        numbers.append(add(look))
        return numbers[-1]

    rounds.add = noted
    yield rounds
    for number in numbers:
        rounds.drop(number)
    assert ended(rounds)


def ended(rounds):
    thread = rounds.thread
    if thread is not None:
        thread.join(5)
    return rounds.thread is None


def test_every_look_comes_again_and_one_thread_does_them_all(rounds):
    threads = set()
    enough = threading.Semaphore(0)

    def look():
        threads.add(threading.current_thread())
        enough.release()
        return 0.001

    for _ in range(20):
        rounds.add(look)
    for _ in range(200):
        assert enough.acquire(timeout=5)
    assert len(threads) == 1


def test_a_look_that_waits_long_does_not_hold_the_others(rounds):
    seen = threading.Event()
    rounds.add(lambda: 3600.0)
    count = iter(range(5))
    rounds.add(lambda: 0.001 if next(count, None) is not None else seen.set() or 60.0)
    assert seen.wait(5)


def test_after_drop_nothing_is_looked_at(rounds):
    looking, go = threading.Event(), threading.Event()
    done = []

    def look():
        looking.set()
        go.wait(5)
        done.append(1)
        return 0.0

    number = rounds.add(look)
    assert looking.wait(5)
    threading.Timer(0.05, go.set).start()
    rounds.drop(number)
    assert done == [1]
    rounds.drop(number)
    assert ended(rounds)


def test_a_look_that_raises_is_said_and_the_others_go_on(rounds, caplog):
    seen, raised = threading.Event(), threading.Event()

    def broken():
        raised.set()
        raise RuntimeError("a bug")

    number = rounds.add(broken)
    assert raised.wait(5)
    rounds.add(lambda: seen.set() or 60.0)
    assert seen.wait(5)
    (record,) = caplog.records
    assert record.getMessage() == "something in the simulated house failed and is looked at again in 60 s"
    assert str(record.exc_info[1]) == "a bug"
    rounds.drop(number)


def test_a_look_may_drop_itself_and_the_thread_begins_again(rounds):
    for _ in range(2):
        numbers, ready, dropped = [], threading.Event(), threading.Event()

        def look(numbers=numbers, ready=ready, dropped=dropped):
            ready.wait(5)
            rounds.drop(numbers[0])
            dropped.set()
            return 0.0

        numbers.append(rounds.add(look))
        ready.set()
        assert dropped.wait(5)
        assert ended(rounds)
