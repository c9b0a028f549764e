"""Who may come in: names and passwords against the file's hashes, one at a time, in a thread of its own."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from appliance.auth.password_file import Cost, cost
from appliance.auth.turns import Turns
from appliance.broker import peer as peers
from appliance.mqtt.types import ReasonCode

# 19 MiB and two passes: what OWASP's cheat sheet asks for at least, and as much as a Pi can spare beside its work.
COST = Cost(memory_kib=19_456, passes=2, lanes=1)


def hashed(password: bytes) -> str:
    """Give the salted hash of a password, for the password file. Slow on purpose."""
    return PasswordHasher(time_cost=COST.passes, memory_cost=COST.memory_kib, parallelism=COST.lanes).hash(password)


def is_right(encoded: str, password: bytes) -> bool:
    """Whether this is the password. Slow on purpose."""
    try:
        return PasswordHasher().verify(encoded, password)  # the cost stands in the hash
    except VerifyMismatchError:
        return False


def hash_of_nobody(users: Mapping[str, str]) -> str:
    """Give a hash that no password has, as costly to check as most of the users': who asks for nobody waits as long."""
    costs = Counter(cost(encoded) or COST for encoded in users.values())
    memory, passes, lanes = costs.most_common(1)[0][0] if costs else COST
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}"


@dataclass(eq=False, slots=True)
class _Question:
    username: str
    password: bytes
    digest: bytes
    answer: asyncio.Future[ReasonCode]


class Passwords:
    """Answers whether clients are who they say. For one event loop.

    A password that was right is known again by a keyed digest in memory, so that those who belong here come back
    at once, however many guess at the same time.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        anonymous: bool = False,
        clock: Callable[[], float] = monotonic,
        check: Callable[[str, bytes], bool] = is_right,
    ) -> None:
        self._users = dict(users)
        self._nobody = hash_of_nobody(users)
        self._anonymous = anonymous
        self._clock = clock
        self._check = check
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}  # user -> digest of the password that was right
        self._turns: Turns[_Question] = Turns()
        self._joined = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def authenticate(self, client_id: str, username: str | None, password: bytes | None, peer: str) -> ReasonCode:
        """Give SUCCESS, or why not. The answer tells no unknown user from a wrong password, nor does its time."""
        del client_id  # an account is the user's; whose id it is, the core knows
        if username is None:
            welcome = self._anonymous and peers.is_this_computer(peer)
            return ReasonCode.SUCCESS if welcome else ReasonCode.NOT_AUTHORIZED
        return await self._ask(username, password or b"", peer)

    async def verify(self, username: str, password: str, peer: str) -> bool:
        """Whether this user has this password; False too when too many from there ask at once."""
        return await self._ask(username, password.encode(errors="replace"), peer) is ReasonCode.SUCCESS

    def renew(self, users: Mapping[str, str]) -> None:
        """Go by these hashes from now on. Who has guessed wrong before is remembered."""
        for username in list(self._known):
            if users.get(username) != self._users[username]:
                del self._known[username]
        self._users = dict(users)
        self._nobody = hash_of_nobody(users)

    async def close(self) -> None:
        """Answer no more."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker

    async def _ask(self, username: str, password: bytes, peer: str) -> ReasonCode:
        digest = hashlib.blake2b(password, key=self._key).digest()
        if hmac.compare_digest(self._known.get(username, b""), digest):
            return ReasonCode.SUCCESS
        loop = asyncio.get_running_loop()
        question = _Question(username, password, digest, loop.create_future())
        source = peers.source(peer)
        if not self._turns.join(source, question):
            return ReasonCode.SERVER_BUSY
        self._joined.set()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        try:
            answer = await question.answer
            if answer is ReasonCode.SUCCESS and self._known.get(username) != digest:  # the accounts changed meanwhile
                return ReasonCode.BAD_USER_NAME_OR_PASSWORD
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
        encoded = self._users.get(question.username, self._nobody)
        try:
            right = await asyncio.to_thread(self._check, encoded, question.password)
        except Exception as error:  # noqa: BLE001 whoever asks must be answered; it is told that we failed
            if not question.answer.done():
                question.answer.set_exception(error)
            return
        if right and self._users.get(question.username) != encoded:
            right = False  # it was, but not any more; nobody has guessed
        elif right:
            self._known[question.username] = question.digest
        else:
            self._turns.wrong(source, self._clock())
        if not question.answer.done():
            question.answer.set_result(ReasonCode.SUCCESS if right else ReasonCode.BAD_USER_NAME_OR_PASSWORD)
