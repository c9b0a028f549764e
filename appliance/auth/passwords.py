"""Who may come in: names and passwords against the file's hashes, one at a time, in a thread of its own."""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from appliance.auth.hashes import Cost, cost, is_right_of_mosquitto, of_nobody
from appliance.auth.turns import Turns
from appliance.broker import peer as peers
from appliance.mqtt.types import ReasonCode

# 19 MiB and two passes: what OWASP's cheat sheet asks for at least, and as much as a Pi can spare beside its work.
COST = Cost(memory_kib=19_456, passes=2, lanes=1)
MOST_KNOWN = 1_024  # users at addresses that are known again
FREE_MISSES = 5  # other passwords that one of them may say before it has to prove itself anew


def hashed(password: bytes) -> str:
    """Give the salted hash of a password, for the password file. Slow on purpose."""
    return PasswordHasher(time_cost=COST.passes, memory_cost=COST.memory_kib, parallelism=COST.lanes).hash(password)


def is_right(encoded: str, password: bytes) -> bool:
    """Whether this is the password. Slow on purpose."""
    if not encoded.startswith("$argon2id$"):
        return is_right_of_mosquitto(encoded, password)
    try:
        return PasswordHasher().verify(encoded, password)  # the cost stands in the hash
    except VerifyMismatchError:
        return False


class _Entry(NamedTuple):
    encoded: str
    cost: Cost


@dataclass(eq=False, slots=True)
class _Known:
    digest: bytes  # of the password that was right
    misses: int = 0


@dataclass(eq=False, slots=True)
class _Question:
    username: str
    password: bytes
    digest: bytes
    answer: asyncio.Future[ReasonCode]
    entry: _Entry | None = None  # of the user, when the password was checked


class Passwords:
    """Answers whether clients are who they say. For one event loop.

    A password that was right is known again by a keyed digest in memory, so that those who belong here come back
    at once, however many guess at the same time. It is known from its own address only, and after a few others from
    there no more: or who guesses could try as many as it can send.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        anonymous: bool = False,
        clock: Callable[[], float] = monotonic,
        check: Callable[[str, bytes], bool] = is_right,
    ) -> None:
        self._users: dict[str, _Entry] = {}
        self._nobodies: dict[Cost, str] = {}
        self._known: dict[tuple[str, str], _Known] = {}  # user and address; the oldest first
        self.renew(users)
        self._anonymous = anonymous
        self._clock = clock
        self._check = check
        self._key = secrets.token_bytes(32)
        self._turns: Turns[_Question] = Turns(peers.network)
        self._joined = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def authenticate(self, client_id: str, username: str | None, password: bytes | None, peer: str) -> ReasonCode:
        """Give SUCCESS, or why not. The answer tells no unknown user from a wrong password, nor does its time."""
        del client_id  # an account is the user's; whose id it is, the core knows
        if username is None:
            welcome = self._anonymous and peers.is_this_computer(peer)
            return ReasonCode.SUCCESS if welcome else ReasonCode.NOT_AUTHORIZED
        return await self._ask(username, password or b"", peer)

    async def verify(self, username: str, password: str, peer: str) -> ReasonCode:
        """Give SUCCESS where this user has this password, SERVER_BUSY where too many from there ask at once."""
        return await self._ask(username, password.encode(errors="replace"), peer)

    def knows(self, username: str) -> bool:
        """Whether there is an account of this name."""
        return username in self._users

    def renew(self, users: Mapping[str, str]) -> None:
        """Go by these hashes from now on. Whose hash is another or none any more is not known again.

        Who has guessed wrong before is remembered.
        """
        entries = {name: _Entry(encoded, cost(encoded) or COST) for name, encoded in users.items()}
        costs = {entry.cost for entry in entries.values()} or {COST}
        nobodies = {like: of_nobody(like) for like in sorted(costs)}
        known = {whose: one for whose, one in self._known.items() if self._users[whose[0]] == entries.get(whose[0])}
        self._users, self._nobodies, self._known = entries, nobodies, known  # all of it or nothing

    async def close(self) -> None:
        """Answer no more."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker

    async def _ask(self, username: str, password: bytes, peer: str) -> ReasonCode:
        digest = hashlib.blake2b(password, key=self._key).digest()
        source = peers.address_of(peer)
        known = self._known.get((username, source))
        if known is not None:
            if hmac.compare_digest(known.digest, digest):
                return ReasonCode.SUCCESS
            known.misses += 1
            if known.misses >= FREE_MISSES:
                del self._known[username, source]
        loop = asyncio.get_running_loop()
        question = _Question(username, password, digest, loop.create_future())
        if not self._turns.join(source, question):
            return ReasonCode.SERVER_BUSY
        self._joined.set()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        try:
            answer = await question.answer
            if answer is ReasonCode.SUCCESS and self._users.get(username) != question.entry:
                return ReasonCode.BAD_USER_NAME_OR_PASSWORD  # it was right, but not any more
            return answer
        finally:
            self._turns.leave(source, question)  # whoever is gone keeps nobody waiting

    async def _work(self) -> None:
        try:
            while (due := self._turns.due()) is not None:
                taken = self._turns.take(self._clock())
                if taken is None:
                    self._joined.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(due - self._clock()):
                            await self._joined.wait()
                else:
                    await self._answer(*taken)
        finally:
            self._worker = None

    async def _answer(self, source: str, question: _Question) -> None:
        question.entry = entry = self._users.get(question.username)
        known = self._known.get((question.username, source))
        try:
            right = known is not None and hmac.compare_digest(known.digest, question.digest)  # since it lined up
            right = right or await asyncio.to_thread(self._compare, entry, question.password, self._nobodies)
        except Exception as error:  # noqa: BLE001 whoever asks must be answered; it is told that we failed
            if not question.answer.done():
                question.answer.set_exception(error)
            return
        if not right:
            self._turns.wrong(source, self._clock())
        elif self._users.get(question.username) == entry:
            self._remember(question, source)
        if not question.answer.done():
            question.answer.set_result(ReasonCode.SUCCESS if right else ReasonCode.BAD_USER_NAME_OR_PASSWORD)

    def _remember(self, question: _Question, source: str) -> None:
        self._known.pop((question.username, source), None)
        while len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[question.username, source] = _Known(question.digest)

    def _compare(self, entry: _Entry | None, password: bytes, nobodies: Mapping[Cost, str]) -> bool:
        """Check one hash of each cost that a user has, whoever asks: so that the time tells nothing of a name."""
        right = False
        for like, nobody in nobodies.items():
            own = entry is not None and entry.cost == like
            right |= self._check(entry.encoded if entry is not None and own else nobody, password) and own
        return right
