"""What a client may no longer read is taken out of its session: it is not sent, and not sent again."""

from collections import deque

from appliance.broker.message import Message
from appliance.broker.records import Done, Dropped, Released, Unsubscribed
from appliance.broker.router import Router
from appliance.broker.session import NOTHING_QUEUED, Delivery, Session
from appliance.broker.shared import SharedGroup
from appliance.mqtt.topics import split_share

NOT_READABLE = "not allowed to read"

Handed = list[tuple[SharedGroup, Message]]
"""What other members of a shared group get in the client's place."""


class Purger:
    """Purges one session of what its present rights do not include; each topic is asked about once."""

    def __init__(self, session: Session, router: Router) -> None:
        self._session = session
        self._router = router
        self._notes = router.notes
        self._barred: dict[str, bool] = {}
        self._handed: Handed = []
        self._dropped = 0

    def end_subscriptions(self) -> None:
        """End those that can bring nothing any more."""
        session = self._session
        left_out = session.left_out or {}
        for topic_filter in [*session.subscriptions, *left_out]:
            if session.rights.may_subscribe(split_share(topic_filter)[1]):
                continue
            self._router.unsubscribe(session, topic_filter)
            if session.key:
                self._notes.mention(Unsubscribed(session.key, topic_filter))

    def withdraw_sent(self) -> None:
        """Do not send again what was sent and not answered; what the present link has seen stays until it answers.

        Of QoS 2 the packet id lives on until it is released: the client may hold it, and would take the next message
        under it for a repetition.
        """
        session = self._session
        for packet_id in list(session.in_flight if session.connection is None else session.resend):
            message, qos, _, _, shared = session.in_flight[packet_id]
            if message is None or not self._is_barred(message.topic):
                continue
            self._dropped += 1
            if qos == 2:
                session.in_flight[packet_id] = None, 2, False, (message.number,), None
                if session.key:
                    self._notes.mention(Released(session.key, packet_id))
                continue
            del session.in_flight[packet_id]
            if session.connection is not None:
                session.resend.remove(packet_id)
            if session.key:
                self._notes.mention(Done(session.key, packet_id))
            self._hand_on(shared, message)

    def withdraw_queued(self) -> None:
        """Drop what stands in line."""
        session = self._session
        kept: deque[Delivery] = deque()
        for delivery in session.queue:
            message = delivery[0]
            assert message is not None  # only in flight it can be  # noqa: S101
            if not self._is_barred(message.topic):
                kept.append(delivery)
                continue
            self._dropped += 1
            if session.key:
                self._notes.mention(Dropped(session.key, message.number))
            self._hand_on(delivery[4], message)
        if len(kept) < len(session.queue):
            session.line_up(kept or NOTHING_QUEUED)
        session.waiting = bool(session.resend or session.queue or session.replays)

    def finish(self, now: float) -> int:
        """Give other members of its groups what was theirs too; gives how many messages were withdrawn."""
        handed, self._handed = self._handed, []
        self._router.share_again(handed, now)
        return self._dropped - len(handed)

    def _is_barred(self, topic: str) -> bool:
        barred = self._barred.get(topic)
        if barred is None:
            barred = self._barred[topic] = not self._session.rights.may_read(topic)
        return barred

    def _hand_on(self, shared: SharedGroup | None, message: Message) -> None:
        group = None if shared is None else self._router.groups.get(shared.name)
        if group is not None and not group.turn(message.topic).empty:
            self._handed.append((group, message))
