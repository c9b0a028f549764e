"""Pairing as the service does it: the window, arithmetic and files in threads, and the account that comes of it."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from time import monotonic, time
from typing import Final

from appliance import certified
from appliance.accounts import load_rules
from appliance.auth.managed import Account, BadManagedFile, edit, speakers
from appliance.auth.pairing_window import (
    LONGEST_MINUTES,
    SHORTEST_MINUTES,
    UNWATCHED_S,
    Meeting,
    State,
    Window,
    owned_problem,
    topics_problem,
)
from appliance.auth.password_file import BadPasswordFile, parse
from appliance.auth.passwords import hashed
from appliance.auth.roles import Grants, filled_in, of_role
from appliance.certified import Certified, CertifiedError
from appliance.clock import rfc3339
from appliance.config import ConfigError
from appliance.hostname import local_name
from appliance.listeners import is_outer
from appliance.pake import (
    PORT,
    Grant,
    PakeError,
    Refusal,
    Request,
    TurnedAway,
    best_name,
    digest,
    is_same,
    shown,
)
from appliance.settings import Listener, Settings

LOG = logging.getLogger(__name__)
LOG.setLevel(logging.INFO)  # who came, and with which codes, is to be known later too
SECRET_BYTES: Final = 24
BETWEEN: Final = (
    "somebody stands between the two and shows the agent another certificate than this hub's: find out who, and have "
    "the agent reach the hub's own port"
)


class _Refused(Exception):
    """The agent cannot have what it asks for; one line with the cure."""


class Pairing:
    """One window after the other. For one event loop.

    `reload` has the service read its accounts again; `announced` gives the name by which mDNS finds this hub, if any.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reload: Callable[[], Awaitable[object]],
        announced: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._announced = announced
        self._clock = clock
        self._window: Window | None = None
        self._logged = 0  # of its notes
        self._hub: Certified | None = None
        self._port = 0

    def is_open(self) -> bool:
        """Whether an agent may come."""
        return self._window is not None and self._window.is_open(self._clock())

    def _log(self, window: Window) -> None:
        """Write down what has happened since the last time."""
        for note in window.notes[self._logged :]:
            LOG.info("pairing: %s", note)
        self._logged = len(window.notes)

    async def open(self, minutes: float) -> dict[str, object]:
        """Open a window; TurnedAway."""
        if not SHORTEST_MINUTES <= minutes <= LONGEST_MINUTES:
            raise TurnedAway(HTTPStatus.BAD_REQUEST, f"give from {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g} minutes")
        self._see_that_none_is_open()
        if not self._settings.accounts.managed_file:
            raise TurnedAway(HTTPStatus.CONFLICT, "set accounts.managed_file first: the agent's account is kept there")
        page = self._listener("web", 'agents come over the page\'s port: add a [[listener]] with serve = "web"')
        broker = self._listener("mqtt", 'there is nowhere to connect to: add a [[listener]] with serve = "mqtt"')
        try:
            self._hub = await asyncio.to_thread(certified.read, Path(broker.certificate))
        except CertifiedError as error:
            raise TurnedAway(HTTPStatus.CONFLICT, str(error)) from None
        self._see_that_none_is_open()
        self._port = broker.port_or_usual()
        window = self._window = Window(
            site=self._settings.site, hub=socket.gethostname(), now=self._clock(), length_s=60 * minutes
        )
        self._logged = 0
        LOG.info("pairing is open for %g minutes", minutes)
        # Announced is another than the host's own where another computer has that; the certificate has older ones too.
        called = [name for name in (self._announced(), local_name()) if name in self._hub.names]
        name = called[0] if called else best_name(self._hub.names)
        where = f"{name}{'' if page.port_or_usual() == PORT else f':{page.port_or_usual()}'}"
        return {"key": window.key, "code": shown(window.code), "where": where, **self.told(window.key, 0)}

    def _see_that_none_is_open(self) -> None:
        if self.is_open():
            cure = f"end the other `appliance pair` first; of one that was killed it ends after {UNWATCHED_S:g} s"
            raise TurnedAway(HTTPStatus.CONFLICT, f"pairing is open already; {cure}")

    def told(self, key: str, since: int) -> dict[str, object]:
        """Say how the window is; TurnedAway. Who asks looks at the code: a window at which nobody looks ends."""
        window = self._asked(key)
        now = self._clock()
        window.seen(now)
        self._log(window)
        return {
            "state": window.state.value,
            "left_s": round(max(0.0, window.ends_at - now), 1) if window.state is State.OPEN else 0.0,
            "tries_left": window.tries_left,
            "notes": window.notes[max(0, since) :],
        }

    def close(self, key: str) -> str:
        """Close the window; gives the words for how it ended. TurnedAway."""
        window = self._asked(key)
        window.close(f"closed on the hub; {window.welcome or 'nobody'} was let in")
        self._log(window)
        return window.notes[-1]

    async def hello(self, body: bytes, peer: str) -> bytes:
        """Speak with an agent; TurnedAway."""
        window = self._open_window()
        meeting = window.hello(body, peer, self._clock())
        try:
            return await asyncio.to_thread(meeting.answer)
        except PakeError as error:
            raise TurnedAway(HTTPStatus.BAD_REQUEST, f"this {error}") from None
        finally:
            window.answered(meeting)

    async def prove(self, body: bytes) -> bytes:
        """Judge whether it had the code; TurnedAway."""
        return self._open_window().prove(body, self._clock())

    async def ask(self, body: bytes, certificate: Callable[[], bytes]) -> bytes:
        """Make its account; TurnedAway. `certificate` gives what this hub shows on the connection, in DER form."""
        window = self._open_window()
        meeting, request = window.ask(body, self._clock())
        try:
            answer = await self._answer(window, meeting, request, certificate)
            if isinstance(answer, Grant):
                window.welcome = answer.username
                await self._reload()
        except (OSError, UnicodeDecodeError, BadManagedFile, BadPasswordFile, ConfigError) as error:
            LOG.error("the account of %s cannot be written: %s", meeting.agent, error)  # noqa: TRY400 one line is enough
            window.failed(meeting)
            raise TurnedAway(
                HTTPStatus.SERVICE_UNAVAILABLE, "the hub cannot write the account; its log says why"
            ) from None
        except BaseException:
            window.failed(meeting)
            raise
        told = window.told(meeting, answer, request)
        self._log(window)
        return told

    async def _answer(
        self, window: Window, meeting: Meeting, request: Request, certificate: Callable[[], bytes]
    ) -> Grant | Refusal:
        site, hub = self._settings.site, self._hub
        assert hub is not None  # noqa: S101 a window is open
        if not is_same(request.certificate, digest(await asyncio.to_thread(certificate))):
            return Refusal(reason=BETWEEN)
        if meeting.site != site:
            return Refusal(
                reason=f"this hub is that of site {site}, the agent of {meeting.site}; set its site to {site}"
            )
        if problem := topics_problem(request.topics, site):
            return Refusal(reason=problem)
        secret = secrets.token_hex(SECRET_BYTES)  # no letter of it is taken for an option
        try:
            name, was_known = await asyncio.to_thread(self._write, window, meeting.agent, request, secret)
        except _Refused as error:
            return Refusal(reason=str(error))
        if was_known:
            window.notes.append(f"{meeting.agent} was known: its old secret is worth nothing from now on")
        return Grant(username=name, secret=secret, names=hub.names, port=self._port, ca=hub.authority)

    def _write(self, window: Window, agent: str, request: Request, secret: str) -> tuple[str, bool]:
        """Write the account, in place of those that the agent had; gives its user's name, and whether it had any.

        What they may read beside their own stays: that is the hub's to say, and no agent asks for it.
        """
        site, password = self._settings.site, hashed(secret.encode())
        names: list[str] = []
        by_hand = self._by_hand()
        rules = self._devices_by_hand(by_hand)

        def change(accounts: dict[str, Account]) -> dict[str, Account]:
            names[:] = speakers(accounts, agent, site, own_site=site)
            others = {name: known for name, known in accounts.items() if name not in names}
            read = tuple(dict.fromkeys(topic for name in names for topic in accounts[name].subscribe))
            name = names[0] if names else agent
            if name in others or name in by_hand:
                raise _Refused(f"{name} is the name of another account; set agent = … to another name")
            devices = {name: known.publish for name, known in others.items() if known.role == "device"}
            if problem := owned_problem(request.topics, devices) or _problem_by_hand(agent, request.topics, rules):
                raise _Refused(problem)
            if window.state is not State.OPEN:  # while the secret was hashed, which takes its time
                raise _Refused("pairing was closed on the hub")
            account = Account(
                password=password,
                role="device",
                site=site,
                agent=agent,
                publish=request.topics,
                subscribe=read,
                made=rfc3339(time()),
                by="pairing",
            )
            return {**others, name: account}

        edit(Path(self._settings.accounts.managed_file), change)
        return (names[0] if names else agent), bool(names)

    def _by_hand(self) -> Mapping[str, str]:
        path = self._settings.accounts.password_file
        return parse(Path(path).read_text()) if path else {}

    def _devices_by_hand(self, users: Mapping[str, str]) -> list[tuple[str, Grants]]:
        """Give what the rules grant to those users of the password file that are devices; ConfigError."""
        path, site = self._settings.accounts.rules_file, self._settings.site
        if not path:
            return []
        return [
            (user, of_role("device", site, rule.agent or user, rule.publish))
            for rule in load_rules(Path(path), users)
            if rule.role == "device"
            for user in (users if rule.everybody else [rule.user])
            if user is not None
        ]

    def _listener(self, serve: str, missing: str) -> Listener:
        able = [
            one
            for one in self._settings.listener
            if one.serve == serve and one.certificate and not one.require_client_certificate
        ]
        if able:
            return next(filter(is_outer, able), able[0])
        raise TurnedAway(HTTPStatus.CONFLICT, f"{missing}, a certificate and an address that agents reach")

    def _open_window(self) -> Window:
        if self._window is None:
            raise TurnedAway(HTTPStatus.NOT_FOUND, "pairing is over")
        self._log(self._window)
        return self._window

    def _asked(self, key: str) -> Window:
        window = self._window
        if window is None or not secrets.compare_digest(key.encode(errors="replace"), window.key.encode()):
            raise TurnedAway(HTTPStatus.NOT_FOUND, "there is no such window; open one with `appliance pair`")
        return window


def _problem_by_hand(agent: str, topics: Sequence[str], rules: Sequence[tuple[str, Grants]]) -> str:
    """Say why the agent cannot have these beside the devices whose rules were written by hand; empty where it can."""
    for user, grants in rules:
        if grants.agent == agent:
            return f"{user} speaks for the agent {agent} by the rules of the hub; set agent = … to another name"
        named = [one for filter_ in grants.publish if (one := filled_in(filter_, user, ""))]
        if problem := owned_problem(topics, {user: named}, "correct the rules of {}"):
            return problem
    return ""
