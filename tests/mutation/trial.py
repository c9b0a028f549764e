"""A pytest plugin that tries mutants: the tests are collected once, run once as they are, then in a fork per mutant.

The first run tells which tests execute which line and how long each takes. A mutant then meets the tests that execute
its statement, its module's own first and quick ones before slow ones, until one fails.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import Mutant

KILLED, SURVIVED, TIMEOUT, UNREACHED, REFUSED = "killed", "survived", "timeout", "not reached", "refused"
PASSES, FAILS, STUCK, UNFIT = 0, 1, 3, 70  # exit codes of a fork
EXAMPLES = 25  # of each property, for each mutant
CPU_SECONDS = 2.0, 20.0  # for one test: so many, and its usual time so often
WALL_SECONDS = 600.0  # for all tests of a mutant, should something wait for ever
MEMORY_BYTES = 2 << 30  # on top of what the process has
TOLD_BYTES = 4_096  # that a fork may say
TRIPWIRE = "_nothing_is_left_over"  # looks through /proc around every test

PROFILE = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # a failure is enough, it need not be small
    suppress_health_check=list(hypothesis.HealthCheck),
)


@dataclass
class Trial:
    """A forked process that is trying a mutant."""

    mutant: Mutant
    pid: int
    exit: int  # descriptor that turns readable when it has ended
    started: float = field(default_factory=time.monotonic)


def verdict_on(code: int, told: str, *, late: bool) -> str:
    """Judge a mutant by the exit code of its fork, or the signal that ended it, and the test that it told of."""
    if code == PASSES:
        return SURVIVED
    if late or code == STUCK:
        return TIMEOUT
    if code < 0 or (code == FAILS and told):
        return KILLED
    return REFUSED  # no test has failed: something is wrong with the trial


class Plugin:
    """Takes over pytest's loop."""

    def __init__(self, mutants: list[Mutant], results: Path, processes: int, say: Callable[[str], None]) -> None:
        self.mutants = mutants
        self.results = results
        self.processes = processes
        self.say = say
        self.seconds: dict[str, float] = {}  # test -> what it took
        self.reached: dict[str, dict[int, set[str]]] = {}  # file -> line -> tests
        self.broken = ""  # the test that fails without any mutant
        self.refused: list[str] = []  # mutants that could not be tried, and why
        self.trials: list[Trial] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what costs more than it can find here."""
        for item in items:
            with suppress(ValueError):
                item.fixturenames.remove(TRIPWIRE)
            function = getattr(item, "function", None)
            wished = getattr(function, "_hypothesis_internal_use_settings", None)
            if wished is not None:
                function._hypothesis_internal_use_settings = hypothesis.settings(
                    PROFILE, max_examples=min(EXAMPLES, wished.max_examples)
                )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember a file that cannot be read."""
        if report.failed:
            self.broken = f"{report.nodeid}\n{report.longrepr}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, then each mutant."""
        started = time.monotonic()
        if session.items and not self.broken:
            self._explore(session.items)
        if self.broken or not self.seconds:
            session.testsfailed = 1
            return True
        self.say(f"{len(session.items)} tests in {time.monotonic() - started:.0f} s without a mutant")
        items = {item.nodeid: item for item in session.items}
        self._control(items)
        if self.broken:
            return True
        with self.results.open("a", encoding="utf-8") as file:
            for mutant, verdict, test in self._verdicts(items):
                line = {"key": mutant.key, "path": mutant.path, "verdict": verdict, "test": test}
                if verdict in {SURVIVED, UNREACHED}:
                    line["describe"] = mutant.describe()
                file.write(json.dumps(line) + "\n")
                file.flush()
        return True

    def _explore(self, items: list[pytest.Item]) -> None:
        lines = coverage.Coverage(
            data_file=None, source=[*{str(Path(mutant.path).parent) for mutant in self.mutants}], config_file=False
        )
        lines.start()
        for item, following in _pairs(items):
            lines.switch_context(item.nodeid)
            started = time.process_time()
            reports = runtestprotocol(item, nextitem=following, log=False)
            self.seconds[item.nodeid] = time.process_time() - started
            if any(report.failed for report in reports):
                self.broken = f"{item.nodeid}\n" + "\n".join(
                    str(report.longrepr) for report in reports if report.failed
                )
                break
        lines.stop()
        data = lines.get_data()
        for path in data.measured_files():
            contexts = data.contexts_by_lineno(path)
            self.reached[str(Path(path).relative_to(Path.cwd()))] = {
                line: {test for test in tests if test} for line, tests in contexts.items()
            }

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Give the tests that execute the mutant's statement, in the order that finds it soonest."""
        lines = self.reached.get(mutant.path, {})
        found = set().union(*(lines.get(line, ()) for line in range(mutant.first_line, mutant.last_line + 1)))
        own = f"tests/{Path(mutant.path).parent}/test_{Path(mutant.path).stem}.py"
        return sorted(found, key=lambda test: (not test.startswith(own), self.seconds[test], test))

    def _control(self, items: dict[str, pytest.Item]) -> None:
        """Try the mutant that most tests reach without putting it in: in a fork, too, they must all pass."""
        widest = max(self.mutants, key=lambda mutant: len(self.tests_for(mutant)))
        tests = [items[test] for test in self.tests_for(widest)]
        self.trials.append(self._fork(widest, tests, install=False))
        while self.trials:
            for _, verdict, test in self._ended():
                if verdict != SURVIVED:
                    self.broken = f"{test} ({verdict} in a fork)"

    def _verdicts(self, items: dict[str, pytest.Item]) -> Iterator[tuple[Mutant, str, str]]:
        waiting = list(reversed(self.mutants))
        while (waiting and not self.refused) or self.trials:
            while waiting and not self.refused and len(self.trials) < self.processes:
                mutant = waiting.pop()
                tests = self.tests_for(mutant)
                if tests:
                    self.trials.append(self._fork(mutant, [items[test] for test in tests]))
                else:
                    yield mutant, UNREACHED, ""
            for mutant, verdict, told in self._ended():
                if verdict == REFUSED:
                    self.refused.append(f"{mutant.describe()}\n{told}")
                else:
                    yield mutant, verdict, told

    def _fork(self, mutant: Mutant, items: list[pytest.Item], *, install: bool = True) -> Trial:
        parent_end, child_end = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(parent_end)
            code = UNFIT
            try:
                code = self._try(mutant if install else None, items, child_end)
            except BaseException as error:
                os.write(child_end, repr(error).encode()[:TOLD_BYTES])
                raise
            finally:
                os._exit(code)
        os.close(child_end)
        return Trial(mutant, pid, parent_end)

    def _try(self, mutant: Mutant | None, items: list[pytest.Item], told: int) -> int:
        """In the fork: give its exit code."""
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        signal.signal(signal.SIGPROF, lambda *_: os._exit(STUCK))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        if mutant is not None:
            mutant.install()
        least, factor = CPU_SECONDS
        for item, following in _pairs(items):
            signal.setitimer(signal.ITIMER_PROF, least + factor * self.seconds[item.nodeid])
            try:
                failed = any(report.failed for report in runtestprotocol(item, nextitem=following, log=False))
            except MemoryError:  # the mutant has left too little to write a report with
                failed = True
            if failed:
                os.write(told, item.nodeid.encode()[:TOLD_BYTES])
                return FAILS
        return PASSES

    def _ended(self) -> Iterator[tuple[Mutant, str, str]]:
        """Wait for forks to end, and end those that do not."""
        ready, _, _ = select.select([trial.exit for trial in self.trials], [], [], 1.0)
        now = time.monotonic()
        for trial in self.trials[:]:
            late = now - trial.started > WALL_SECONDS
            if trial.exit not in ready and not late:
                continue
            if late:
                with suppress(ProcessLookupError):
                    os.killpg(trial.pid, signal.SIGKILL)
            told = os.read(trial.exit, TOLD_BYTES).decode(errors="replace")
            os.close(trial.exit)
            _, status = os.waitpid(trial.pid, 0)
            self.trials.remove(trial)
            code = os.waitstatus_to_exitcode(status)
            yield trial.mutant, verdict_on(code, told, late=late), told


def _pairs(items: list[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def run(tests: list[str], mutants: list[Mutant], results: Path, processes: int, say: Callable[[str], None]) -> None:
    """Try the mutants against the tests, in the current directory.

    SystemExit when a test fails without any, and when one cannot be tried.
    """
    hypothesis.settings.register_profile("mutation", PROFILE)
    hypothesis.settings.load_profile("mutation")
    plugin = Plugin(mutants, results, processes, say)
    quiet = "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that were imported before
    pytest.main(
        ["-W", quiet, "-p", "no:cacheprovider", "-p", "no:terminal", "--hypothesis-profile=mutation", *tests], [plugin]
    )
    if plugin.broken:
        sys.exit(f"no mutant is tried, because something fails without: {plugin.broken}")
    if not plugin.seconds:
        sys.exit("no test was collected")
    if plugin.refused:
        sys.exit("no verdict on what could not be tried:\n" + "\n".join(plugin.refused))
