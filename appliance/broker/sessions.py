"""Every session that the server keeps: of clients that are connected, and of those that may come back."""

from appliance.broker.absent import Absent
from appliance.broker.deadlines import Deadlines
from appliance.broker.purging import NOT_READABLE, Purger
from appliance.broker.records import Back, Dropped, Ended, Left, Opened
from appliance.broker.rights import ALL_RIGHTS, Rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.shared import take_waiting, unfinished
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills


class Sessions:
    """Sessions by client id, bounded in number; an absent client's ends when its time is over or room is needed.

    One that outlives its link is durable: it has a key, and what changes in it is written down.
    """

    def __init__(self, max_sessions: int, router: Router, wills: Wills, stats: Stats) -> None:
        self.by_id: dict[str, Session] = {}
        self._endings: dict[str, int] = {}  # by client id the commit group of its session's end, until that is durable
        self._max_sessions = max_sessions
        self._router = router
        self._notes = router.notes
        self._wills = wills
        self._stats = stats
        self._absent = Absent()
        self._deadlines: Deadlines[Session] = Deadlines()

    def has_room(self, now: float) -> bool:
        """Make room for one more session, if need be at the cost of one whose client is away."""
        if len(self.by_id) < self._max_sessions:
            return True
        dispensable = self._absent.dispensable()
        if dispensable is None:
            return False
        self._stats.sessions_ended["to make room"] += 1
        self.end(dispensable, now, "session ended to make room")
        return True

    def take_up(
        self, client_id: str, username: str | None, rights: Rights = ALL_RIGHTS, expiry_s: float = 0.0
    ) -> Session:
        """Give the client's session, the one it left behind or a new one; its will does not wait any longer."""
        session = self.by_id.get(client_id)
        if session is None:
            session = self.by_id[client_id] = Session(client_id, username, rights)
            self._stats.sessions_now = len(self.by_id)
        else:
            self._absent.discard(session)
            self._deadlines.cancel(session)
        self._wills.revoke(session)
        if session.key and session.left_at is not None:
            self._notes.mention(Back(session.key))
        session.left_at = None
        self.keep_for(session, expiry_s)
        return session

    def keep_for(self, session: Session, expiry_s: float) -> None:
        """Have a present client's session outlive its link for so long."""
        if expiry_s and not session.key:
            session.key = self._notes.journal.take_key()
        elif not expiry_s and session.key:
            self._note_end(session)
        if session.key and session.expiry_s != expiry_s:
            self._notes.mention(Opened(session.key, session.client_id, session.username, expiry_s))
        session.expiry_s = expiry_s

    def leave(self, session: Session, address: str, now: float) -> None:
        """The client at this address is gone; its session waits for it, or ends with its link."""
        if session.expiry_s:
            if session.in_flight and session.rights is not ALL_RIGHTS:  # they may have changed since it was sent
                purger = Purger(session, self._router)
                purger.withdraw_sent()
                self._stats.dropped[NOT_READABLE] += purger.finish(now)
            self.wait(session, address, now, now + session.expiry_s)
            if session.key:
                self._notes.mention(Left(session.key))
            taken = take_waiting(session, self._router.groups)
            self._router.share_again(taken, now)
            if session.key:
                for _, message in taken:
                    self._notes.mention(Dropped(session.key, message.number))
        else:
            self.end(session, now)

    def wait(self, session: Session, address: str, left_at: float, until: float) -> None:
        """Keep the session of a client that is away."""
        self.by_id[session.client_id] = session
        self._stats.sessions_now = len(self.by_id)
        session.left_at = left_at
        self._deadlines.set(until, session)
        self._absent.add(session, address)

    def end(self, session: Session, now: float, cause: str | None = None) -> None:
        """End a session: nothing of it stays, and a will that waited is told now. [MQTT-3.1.2-6]

        Messages that its client would have come back for are dropped for the `cause`.
        """
        self.unsubscribe(session)
        left, lost = unfinished(session, self._router.groups)
        self._router.share_again(left, now)
        if session.key:
            self._note_end(session)
        if lost and cause:
            self._stats.dropped[cause] += lost
        if self.by_id.get(session.client_id) is session:
            del self.by_id[session.client_id]
            self._stats.sessions_now = len(self.by_id)
        self._deadlines.cancel(session)
        self._absent.discard(session)
        self._wills.end(session, now)

    def unsubscribe(self, session: Session) -> None:
        """End all its subscriptions."""
        for topic_filter in list(session.subscriptions):
            self._router.unsubscribe(session, topic_filter)

    def _note_end(self, session: Session) -> None:
        self._endings[session.client_id] = self._notes.journal.group
        self._notes.mention(Ended(session.key))  # what waits for earlier changes does not wait for this one
        session.key = 0
        session.left_out = None

    def ended_in(self, client_id: str) -> int:
        """Give the commit group of the end of the client's last session, 0 where that is durable."""
        return self._endings.get(client_id, 0)

    def committed(self, group: int) -> None:
        """Forget the endings that are durable."""
        if self._endings:
            self._endings = {client_id: ended for client_id, ended in self._endings.items() if ended > group}

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while no session waits."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """End those whose time is over; none of them gets what another one leaves to its groups."""
        over = list(self._deadlines.due(now))  # many at once where a power cut took them all
        for session in over:
            self.unsubscribe(session)
        for session in over:
            self._stats.sessions_ended["expired"] += 1
            self.end(session, now, "session expired")
