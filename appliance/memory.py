"""How the C library hands out memory."""

import ctypes

M_ARENA_MAX = -8  # of mallopt(3)


def share_arenas() -> bool:
    """Have all threads share one arena; False where the C library has none.

    Each of glibc's takes some hundred kilobytes, and one of our threads at a time has something to do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))
