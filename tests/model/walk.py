"""Long walks of random steps, and what to do about a divergence: the shortest trace that still shows it."""

import random
import traceback

from model.rules import random_step
from model.state import Divergence
from model.world import World

STEPS_A_WORLD = 400  # then a new one is made, so that a trace stays short enough to be understood


CRASH_WEIGHT = 1.5  # of a stop too, of a server that outlives them


class HarnessError(Exception):
    """Model, judge or world failed, which says nothing of the server; the cause is what they raised."""

    def __init__(self, cause, trace):
        super().__init__(repr(cause))
        self.__cause__ = cause
        self.trace = trace


def _of_the_server(error):
    """Whether it did something else than it has to, or raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, Divergence) or any("appliance/broker/" in frame.filename for frame in frames)


def fault(steps, flaw=None):
    """Run a trace in a new world; gives what went wrong, None when nothing did.

    That is a Divergence, what the server raised, or a HarnessError.
    """
    world = World(flaw)
    try:
        for name, arguments in steps:
            world.do(name, arguments)
    except Exception as error:  # noqa: BLE001
        return error if _of_the_server(error) else HarnessError(error, steps)
    return None


def walk(seed, steps, *, flaw=None, met=None, progress=lambda _done: None):
    """Do so many random steps; gives the first trace that diverges, None when none does.

    What the server raises is a divergence too; HarnessError where it was not the server.
    """
    done = 0
    while done < steps:
        rng = random.Random(f"{seed}/{done}")
        world, trace = World(flaw, met), []
        size = min(STEPS_A_WORLD, steps - done)
        try:
            while len(trace) < size:
                name, arguments = random_step(rng, CRASH_WEIGHT) if world.flaw.durable else random_step(rng)
                if world.can(name, arguments):  # what does nothing is no step
                    trace.append((name, arguments))
                    world.do(name, arguments)
            world.crash()
        except Exception as error:
            if _of_the_server(error):
                return trace
            raise HarnessError(error, trace) from error
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
