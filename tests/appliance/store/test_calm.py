"""How long a recovery waits."""

from appliance.store.calm import ALARM, MEMORY, MOST, Calm


def waits(calm, now):
    """A new failure, and how long its recovery has to wait."""
    calm.failed(now, is_new=True)
    waited = calm.until - now
    calm.recovered(calm.until)
    return waited


def test_the_first_recovery_is_believed_at_once_and_later_ones_wait_longer():
    calm = Calm(0.5)
    now, waited = 100.0, []
    for _ in range(5):
        waited.append(waits(calm, now))
        now = calm.until + 1.0
    assert waited == [0.0, 1.0, 2.0, 4.0, MOST / 2]


def test_a_failure_after_a_long_peace_is_a_first_one():
    calm = Calm(1.0)
    waits(calm, 0.0)
    assert waits(calm, MEMORY - 1) == 2.0
    assert waits(calm, calm.until + MEMORY) == 0.0


def test_every_failed_try_puts_it_off():
    calm = Calm(1.0)
    waits(calm, 0.0)
    calm.failed(1.0, is_new=True)
    calm.failed(2.5, is_new=False)
    assert calm.until == 4.5


def test_what_came_again_is_told_of_for_a_while():
    calm = Calm(1.0)
    assert not calm.is_restless(0.0)
    waits(calm, 0.0)
    assert not calm.is_restless(0.0)
    waits(calm, 1.0)
    assert calm.is_restless(calm.until + ALARM - 1)
    assert not calm.is_restless(calm.until + ALARM)
