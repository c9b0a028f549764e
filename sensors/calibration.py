"""What a sensor should have said: a straight line from its numbers to the true ones. Pure."""

from dataclasses import dataclass

from sensors.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Line:
    """Goes through a true number at what the sensor says there, with a slope: true + (number - reads) · slope."""

    slope: float = 1.0
    reads: float = 0.0
    true: float = 0.0

    def at(self, number: float) -> float:
        """Give the true number for what the sensor says."""
        if self == UNCHANGED:
            return number
        return self.true + (number - self.reads) * self.slope


UNCHANGED = Line()


def line_of(treatment: Treatment) -> Line:
    """Give the line of `offset` and `scale`, or of the two points of `calibrate`."""
    if treatment.calibrate is not None:
        (reads, true), (reads_too, true_too) = treatment.calibrate
        return Line((true_too - true) / (reads_too - reads), reads, true)
    return Line(1.0 if treatment.scale is None else treatment.scale, 0.0, treatment.offset or 0.0)
