"""From what a journal holds back to a living broker, and the other way round.

Clients are away after a restart, and their wills with them: one that was connected when the journal ended is lost now,
its session's time runs from now on, and its will is told once, after its delay or after `RESTART_GRACE_S` if that is
longer, unless it is back before. Everybody was lost with the server; most are back within seconds.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from appliance.broker.image import Image, StoredDelivery, StoredSession, StoredWill
from appliance.broker.message import Message
from appliance.broker.ports import Journal, RouteFlag
from appliance.broker.records import (
    Done,
    Dropped,
    Ended,
    Left,
    Opened,
    Queued,
    Received,
    Released,
    Subscribed,
    WillGone,
    WillWaits,
)
from appliance.broker.rights import Authorize
from appliance.broker.router import Router
from appliance.broker.session import Delivery, Session
from appliance.broker.sessions import Sessions
from appliance.broker.shared import SharedGroup
from appliance.broker.topictree import Grant
from appliance.broker.wills import Waiting, Wills

RESTART_GRACE_S = 10.0  # what clients have to come back after a restart before they are given up for lost
RETAINED = int(RouteFlag.RETAINED)


class LeftOut(NamedTuple):
    """How much found no room in the broker, because it is held to less than before. It stays written down."""

    retained: int
    subscriptions: int


def restore(
    image: Image, now: float, router: Router, sessions: Sessions, wills: Wills, authorize: Authorize
) -> LeftOut:
    """Fill an empty broker. What is over by `now` is noted as such and left out; nothing of the rest is written again.

    Messages that are not there any more are left out too: the journal's keeper has told of the damage. What finds no
    room is left out and nothing noted: there may be room again at the next start.
    """
    image.settle()
    notes = router.notes
    for message in image.retained.values():
        if message.expires_at is not None and message.expires_at <= now:
            notes.journal.append(Message(message.topic, b"", 0, True), RETAINED, now)
        elif not router.last.keep(message, now):
            router.last.left_out.add(message.topic)
    missing = 0  # subscriptions
    groups: dict[str, SharedGroup] = {}  # those without a member too: some of their messages may be on their way
    newest = {stored.client_id: stored.key for stored in sorted(image.sessions.values(), key=lambda one: one.key)}
    away = sorted(image.sessions.values(), key=lambda one: -(one.away_s or 0.0))
    for stored in away:
        if newest[stored.client_id] != stored.key:
            notes.mention(Ended(stored.key))
            continue
        session = _session(stored, router, groups, authorize)
        missing += len(stored.subscriptions) - len(session.subscriptions)
        away_s = stored.away_s or 0.0
        if stored.away_s is None:
            notes.mention(Left(stored.key))
        # Where it came from is not known: each is held to account alone. See `Absent`.
        sessions.wait(session, f"restored:{stored.key}", now - away_s, now + max(stored.expiry_s - away_s, 0.0))
    for stored in away:
        if newest[stored.client_id] == stored.key:
            _fill(sessions.by_id[stored.client_id], stored, router, groups)
    for waiting in image.wills.values():
        _await(waiting, now, router, sessions, wills, authorize)
    return LeftOut(len(router.last.left_out), missing)


def _session(stored: StoredSession, router: Router, groups: dict[str, SharedGroup], authorize: Authorize) -> Session:
    """Make the session with its subscriptions."""
    session = Session(stored.client_id, stored.username, authorize(stored.username, stored.client_id))
    session.expiry_s = stored.expiry_s
    session.key = stored.key
    left_out: dict[str, Subscribed] = {}
    for topic_filter, grant in stored.subscriptions.items():
        retain_handling = 0 if topic_filter in stored.replays else 2
        if not router.subscribe(session, topic_filter, grant, retain_handling):  # there may be fewer of them now
            left_out[topic_filter] = _subscribed(
                stored.key, topic_filter, grant, replays=topic_filter in stored.replays
            )
    session.left_out = left_out or None
    groups.update(router.groups)
    return session


def _fill(session: Session, stored: StoredSession, router: Router, groups: dict[str, SharedGroup]) -> None:
    """Give the session what was on its way, in its order and with its packet ids."""
    session.incoming = set(stored.incoming)
    queue: deque[Delivery] = deque()
    for one in stored.deliveries:
        released = one.message is None and one.qos == 2 and one.packet_id
        if one.message is None and not released:
            router.notes.mention(Done(stored.key, one.packet_id) if one.packet_id else Dropped(stored.key, one.number))
            continue
        if one.packet_id:
            session.in_flight[one.packet_id] = _delivery(one, groups)
            session.next_packet_id = one.packet_id % 65_535 + 1
        else:
            queue.append(_delivery(one, groups))
    if queue:
        session.line_up(queue)


def _delivery(one: StoredDelivery, groups: dict[str, SharedGroup]) -> Delivery:
    if one.message is None:
        return None, 2, False, (one.number,), None
    shared = None if one.shared is None else groups.setdefault(one.shared, SharedGroup(one.shared))
    return one.message, one.qos, one.retain, one.identifiers, shared


def _await(
    stored: StoredWill, now: float, router: Router, sessions: Sessions, wills: Wills, authorize: Authorize
) -> None:
    """Have the will told when its time comes."""
    will = stored.will
    session = sessions.by_id.get(will.client_id)
    if session is not None and session.key != will.key:
        session = None
    if stored.due_s is None:
        expiry_s = 0.0 if session is None else session.expiry_s
        due_s = max(min(float(will.delay_s), expiry_s), RESTART_GRACE_S)
        router.notes.mention(WillWaits(will.key, due_s))
    else:
        due_s = max(stored.due_s, 0.0)
    wills.wait(Waiting(will, authorize(will.username, will.client_id), session, now + due_s))


def snapshot(journal: Journal, now: float, router: Router, sessions: Sessions, wills: Wills) -> None:
    """Append and note what makes an empty journal hold all that should outlive the process."""
    told: set[int] = set()
    for message in router.retained.messages():
        journal.append(message, RETAINED, now)
        told.add(message.number)
    durable = [session for session in sessions.by_id.values() if session.key]
    for session in durable:
        for message in _held(session):
            if message.number not in told:
                journal.append(message, 0, now)
                told.add(message.number)
    for session in durable:
        key = session.key
        journal.note(Opened(key, session.client_id, session.username, session.expiry_s))
        for topic_filter, grant in session.subscriptions.items():
            journal.note(_subscribed(key, topic_filter, grant, replays=topic_filter in session.replays))
        for record in (session.left_out or {}).values():
            journal.note(record)
        for packet_id, delivery in session.in_flight.items():
            journal.note(_queued(key, delivery, packet_id))
            if delivery[0] is None:
                journal.note(Released(key, packet_id))
        for delivery in session.queue:
            journal.note(_queued(key, delivery, 0))
        for packet_id in session.incoming:
            journal.note(Received(key, packet_id))
        if session.left_at is not None:
            journal.note(Left(key, now - session.left_at))
    for session in sessions.by_id.values():
        will = None if session.connection is None else session.connection.will
        if will is not None and will.key:
            journal.note(will)
    for waiting in wills.waiting():
        if waiting.will.key:
            journal.note(waiting.will)
            journal.note(WillWaits(waiting.will.key, max(waiting.due - now, 0.0)))


def amend(journal: Journal, image: Image, now: float, router: Router, sessions: Sessions, wills: Wills) -> None:
    """Append and note what makes a journal that holds this image hold all that should outlive the process."""
    for topic in image.retained:
        if router.retained.peek(topic) is None and topic not in router.last.left_out:
            journal.append(Message(topic, b"", 0, True), RETAINED, now)
    for key in image.sessions:
        journal.note(Ended(key))
    for key in image.wills:
        journal.note(WillGone(key))
    snapshot(journal, now, router, sessions, wills)


def _subscribed(key: int, topic_filter: str, grant: Grant, *, replays: bool) -> Subscribed:
    return Subscribed(key, topic_filter, *grant, replays)


def _held(session: Session) -> Iterable[Message]:
    for delivery in (*session.in_flight.values(), *session.queue):
        if delivery[0] is not None:
            yield delivery[0]


def _queued(key: int, delivery: Delivery, packet_id: int) -> Queued:
    message, qos, retain, identifiers, shared = delivery
    if message is None:  # its number stands among the identifiers
        return Queued(key, identifiers[0], 2, False, (), None, packet_id)
    return Queued(key, message.number, qos, retain, identifiers, None if shared is None else shared.name, packet_id)
