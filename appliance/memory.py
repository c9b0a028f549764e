"""How the C library hands out memory."""

import ctypes
import gc

M_ARENA_MAX = -8  # of mallopt(3)


def share_arenas() -> bool:
    """Have all threads share one arena; False where the C library has none.

    Each of glibc's takes some hundred kilobytes, and one of our threads at a time has something to do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))


def give_back() -> bool:
    """Give what was only needed to start back to the system; False where the C library cannot."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
