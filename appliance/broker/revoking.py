"""Rights that change while clients are here or away: from that moment on nothing passes that they do not include.

What is asked of each message is settled at once: the rights of every session and will, the routes, what links have
not sent yet. What only waits is gone through in steps, a session at once before anything is sent of it.
"""

from collections.abc import Callable

from appliance.broker.connection import Connection
from appliance.broker.entry import Entry
from appliance.broker.leaving import Leaving
from appliance.broker.message import Message
from appliance.broker.purging import NOT_READABLE, Purger
from appliance.broker.records import Done, WillKept
from appliance.broker.retained import UNKNOWN
from appliance.broker.rights import Authorize, Rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills
from appliance.mqtt.types import ReasonCode

STEP = 20_000  # messages and subscriptions that are gone through before others have their turn
ACCOUNT_CHANGED = "its account is gone or was changed"
UNSENT = "its rights changed, and it has not read what was sent before"

IsOusted = Callable[[str | None], bool]
"""Whether a user's clients may not stay, nor their sessions: the account is gone, or somebody else's by now."""


IsLastWord = Callable[[WillKept], bool]
"""Whether a will is told although its client is ousted."""


IsOrphan = Callable[[Message], bool]
"""Whether whoever published a message may not do so any more, where it is not known who that was."""

IsAnothers = Callable[[Message], bool]
"""Whether a message may be of somebody who may publish it now, though whose client id it bears may not."""


class Revoking:
    """Applies what `authorize` says by now."""

    def __init__(
        self,
        router: Router,
        sessions: Sessions,
        wills: Wills,
        leaving: Leaving,
        entry: Entry,
        stats: Stats,
        authorize: Authorize,
    ) -> None:
        self._router = router
        self._outbound = router.outbound
        self._sessions = sessions
        self._wills = wills
        self._leaving = leaving
        self._entry = entry
        self._stats = stats
        self._authorize = authorize
        self._unseen: dict[Session, None] = {}  # whose lines are still to be gone through
        self._due: float | None = None

    def reauthorize(
        self,
        is_ousted: IsOusted,
        now: float,
        *,
        restored: bool = False,
        is_orphan: IsOrphan | None = None,
        is_last_word: IsLastWord | None = None,
        is_anothers: IsAnothers | None = None,
    ) -> None:
        """Ask about everybody again.

        `restored`: nobody is connected, and what the last process has left may be from before any change. By its
        client id alone a retained message is not taken from who `is_anothers` says it may be of: since its publisher
        left, anybody may have taken that id. `is_orphan` is asked of those whose publisher is not known; without it
        they stay. Without `is_last_word` no will is told of who is ousted: whoever had its password has chosen it, and
        the name is another's by now.
        """

        def is_silenced(will: WillKept) -> bool:
            return is_ousted(will.username) and (is_last_word is None or not is_last_word(will))

        self._router.forget_routes()
        if restored:
            # What nobody in particular has published is most often from before there were accounts.
            nobody = None if is_ousted(None) else UNKNOWN
            names = {one.client_id: one.username for one in self._sessions.by_id.values() if one.username != nobody}
            self._router.retained.attribute(
                names,
                lambda message, username: (
                    is_anothers is not None
                    and is_anothers(message)
                    and not self._authorize(username, message.client_id).may_publish(message.topic)
                ),
            )
        ousted: list[Session] = []
        changed: list[Session] = []
        for session in list(self._sessions.by_id.values()):
            rights = self._authorize(session.username, session.client_id)
            if is_ousted(session.username):
                ousted.append(session)
            elif restored or not rights.same_as(session.rights):
                changed.append(session)
            else:
                continue
            session.rights = rights
            if session.connection is not None:
                session.connection.routes = self._router.tables.of(rights)
        self._wills.reauthorize(self._authorize, is_silenced)
        self._entry.oust(is_ousted)
        for session in ousted:  # first, so that none of them gets what another one leaves to its groups
            self._sessions.unsubscribe(session)
        for session in ousted:
            connection = session.connection
            if connection is not None and connection.will is not None and is_silenced(connection.will):
                self._wills.drop(connection.will)
                connection.will = None
            self._oust(session, now)
        for session in changed:
            if session.connection is not None:
                self._stop_sending(session, session.connection, now)
            self._unseen[session] = None
        self._withdraw_retained(now, is_orphan)
        self._outbound.review = self._review if self._unseen else None
        self.tick(now)

    # --- at once ---

    def _oust(self, session: Session, now: float) -> None:
        if session.expiry_s:
            self._stats.sessions_ended[ACCOUNT_CHANGED] += 1
        if session.connection is None:
            self._sessions.end(session, now, ACCOUNT_CHANGED)
        else:
            session.expiry_s = 0.0  # to end with its link
            session.connection.output.clear()
            self._leaving.disconnect(session.connection, ReasonCode.NOT_AUTHORIZED, ACCOUNT_CHANGED, now)

    def _stop_sending(self, session: Session, connection: Connection, now: float) -> None:
        """Hold back what the link was given and has not sent."""
        rights = session.rights
        for packet_id, again in self._outbound.gate.withdraw(connection, lambda topic: not rights.may_read(topic)):
            if again:  # on an earlier link it was sent: it goes the way of those
                session.resend.append(packet_id)
                continue
            del session.in_flight[packet_id]
            self._stats.dropped[NOT_READABLE] += 1
            if session.key:
                self._router.notes.mention(Done(session.key, packet_id))
        if connection.backlog:  # bytes that nobody can look into any more; what was sent of them may be half a packet
            connection.output.clear()
            self._leaving.disconnect(connection, ReasonCode.ADMINISTRATIVE_ACTION, UNSENT, now)

    def _withdraw_retained(self, now: float, is_orphan: IsOrphan | None) -> None:
        """Clear what its publisher might not say any more, for everybody who has seen it. CVE-2018-12546"""
        if is_orphan is not None:
            for message in [one for one in self._router.retained.unattributed() if is_orphan(one)]:
                self._clear(message.topic, now)
        known: dict[tuple[str | None, str], Rights] = {}
        for message, username in list(self._router.retained.published()):
            whose = username, message.client_id
            rights = known.get(whose)
            if rights is None:
                rights = known[whose] = self._authorize(*whose)
            if not rights.may_publish(message.topic):
                self._clear(message.topic, now)

    def _clear(self, topic: str, now: float) -> None:
        self._router.publish(self._router.route(topic.encode()), Message(topic, b"", 1, True), None, now)

    # --- in steps ---

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while everything was gone through."""
        return self._due

    def tick(self, now: float) -> None:
        """Go on."""
        left = STEP
        while self._unseen and left > 0:
            session = next(iter(self._unseen))
            left -= 1 + len(session.queue) + len(session.in_flight) + len(session.subscriptions)
            self._review(session, now)
        self._due = now if self._unseen else None

    def _review(self, session: Session, now: float) -> None:
        """Go through one session, if that was not done yet."""
        if session not in self._unseen:
            return
        del self._unseen[session]
        if not self._unseen:
            self._outbound.review = None
        if self._sessions.by_id.get(session.client_id) is not session:
            return
        purger = Purger(session, self._router)
        purger.end_subscriptions()
        purger.withdraw_sent()
        purger.withdraw_queued()
        self._stats.dropped[NOT_READABLE] += purger.finish(now)
