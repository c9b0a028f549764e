"""What goes wrong in the house, and when: `unplugged@02:00-02:10`, `checksum@5%`, `clock=-3600@10m/2h`. Pure."""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from sensors.house.chance import DAY_S, chance

Kind = Literal["checksum", "unplugged", "85", "bounce", "stuck", "clock"]
KINDS: tuple[Kind, ...] = get_args(Kind)
USUAL_AMOUNT: dict[Kind, float] = {"bounce": 0.04, "clock": -3600.0}  # seconds of chatter; seconds off
LASTING = {"unplugged", "stuck", "clock"}  # these begin and end; the others strike one answer or one edge
LASTS_S = 60.0  # with a share: so many of these
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}

PATTERN = re.compile(
    r"(?P<kind>[a-z0-9]+)(=(?P<amount>-?\d{1,9}(\.\d{1,6})?))?"
    r"(@((?P<share>\d{1,3}(\.\d{1,6})?)%"
    r"|(?P<from>([01]\d|2[0-3]):[0-5]\d)-(?P<until>([01]\d|2[0-3]):[0-5]\d)"
    r"|(?P<length>\d{1,6}[smh])/(?P<period>\d{1,6}[smh])))?"
)
SHAPE = "KIND, KIND@5%, KIND@02:00-02:10 or KIND@30s/10m; bounce and clock take seconds, as in clock=-3600@5%"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, always or at times."""

    kind: Kind
    amount: float = 0.0  # seconds that a contact chatters, or that the clock is off
    share: float | None = None  # 0 to 1: of answers, of edges, or of minutes for what lasts
    daily: tuple[float, float] | None = None  # seconds of the day; the second is the next day's where it is less
    every: tuple[float, float] | None = None  # so long, once in so many seconds

    def strikes(self, seed: int, name: str, at: float) -> bool:
        """Whether it is there at a time of the house."""
        if self.share is not None:
            turn = at // LASTS_S if self.kind in LASTING else round(at, 3)
            return chance(seed, name, "fault", self.kind, turn) < self.share
        if self.daily is not None:
            start, end = self.daily
            return (at % DAY_S - start) % DAY_S < (end - start) % DAY_S
        if self.every is not None:
            length, period = self.every
            return at % period < length
        return True


def parse(text: str) -> Fault:
    """Read one fault as it is configured. ValueError says what is wrong."""
    found = PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no fault')
    if found["kind"] not in KINDS:
        raise ValueError(f'there is no fault "{found["kind"]}"')
    kind = cast("Kind", found["kind"])
    if found["amount"] is not None and kind not in USUAL_AMOUNT:
        raise ValueError(f'the fault "{kind}" takes no number')
    amount = USUAL_AMOUNT.get(kind, 0.0) if found["amount"] is None else float(found["amount"])
    if kind == "bounce" and not 0 < amount <= 10:
        raise ValueError(f"a contact cannot bounce for {amount:g} s")
    share = None if found["share"] is None else float(found["share"]) / 100
    if share is not None and share > 1:
        raise ValueError(f"{found['share']}% is more than always")
    daily = None if found["from"] is None else (_of_day(found["from"]), _of_day(found["until"]))
    if daily is not None and daily[0] == daily[1]:
        raise ValueError(f"{found['from']}-{found['until']} is no time")
    every = None if found["length"] is None else (_seconds(found["length"]), _seconds(found["period"]))
    if every is not None and not 0 < every[0] <= every[1]:
        raise ValueError(f"{found['length']} is not a part of {found['period']}")
    return Fault(kind, amount, share, daily, every)


def _of_day(text: str) -> float:
    hours, minutes = text.split(":")
    return int(hours) * 3600.0 + int(minutes) * 60.0


def _seconds(text: str) -> float:
    return int(text[:-1]) * UNITS_S[text[-1]]
