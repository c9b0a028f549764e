"""The thread of one sensor. A driver that hangs there stops itself and nobody else."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from sensors.driver import SensorError, as_sensor_error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job: its result, or the error that the sensor's failure is."""

    sensor: str
    job: str
    ticket: int
    result: Any = None
    error: SensorError | None = None


class Worker:
    """Runs the jobs of one sensor one after the other; whoever asks sets the time that each may take."""

    def __init__(self, sensor: str, deliver: Callable[[Outcome], None]) -> None:
        """Deliver outcomes through `deliver`, which is called in the worker's thread."""
        self._sensor = sensor
        self._deliver = deliver
        self._jobs: SimpleQueue[tuple[str, int, Callable[[], Any]] | None] = SimpleQueue()
        self.thread: threading.Thread | None = None  # None until there was a job
        self._ticket = 0
        self._deadlines: dict[int, tuple[str, float]] = {}  # jobs in time
        self._given_up: dict[int, str] = {}  # jobs that took too long and have not come back

    @property
    def stuck(self) -> bool:
        """Whether a job that took too long still has not come back."""
        return bool(self._given_up)

    @property
    def waiting(self) -> int:
        """Jobs whose outcome is still awaited."""
        return len(self._deadlines)

    def awaits(self, job: str) -> bool:
        """Whether the outcome of such a job is still awaited."""
        return any(name == job for name, _ in self._deadlines.values())

    def ask(self, job: str, call: Callable[[], Any], now: float, timeout_s: float) -> None:
        """Have a job done; its outcome is delivered, or `overdue` names it after `timeout_s`."""
        if self.thread is None:
            # A daemon: a read that is stuck in the kernel must not keep the process alive.
            self.thread = threading.Thread(target=self._work, name=f"sensor-{self._sensor}", daemon=True)
            self.thread.start()
        self._ticket += 1
        self._deadlines[self._ticket] = (job, now + timeout_s)
        self._jobs.put((job, self._ticket, call))

    def next_deadline(self) -> float | None:
        """When the first job in time will be overdue."""
        return min((deadline for _, deadline in self._deadlines.values()), default=None)

    def overdue(self, now: float) -> list[str]:
        """Give up the jobs whose time is over and name them."""
        late = [ticket for ticket, (_, deadline) in self._deadlines.items() if deadline <= now]
        for ticket in late:
            self._given_up[ticket] = self._deadlines.pop(ticket)[0]
        return [self._given_up[ticket] for ticket in late]

    def in_time(self, outcome: Outcome) -> bool:
        """Note that a job came back; False if it had been given up."""
        self._given_up.pop(outcome.ticket, None)
        return self._deadlines.pop(outcome.ticket, None) is not None

    def stop(self) -> None:
        """End the thread after the jobs it has; does not wait."""
        if self.thread is not None:
            self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, ticket, call = item
            self._do(job, ticket, call)

    def _do(self, job: str, ticket: int, call: Callable[[], Any]) -> None:
        try:
            outcome = Outcome(self._sensor, job, ticket, result=call())
        # Whatever a driver raises is the failure of its sensor; sys.exit of a library would end this thread unheard.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            outcome = Outcome(self._sensor, job, ticket, error=as_sensor_error(error))
        self._deliver(outcome)


class Inline(Worker):
    """Runs each job at once in the asker's thread: for drivers that wait for nothing, where threads would be many."""

    def ask(self, job: str, call: Callable[[], Any], now: float, timeout_s: float) -> None:
        """Do a job; its outcome has been delivered when this returns."""
        self._ticket += 1
        self._deadlines[self._ticket] = (job, now + timeout_s)
        self._do(job, self._ticket, call)


WorkerKind = Callable[[str, Callable[[Outcome], None]], Worker]
"""How a crew gets the worker of a sensor."""
