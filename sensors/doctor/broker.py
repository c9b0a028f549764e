"""Is the broker there, and does it let us in? Asked as the agent asks, will and all, under another name than its."""

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from appliance.devices import OFFLINE, ONLINE
from appliance.finding import Finding, note, wrong
from sensors.endpoint import Endpoint
from sensors.link import Link

LONGEST_S = 60.0  # looking by mDNS, TCP to each address, TLS, CONNACK
GOODBYE_S = 2.0
LOOK_S = 0.05


class _Visit:
    """What the link told."""

    def __init__(self) -> None:
        self.is_let_in = False
        self.why = ""

    @property
    def is_over(self) -> bool:
        return self.is_let_in or bool(self.why)

    def connected(self) -> None:
        self.is_let_in = True

    def disconnected(self, why: str) -> None:
        self.why = self.why or why

    def acknowledged(self, tokens: Sequence[int], reason_code: int, topics: Sequence[str] = ()) -> None:
        """Nothing is sent."""

    def unsent(self, tokens: Sequence[int]) -> None:
        """Nothing is sent."""

    def commanded(self, topic: str, payload: bytes, *, retained: bool, by: str = "") -> None:
        """Nothing is subscribed to."""

    def refused(self, topic: str, reason: str) -> None:
        """Nothing is subscribed to."""


def broker_finding(
    endpoint: Endpoint, *, agent_runs: bool = False, clock: Callable[[], float] = time.monotonic
) -> Finding:
    """Connect once and leave.

    With the agent's own client id the broker would throw out a running agent: the visit has another. It has a will to
    the agent's topic, which the broker may refuse; should the visit be cut off, the will says what is true anyway.
    """
    visit = _Visit()
    link = Link(
        replace(endpoint, client_id=f"doctor-of-{endpoint.client_id}", will_payload=ONLINE if agent_runs else OFFLINE),
        visit,
        lambda: None,  # _drive looks often enough
        Random(),  # noqa: S311 only for a second attempt, which is not made
    )
    _drive(link, lambda: visit.is_over, clock, LONGEST_S)
    place, strayed = str(link.place), link.strayed
    link.close()
    _drive(link, lambda: link.socket is None, clock, GOODBYE_S)
    link.drop()
    if strayed:
        what, _, cure = strayed.partition("; ")
        return wrong("broker", what, cure)
    if visit.is_let_in:
        return note("broker", f"{place} lets the agent in")
    what, _, cure = (visit.why or f"{place} does not answer; check broker.host and the network").rpartition("; ")
    return wrong("broker", what or cure, cure if what else "look into the broker's log")


def _drive(link: Link, is_over: Callable[[], bool], clock: Callable[[], float], longest_s: float) -> None:
    ends = clock() + longest_s
    while not is_over() and (now := clock()) < ends:
        link.tick(now)
        sock = link.socket
        if sock is None:
            time.sleep(LOOK_S)
            continue
        readable, writable, _ = select.select([sock], [sock] if link.wants_write else [], [], LOOK_S)
        if readable:
            link.readable(clock())
        if writable and link.socket is sock:
            link.writable(clock())
