"""An attack as a process of its own, so that it disturbs the broker and not the clock of who measures."""

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.brokers import ROOT, BrokerProcess


class Attack:
    """Runs until it is over or told to stop; its result is what it counted."""

    def __init__(self, kind: str, port: int, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.promises.attack", kind, str(port), json.dumps(options)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ready(self) -> None:
        """Wait until it has begun."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the attack did not begin")

    def over(self) -> bool:
        """Tell whether it is through by itself."""
        return self._process.poll() is not None

    def result(self) -> dict[str, Any]:
        """Have it stop, and give what it counted."""
        shown, _ = self._process.communicate("stop\n")
        if self._process.returncode:
            raise RuntimeError(f"the attack ended with {self._process.returncode}")
        return dict(json.loads(shown.splitlines()[-1]))


def keep_apart(broker: BrokerProcess, attack: Attack) -> None:
    """Give the attack the last core, and the broker the first, where the honest clients are too."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(attack.pid, cores[-1:])
        broker.pin(cores[:1])


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
