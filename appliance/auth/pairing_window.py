"""The hub's side of pairing: one window, in which one agent may come that has the code. Opens nothing, reads no clock.

Who may guess is bounded three times: five wrong codes, thirty beginnings and the time each end the window. One agent is
spoken with at a time.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

from appliance import pake
from appliance.mqtt.topics import overlaps
from appliance.pake import Grant, Half, Hello, Keys, PakeError, Proof, Refusal, Request, Sealed, TurnedAway, Welcome
from appliance.settings import LEVEL_PATTERN

LONGEST_MINUTES: Final = 60.0
SHORTEST_MINUTES: Final = 0.1
TRIES: Final = 5  # wrong codes
MEETINGS: Final = 30  # beginnings, each of which costs us arithmetic
MEETING_S: Final = 20.0  # from the first word to the last
UNWATCHED_S: Final = 15.0  # since somebody last looked at the code
FEWEST_LEVELS, MOST_LEVELS = 3, 4  # of a reading's topic
MAX_LEVEL: Final = 64  # characters


class State(Enum):
    """How a window is."""

    OPEN = "open"
    PAIRED = "paired"
    CLOSED = "closed"


class Meeting:
    """One run with one agent. `answer` is arithmetic of many milliseconds, for a thread; it touches nothing else."""

    def __init__(self, hello: bytes, read: Hello, *, code: str, site: str, hub: str, peer: str, until: float) -> None:
        self.agent = read.agent
        self.site = read.site
        self.peer = peer
        self.until = until
        self.exchange = secrets.token_bytes(pake.EXCHANGE_BYTES)
        self.keys: Keys | None = None
        self.is_working = True  # in its thread
        self.is_trusted = False
        self._hello = hello
        self._element = read.element
        self._code = code
        self._site = site
        self._hub = hub

    def answer(self) -> bytes:
        """Give the hub's first word; PakeError where the agent's will not do."""
        half = Half("hub", self._code)
        welcome = Welcome(
            version=pake.VERSION, site=self._site, hub=self._hub, exchange=self.exchange, element=half.element
        )
        text = pake.encoded(welcome)
        self.keys = half.keys(self._element, self._hello, text)
        return text


class Window:
    """The time in which an agent may come. Every call that takes `now` may end it."""

    def __init__(self, *, site: str, hub: str, now: float, length_s: float) -> None:
        self.key = secrets.token_hex(16)  # knows whoever opened it
        self.code = pake.new_code()
        self.state = State.OPEN
        self.tries_left = TRIES
        self.notes: list[str] = []  # what happened, for the person at the hub
        self.ends_at = now + length_s
        self._site = site
        self._hub = hub
        self._meetings_left = MEETINGS
        self._meeting: Meeting | None = None
        self._seen_at = now
        self.welcome = ""  # whose account is made, and who has not been told yet

    def is_open(self, now: float) -> bool:
        """Whether an agent may come."""
        if self.state is not State.OPEN:
            return False
        meeting = self._meeting
        if meeting is not None and not meeting.is_working and now >= meeting.until:
            self.notes.append(f"{meeting.agent} from {meeting.peer} went silent")
            self._meeting = meeting = None
        if meeting is not None and meeting.is_trusted:
            return True  # who has shown the code may end what it began
        if now >= self.ends_at:
            self.close("the time is over; nobody came who had the code")
        elif now >= self._seen_at + UNWATCHED_S:
            self.close("nobody looks at the code any more")
        return self.state is State.OPEN

    def seen(self, now: float) -> None:
        """Know that somebody still looks at the code."""
        if self.is_open(now):
            self._seen_at = now

    def close(self, why: str) -> None:
        """End it; later calls change nothing."""
        if self.state is State.OPEN:
            self.notes.append(why)
            self._end(State.CLOSED)

    def _end(self, state: State) -> None:
        self.state = state
        self.code = ""
        self._meeting = None

    def hello(self, body: bytes, peer: str, now: float) -> Meeting:
        """Begin a run; TurnedAway. Its `answer` must follow, then `answered`."""
        self._check_open(now)
        if self._meeting is not None:
            raise TurnedAway(HTTPStatus.CONFLICT, "another agent is being paired; try again in a moment")
        hello = self._read(body, Hello)
        if hello.version != pake.VERSION:
            raise TurnedAway(
                HTTPStatus.BAD_REQUEST,
                f"this hub pairs by version {pake.VERSION}, the agent by {hello.version}; update the older of the two",
            )
        self._meetings_left -= 1
        if self._meetings_left < 0:
            self.close(f"too many came without the code, the last from {peer}; open it again when that has stopped")
            raise TurnedAway(HTTPStatus.NOT_FOUND, "pairing is over")
        self.notes.append(f"{hello.agent} came from {peer}")
        self._meeting = Meeting(
            body, hello, code=self.code, site=self._site, hub=self._hub, peer=peer, until=now + MEETING_S
        )
        return self._meeting

    def answered(self, meeting: Meeting) -> None:
        """Know that the thread of a meeting has ended."""
        meeting.is_working = False
        if meeting.keys is None and self._meeting is meeting:
            self._meeting = None
            self.notes.append(f"what {meeting.agent} sent from {meeting.peer} is not how an agent begins")

    def prove(self, body: bytes, now: float) -> bytes:
        """Judge whether the agent had the code, and show that we have it; TurnedAway. A wrong code costs a try."""
        self._check_open(now)
        proof = self._read(body, Proof)
        meeting, keys = self._met(proof.exchange)
        if meeting.is_trusted:
            raise TurnedAway(HTTPStatus.CONFLICT, "this was said already; begin again")
        if not pake.is_same(proof.proof, keys.of_agent):
            self._meeting = None
            self._wrong(meeting)
        meeting.is_trusted = True
        meeting.until = now + MEETING_S
        return pake.encoded(Proof(exchange=meeting.exchange, proof=keys.of_hub))

    def ask(self, body: bytes, now: float) -> tuple[Meeting, Request]:
        """Hear what the agent wants; TurnedAway. `told` or `failed` must follow."""
        self._check_open(now)
        sealed = self._read(body, Sealed)
        meeting, keys = self._met(sealed.exchange)
        if not meeting.is_trusted:
            raise TurnedAway(HTTPStatus.CONFLICT, "the agent has not shown the code yet; begin again")
        meeting.is_working = True  # it may not ask twice: its keys seal one message
        try:
            request: Request = keys.unseal("hub", sealed.sealed, Request)
        except PakeError as error:
            self._meeting = None
            self.notes.append(f"what {meeting.agent} asked from {meeting.peer} {error}")
            raise TurnedAway(HTTPStatus.BAD_REQUEST, f"what was asked {error}; begin again") from None
        return meeting, request

    def told(self, meeting: Meeting, answer: Grant | Refusal, request: Request) -> bytes:
        """Seal the answer, and end the window with an agent that is paired."""
        assert meeting.keys is not None  # noqa: S101 it has asked
        self._meeting = None
        sealed = Sealed(exchange=meeting.exchange, sealed=meeting.keys.seal("agent", answer))
        if isinstance(answer, Grant):
            topics = ", ".join(request.topics) or "no topic"
            self.notes.append(f"{meeting.agent} from {meeting.peer} had the code")
            self.notes.append(f"{answer.username} may publish {topics} and {own_topics(self._site, meeting.agent)}")
            self._end(State.PAIRED)  # also where it was closed since the account was made
        else:
            self.notes.append(f"{meeting.agent} from {meeting.peer} had the code, but {answer.reason}")
        return pake.encoded(sealed)

    def failed(self, meeting: Meeting) -> None:
        """Know that no account came of it, of which the service's log tells more."""
        self._meeting = None
        self.welcome = ""
        self.notes.append(f"{meeting.agent} had the code, but its account could not be made")

    def _check_open(self, now: float) -> None:
        if not self.is_open(now):
            raise TurnedAway(HTTPStatus.NOT_FOUND, "pairing is over")

    def _read(self, body: bytes, kind: Any) -> Any:
        try:
            return pake.decoded(body, kind)
        except PakeError as error:
            raise TurnedAway(HTTPStatus.BAD_REQUEST, f"this {error}") from None

    def _met(self, exchange: bytes) -> tuple[Meeting, Keys]:
        meeting = self._meeting
        if (
            meeting is None
            or meeting.is_working
            or meeting.keys is None
            or not pake.is_same(exchange, meeting.exchange)
        ):
            raise TurnedAway(HTTPStatus.CONFLICT, "this hub knows nothing of that exchange; begin again")
        return meeting, meeting.keys

    def _wrong(self, meeting: Meeting) -> None:
        self.tries_left -= 1
        self.notes.append(f"{meeting.agent} from {meeting.peer} had a wrong code")
        if not self.tries_left:
            self.close(f"{TRIES} wrong codes: somebody may be guessing; nobody was let in")
            raise TurnedAway(
                HTTPStatus.FORBIDDEN, "the code is wrong, and was the last try: open pairing again on the hub"
            )
        left = "one try is left" if self.tries_left == 1 else f"{self.tries_left} tries are left"
        raise TurnedAway(HTTPStatus.FORBIDDEN, f"the code is wrong; {left}")


def own_topics(site: str, agent: str) -> str:
    """Give the topics that are an agent's whoever it is."""
    return f"{site}/devices/{agent}/#"


def topics_problem(topics: Iterable[str], site: str) -> str:
    """Say why an agent of this site cannot have these topics; empty where it can.

    Each is that of one reading, <site>/<room>/<measurement> with perhaps a label between: no pattern, no other's words.
    """
    for topic in topics:
        first, *others = topic.split("/")
        if first != site:
            return f"{topic[:80]!r} is not of site {site}; correct the site in sensors.toml"
        if not FEWEST_LEVELS <= 1 + len(others) <= MOST_LEVELS or not all(
            len(level) <= MAX_LEVEL and re.match(LEVEL_PATTERN, level) for level in others
        ):
            return f"{topic[:80]!r} is no topic of a reading; update the agent"
    return ""


def owned_problem(
    topics: Iterable[str],
    others: Mapping[str, Iterable[str]],
    cure: str = "remove that one with `appliance devices remove {}`",
) -> str:
    """Say which of the topics is another device's already; `others` are the filters that each may publish to.

    Nor may one lie below another's: who publishes JSON to the upper one writes readings of the lower one.
    """
    for topic in topics:
        for name, topic_filters in others.items():
            instead = f"give the sensor another room or label, or {cure.format(name)}"
            for one in topic_filters:
                if overlaps(one, topic):
                    return f"{topic} belongs to the device {name}; {instead}"
                if overlaps(one, f"{topic}/#") or overlaps(f"{one.removesuffix('/#')}/#", topic):
                    return f"{topic} and {one}, of the device {name}, lie one below the other; {instead}"
    return ""
