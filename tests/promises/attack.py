"""An attack as a process of its own, so that it disturbs the broker and not the clock of who measures."""

import json
import os
import select
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.brokers import ROOT, BrokerProcess

OTHER_CORES = sorted(os.sched_getaffinity(0))[1:] or sorted(
    os.sched_getaffinity(0)
)  # than that of the broker and the honest clients


class Attack:
    """Runs until it is over or told to stop; its result is what it counted."""

    def __init__(self, kind: str, port: int, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.promises.attack", kind, str(port), json.dumps(options)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.sched_setaffinity(self._process.pid, OTHER_CORES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def is_ready(self) -> bool:
        """Tell whether it has said that it has begun, or anything else."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def ready(self) -> None:
        """Wait until it has begun."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the attack did not begin")

    def pause(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def over(self) -> bool:
        """Tell whether it is through by itself."""
        return self._process.poll() is not None

    def result(self) -> dict[str, Any]:
        """Have it stop, and give what it counted."""
        shown, _ = self._process.communicate("stop\n")
        if self._process.returncode:
            raise RuntimeError(f"the attack ended with {self._process.returncode}")
        return dict(json.loads(shown.splitlines()[-1]))


def beside(broker: BrokerProcess) -> None:
    """Stay on the broker's core, as the honest clients that we are."""
    cores = sorted(os.sched_getaffinity(0))
    broker.pin(cores[:1])
    os.sched_setaffinity(0, cores[:1])


def begun() -> None:
    """Tell the parent that the attack has begun."""
    print("ready", flush=True)


def main(argv: list[str]) -> int:
    """Run one attack and print its counts."""
    from tests.promises import crowd, fuzz, takeover

    attacks = {"fuzz": fuzz.attack, "crowd": crowd.attack, "takeover": takeover.attack}
    kind, port, options = argv
    print(json.dumps(attacks[kind](int(port), **json.loads(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
