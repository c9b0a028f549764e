"""Who thinks up the bytes: atheris, which watches where they lead, or hypothesis where there is no atheris."""

import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from appliance import build
from tests.fuzz.corpus import seeds

ROOT = Path(__file__).parents[2]
MAX_BYTES = 2_048
RSS_MB = 1_024  # libFuzzer ends a target that takes more


class Finding(Exception):
    """A target raised; the text says what and with which bytes."""


def has_atheris() -> bool:
    """It is built for some machines and Pythons only, and sees nothing of what a compiled broker does."""
    return find_spec("atheris") is not None and not build.compiled()


def with_atheris(target: str, runs: int, seconds: int, seed: int, *, plant: bool = False) -> int:
    """Fuzz in a process of its own, which is how libFuzzer wants it; give the number of executions."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        corpus = Path(scratch, "corpus")
        corpus.mkdir()
        for number, data in enumerate(seeds(target)):
            (corpus / f"{number:05d}").write_bytes(data)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.fuzz.child",
                target,
                *(["--plant"] if plant else []),
                f"-runs={runs}",
                f"-max_total_time={seconds}",
                f"-seed={seed or 1}",
                f"-max_len={MAX_BYTES}",
                f"-rss_limit_mb={RSS_MB}",
                "-timeout=20",
                f"-artifact_prefix={scratch}/",
                "-print_final_stats=1",
                str(corpus),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        found = [path.read_bytes() for kind in ("crash", "timeout", "oom") for path in Path(scratch).glob(f"{kind}-*")]
    if done.returncode or found:
        where = done.stderr[-3000:]
        raise Finding(f"{where}\nwith the bytes {found[0].hex() if found else 'that it did not write down'}")
    executions = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    if executions is None:
        raise Finding(f"it did not say how often it ran: {done.stderr[-2000:]}")
    return int(executions[1])


def with_hypothesis(run: Callable[[bytes], None], target: str, runs: int, seconds: int, seed: int) -> int:
    """Take the seeds, then bytes, and seeds that are joined and changed, until the runs or the seconds are over."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    known = list(seeds(target))
    changed = st.builds(change, st.lists(st.sampled_from(known), min_size=1, max_size=4), st.integers(0, 1 << 32))
    executions, last = 0, b""
    ends = time.monotonic() + (seconds or float("inf"))
    for last in known[: runs or None]:
        executions += 1
        try:
            run(last)
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {error}\nwith the bytes {last.hex()}") from error
    while (not runs or executions < runs) and time.monotonic() < ends:

        @seeded(seed + executions)
        @settings(
            max_examples=min(2_000, runs - executions) if runs else 2_000,
            deadline=None,
            report_multiple_bugs=False,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(changed, st.binary(max_size=MAX_BYTES)))
        def many(data: bytes) -> None:
            nonlocal executions, last
            if time.monotonic() < ends:
                executions, last = executions + 1, data
                run(data)

        try:
            many()
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {error}\nwith the bytes {last.hex()}") from error
    return executions


def change(parts: list[bytes], seed: int) -> bytes:
    """Join seeds, and change a few bytes of it."""
    rng = random.Random(seed)
    data = bytearray(parts[0] + b"".join(part[1:] for part in parts[1:]))
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                data.insert(place, rng.randrange(256))
            case _ if len(data) > 1:
                del data[place]
    return bytes(data)
