"""Edges of a pin, fed to what judges them."""


def play(judge, edges, level=False):
    """Feed edges (time, level) and look whenever a deadline comes; give what was decided and when."""
    decided = []

    def look(now):
        if (state := judge.seen(now, level)) is not None:
            decided.append((round(now, 6), state))

    for now, new in edges:
        while judge.deadline is not None and judge.deadline < now:
            look(judge.deadline)
        level = new
        look(now)
    while judge.deadline is not None:
        look(judge.deadline)
    return decided
