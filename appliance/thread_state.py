"""What the kernel has a thread of this process do."""

from pathlib import Path
from typing import Final

WAITS_FOR_DISK: Final = "D"  # proc_pid_stat(5)


def thread_state(thread: int) -> str:
    """Give the kernel's letter for it; empty where it is gone."""
    try:
        text = Path(f"/proc/self/task/{thread}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]
