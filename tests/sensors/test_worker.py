import threading
from queue import Queue

import pytest

from sensors.driver import BadFrame, SensorError
from sensors.worker import Inline, Worker


@pytest.fixture
def outcomes():
    return Queue()


@pytest.fixture
def worker(outcomes):
    worker = Worker("kitchen", outcomes.put)
    yield worker
    worker.stop()
    if worker.thread is not None:
        worker.thread.join(5)


def raising(error):
    def call():
        raise error

    return call


def test_a_job_gives_its_result(worker, outcomes):
    worker.ask("read", lambda: 21.4, 0.0, 5.0)
    assert worker.waiting == 1
    assert worker.awaits("read")
    assert not worker.awaits("build")
    assert worker.next_deadline() == 5.0
    outcome = outcomes.get(timeout=5)
    assert (outcome.sensor, outcome.job, outcome.result, outcome.error) == ("kitchen", "read", 21.4, None)
    assert worker.in_time(outcome)
    assert worker.waiting == 0
    assert not worker.awaits("read")
    assert worker.overdue(99.0) == []
    assert worker.next_deadline() is None


def test_a_sensor_error_passes_through(worker, outcomes):
    worker.ask("read", raising(BadFrame("checksum of 01 02")), 0.0, 5.0)
    outcome = outcomes.get(timeout=5)
    assert outcome.error.cause == "bad_frame"


@pytest.mark.parametrize(
    "error",
    [ValueError("two\nlines"), ZeroDivisionError(), RecursionError(), OSError(5, "I/O"), SystemExit("no chip")],
)
def test_any_exception_becomes_one_line_about_the_sensor(error, worker, outcomes):
    worker.ask("read", raising(error), 0.0, 5.0)
    failure = outcomes.get(timeout=5).error
    assert isinstance(failure, SensorError)
    assert type(error).__name__ in str(failure)
    assert "\n" not in str(failure)


def test_jobs_run_one_after_the_other_in_one_thread(worker, outcomes):
    for _ in range(3):
        worker.ask("read", threading.get_ident, 0.0, 5.0)
    assert len({outcomes.get(timeout=5).result for _ in range(3)}) == 1


def test_a_job_that_hangs_is_given_up_and_may_come_back_late(worker, outcomes):
    release = threading.Event()
    worker.ask("read", release.wait, 0.0, 5.0)
    assert worker.overdue(4.9) == []
    assert worker.overdue(5.0) == ["read"]
    assert worker.overdue(99.0) == []
    assert worker.stuck
    release.set()
    assert not worker.in_time(outcomes.get(timeout=5))
    assert not worker.stuck


def test_a_worker_that_was_never_asked_has_no_thread(outcomes):
    worker = Worker("attic", outcomes.put)
    worker.stop()
    assert worker.thread is None


def test_inline_a_job_is_done_in_the_askers_thread_at_once():
    outcomes = []
    worker = Inline("kitchen", outcomes.append)
    worker.ask("read", threading.current_thread, 0.0, 5.0)
    worker.ask("read", raising(BadFrame("checksum of 01 02")), 0.0, 5.0)
    result, failure = outcomes
    assert result.result is threading.current_thread()
    assert failure.error.cause == "bad_frame"
    assert worker.thread is None
    assert worker.waiting == 2  # until they are taken
    assert worker.in_time(result)
    assert worker.in_time(failure)
    assert worker.next_deadline() is None
    worker.stop()
