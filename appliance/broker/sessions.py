"""Every session that the server keeps: of clients that are connected, and of those that may come back."""

from appliance.broker.absent import Absent
from appliance.broker.deadlines import Deadlines
from appliance.broker.rights import ALL_RIGHTS, Rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.shared import take_waiting, unfinished
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills


class Sessions:
    """Sessions by client id, bounded in number; an absent client's ends when its time is over or room is needed."""

    def __init__(self, max_sessions: int, router: Router, wills: Wills, stats: Stats) -> None:
        self.by_id: dict[str, Session] = {}
        self._max_sessions = max_sessions
        self._router = router
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

    def take_up(self, client_id: str, username: str | None, rights: Rights = ALL_RIGHTS) -> Session:
        """Give the client's session, the one it left behind or a new one; its will does not wait any longer."""
        session = self.by_id.get(client_id)
        if session is None:
            session = self.by_id[client_id] = Session(client_id, username, rights)
            self._stats.sessions_now = len(self.by_id)
        else:
            self._absent.discard(session)
            self._deadlines.cancel(session)
            self._wills.revoke(session)
        return session

    def leave(self, session: Session, address: str, now: float) -> None:
        """The client at this address is gone; its session waits for it, or ends with its link."""
        if session.expiry_s:
            self._deadlines.set(now + session.expiry_s, session)
            self._absent.add(session, address)
            self._router.share_again(take_waiting(session), now)
        else:
            self.end(session, now)

    def end(self, session: Session, now: float, cause: str | None = None) -> None:
        """End a session: nothing of it stays, and a will that waited is told now. [MQTT-3.1.2-6]

        Messages that its client would have come back for are dropped for the `cause`.
        """
        for topic_filter in list(session.subscriptions):
            self._router.unsubscribe(session, topic_filter)
        left, lost = unfinished(session)
        self._router.share_again(left, now)
        if lost and cause:
            self._stats.dropped[cause] += lost
        if self.by_id.get(session.client_id) is session:
            del self.by_id[session.client_id]
            self._stats.sessions_now = len(self.by_id)
        self._deadlines.cancel(session)
        self._absent.discard(session)
        self._wills.end(session, now)

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while no session waits."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """End those whose time is over."""
        for session in self._deadlines.due(now):
            self._stats.sessions_ended["expired"] += 1
            self.end(session, now, "session expired")
