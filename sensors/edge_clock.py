"""When an edge of a pin was, by our own clock. Pure."""

LATEST_S = 5.0  # edges are told later than they were when the computer is busy, but not by more


class EdgeClock:
    """Turns the kernel's times of edges into those of our clock, however late the edges are told.

    Both usually are the same clock. Where they are not, or the kernel's was set, an edge is taken to be told at once:
    later ones may then seem to be of after they were told, by as much as that one was late.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0  # our clock of the kernel's

    def ours(self, at: float, told_at: float) -> float:
        """Give when an edge was that the kernel saw `at` and that was told at `told_at` of ours."""
        if abs(told_at - at - self._ahead_s) > LATEST_S:
            self._ahead_s = told_at - at
        return at + self._ahead_s
