"""Long walks of random steps, and what to do about a divergence: the shortest trace that still shows it."""

import random

from model.rules import random_step
from model.world import World

STEPS_A_WORLD = 400  # then a new one is made, so that a trace stays short enough to be understood


def fault(steps, flaw=None):
    """Run a trace in a new world; gives what went wrong, None when nothing did."""
    world = World(flaw)
    try:
        for name, arguments in steps:
            world.do(name, arguments)
    except Exception as error:  # noqa: BLE001
        return error
    return None


def walk(seed, steps, *, flaw=None, met=None, progress=lambda _done: None):
    """Do so many random steps; gives the first trace that diverges, None when none does."""
    done = 0
    while done < steps:
        rng = random.Random(f"{seed}/{done}")
        world, trace = World(flaw, met), []
        size = min(STEPS_A_WORLD, steps - done)
        try:
            while len(trace) < size:
                name, arguments = random_step(rng)
                if world.can(name, arguments):  # what does nothing is no step
                    trace.append((name, arguments))
                    world.do(name, arguments)
            world.crash()
        except Exception:  # noqa: BLE001 whatever the core raises is a divergence too
            return trace
        done += size
        progress(done)
    return None


def shortest(trace, flaw=None, most_runs=2_000):
    """Leave out whatever is not needed for the trace to diverge, or to raise, as it did."""
    kind = type(fault(trace, flaw))
    runs = 0
    size = len(trace) // 2
    while size:
        start = 0
        while start < len(trace) and runs < most_runs:
            shorter = trace[:start] + trace[start + size :]
            runs += 1
            if type(fault(shorter, flaw)) is kind:
                trace = shorter
            else:
                start += size
        size //= 2
    return trace
