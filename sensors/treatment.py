"""How the numbers of a sensor are treated on their way to their topic: the keys, and which of them do not go together.

The order is fixed: what is not believed is refused, the rest is calibrated, smoothed (`median`, then
`moving_average`), thinned out (`send_every`, `throttle_s`), rounded, and sent if it is news (`delta`, `heartbeat_s`).
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated

import msgspec
from msgspec import Meta

from sensors.derived import DERIVED

Positive = Annotated[float, Meta(gt=0)]
Pause = Annotated[float, Meta(gt=0, le=604_800)]  # seconds
Digits = Annotated[int, Meta(ge=0, le=6)]
Window = Annotated[int, Meta(ge=2, le=1_000)]
Share = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?%(?!\n)$", extra={"takes": "a share in `%`"})]
Point = tuple[float, float]

Mistake = tuple[tuple[str, ...], str, str]
"""Key path within the sensor's table, what is wrong and the cure."""

BELIEF = ("low", "high", "max_step")
LEAST_SLOPE = 1e-12  # of a calibration: beyond it either way a line stands or lies
CALIBRATION = ("offset", "scale", "calibrate")


class Treatment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys for the numbers of a sensor, or of one of its measurements; where one is not set, the kind decides."""

    low: Annotated[float | None, Meta(description="Numbers below this are not believed.")] = None
    high: Annotated[float | None, Meta(description="Numbers above this are not believed.")] = None
    max_step: Annotated[
        Positive | None, Meta(description="A larger change is believed when a second reading confirms it.")
    ] = None
    offset: Annotated[float | None, Meta(description="Calibration: added to every number.")] = None
    scale: Annotated[
        float | None, Meta(description="Calibration: every number is multiplied by this, then `offset` is added.")
    ] = None
    calibrate: Annotated[
        tuple[Point, Point] | None,
        Meta(
            description="Calibration at two points, `[[reads, true], [reads, true]]`: the line through both.",
            extra={"takes": "two points", "cure": "give two points, such as [[0.5, 0.0], [98.2, 100.0]]"},
        ),
    ] = None
    median: Annotated[
        Window | None, Meta(description="The median of this many last numbers; the first does not wait for more.")
    ] = None
    moving_average: Annotated[
        Window | None, Meta(description="The mean of this many last numbers; the first does not wait for more.")
    ] = None
    send_every: Annotated[
        int,
        Meta(ge=1, le=1_000, description="With `median` or `moving_average`: the first number, then every so many."),
    ] = 1
    throttle_s: Annotated[Pause | None, Meta(description="After a number was sent, none is for this many seconds.")] = (
        None
    )
    decimals: Annotated[Digits | None, Meta(description="Digits after the point.")] = None
    delta: Annotated[
        Annotated[float, Meta(ge=0)] | Share | None,
        Meta(
            description='Smaller changes of a number are not sent, `0.2` or `"5%"` of it; with `0`, the same number '
            "again is not; without it, all are.",
            extra={"cure": 'give a number from 0, or a share such as "5%"'},
        ),
    ] = None
    heartbeat_s: Annotated[
        Pause, Meta(description="With `delta`: an unchanged number is sent again after this many seconds.")
    ] = 60.0

    def mistake(self) -> Mistake | None:
        """Say which keys, each in order by itself, do not go together."""
        if self.calibrate is not None:
            for key in ("offset", "scale"):
                if getattr(self, key) is not None:
                    return (key,), "`calibrate` says it all already", "keep one of the two"
            (reads, true), (reads_too, true_too) = self.calibrate
            run, rise = reads_too - reads, true_too - true
            if run == 0 or rise == 0 or not LEAST_SLOPE <= abs(rise / run) <= 1 / LEAST_SLOPE:
                return ("calibrate",), "the two points make no line", "measure at two points that are far apart"
        if self.scale == 0:
            return ("scale",), "0 would make all numbers one", "give the factor, such as 1.02"
        if self.low is not None and self.high is not None and self.low >= self.high:
            return ("low",), f"nothing is above {self.low:g} and below {self.high:g}", "let `low` be the lower one"
        if self.send_every > 1 and self.median is None and self.moving_average is None:
            return ("send_every",), "nothing is smoothed", "add `median` or `moving_average`, or use `throttle_s`"
        return None

    def of_derived(self) -> "Treatment":
        """Leave out what was done to the values that a derived one is computed from."""
        return msgspec.structs.replace(self, **dict.fromkeys(BELIEF + CALIBRATION))

    def first_set(self) -> str | None:
        """Name the first key that asks for something."""
        keys = msgspec.structs.fields(Treatment)
        return next((key.name for key in keys if getattr(self, key.name) != key.default), None)

    def first_of(self, keys: Collection[str]) -> str | None:
        """Name the first of these keys that is set."""
        return next((key for key in keys if getattr(self, key) is not None), None)


def mistake_among(
    measured: Collection[str], treatment: Treatment, derived: Collection[str], tables: Mapping[str, Treatment]
) -> Mistake | None:
    """Say what of a sensor's keys does not go with the numbers that it measures.

    `tables` are those of single measurements, as they stand in the file: [sensor.temperature].
    """
    words = " and ".join(measured) if measured else "no number"
    if not measured and (key := treatment.first_set()) is not None:
        return (key,), f"this sensor measures {words}", "remove it"
    for name in derived:
        if not set(DERIVED[name].inputs) <= set(measured):
            inputs = " and ".join(DERIVED[name].inputs)
            return ("derived",), f"{name} is made of {inputs}, and this sensor measures {words}", f"remove {name}"
    key = treatment.first_of(BELIEF + CALIBRATION)
    if key is not None and len(measured) != 1:
        places = " or ".join(f"[sensor.{name}]" for name in measured)
        return (key,), f"this sensor measures {words}", f"say which one is meant: put it under {places}"
    for name, table in tables.items():
        if name in derived:
            if (key := table.first_of(BELIEF + CALIBRATION)) is not None:
                inputs = " or ".join(DERIVED[name].inputs)
                return (name, key), f"{name} is computed, not measured", f"put it under what is measured: {inputs}"
        elif name in DERIVED:
            return (name,), f"{name} is not derived", f'add derived = ["{name}"] to the sensor'
        elif name not in measured:
            near = get_close_matches(name, measured, n=1)
            cure = f'did you mean "{near[0]}"?' if near else "name one of them" if measured else "remove the table"
            return (name,), f"this sensor measures {words}", cure
    return None
