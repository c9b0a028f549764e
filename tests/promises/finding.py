"""One number of a promise and the bound that it must keep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was measured; `most` and `least` are inclusive, None where that side is open."""

    what: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    timed: bool = False  # a time or a ratio of times, which a busy machine spoils

    @property
    def holds(self) -> bool:
        """Tell whether the bound is kept; a number without one is only told."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        bounds = [f"≤ {self.most:,g}" if self.most is not None else "", f"≥ {self.least:,g}" if self.least else ""]
        bound = " and ".join(filter(None, bounds))
        verdict = "" if not bound else "holds" if self.holds else "BROKEN"
        shown = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.4g}"
        return f"  {self.what:52} {shown + ' ' + self.unit:>18}  {bound:16} {verdict}".rstrip()
