"""Whether what the server sent is what it had to send."""

import math
from dataclasses import replace

from model.state import NEVER, V5, Delivery, Divergence, matches

from appliance.mqtt import codec
from appliance.mqtt.packets import PingResp, Publish, PubRec, PubRel
from appliance.mqtt.properties import EMPTY
from appliance.mqtt.types import QoS


class Judge:
    """The half of the model that looks at packets; it changes what is on its way, and nothing else."""

    def __init__(self, limits, now, oracle):
        self.limits = limits
        self.now = now
        self.oracle = oracle
        self.sessions = {}
        self.links = []
        self.groups = {}
        self.retained = {}
        self.orphans = {}  # (client id, user name) -> Orphan

    def saw(self, link, packet, size):
        """The server put this packet on the link; Divergence if it must not."""
        if size > link.max_packet_bytes:
            raise Divergence(f"{link} takes {link.max_packet_bytes} bytes and was sent {size}")
        if isinstance(packet, Publish):
            self._saw_publish(link, packet)
            return
        kind = link.releases if isinstance(packet, PubRel) else link.answers
        if isinstance(packet, PubRel) and packet not in kind and self._saw_release_again(link, packet):
            return
        if not kind or not _says(packet, kind[0]):
            raise Divergence(f"{link} was sent {packet}; due was {kind[0] if kind else 'nothing of the kind'}")
        kind.pop(0)

    def _saw_release_again(self, link, packet):
        session = link.session
        self._skip_resend(session)
        line = session.resend
        if self._is_window_full(session):  # what is a PUBLISH waits then, a release does not [MQTT-3.3.4-10]
            line = self._releases(session)
        if not line or line[0] != packet.packet_id or packet.reason_code:
            return False
        if not session.in_flight[packet.packet_id].released:
            return False
        session.resend.remove(packet.packet_id)
        return True

    def _is_window_full(self, session):
        return len(session.in_flight) - len(session.resend) >= session.window

    def _releases(self, session):
        return [number for number in session.resend if session.in_flight[number].released]

    def _saw_publish(self, link, packet):
        session = link.session
        if session is None:
            raise Divergence(f"{link} was sent {packet} and has not connected")
        packet = self._without_alias(link, packet)
        if packet.dup:
            self._saw_again(link, session, packet)
            return
        if packet.qos:
            self._skip_resend(session)
            if session.resend:
                raise Divergence(f"{link} was sent {packet} before {session.in_flight[session.resend[0]]} again")
            if len(session.in_flight) >= session.window:  # [MQTT-3.3.4-9]
                raise Divergence(f"{link} was sent {packet} with {len(session.in_flight)} in flight")
            if packet.packet_id in session.in_flight:  # [MQTT-2.2.1-4]
                raise Divergence(f"{link} was sent {packet}, and its packet id is in flight")
            self._skip_queue(link, session)
            waiting = session.queue
        else:
            waiting = link.due
        fitting = [delivery for delivery in self._next(waiting, packet) if self._is(link, delivery, packet)]
        if fitting:
            delivery = fitting[0]
            if packet.qos and len(fitting) > 1:  # which of several copies, the client cannot tell
                name = self.oracle.on_behalf_of(session.client_id, packet.packet_id)
                delivery = next((one for one in fitting if one.group and one.group.topic_filter == name), delivery)
            if not packet.qos:
                self._pass_over(link, delivery)
                if link.was_full:
                    raise Divergence(f"{link} does not read and was sent {packet} beyond all bounds")
            waiting.remove(delivery)
            self._sent(session, delivery, packet)
            return
        for replay in sorted(session.replays.values(), key=lambda replay: packet.topic not in replay.due):
            message = self._retained(packet.topic)
            name = replay.wanted.topic_filter
            if message is not None and packet.topic not in replay.seen and matches(name, packet.topic):
                delivery = self._kept(replay, packet.topic)
                if self._is(link, delivery, packet):
                    replay.seen.add(packet.topic)
                    self._sent(session, delivery, packet)
                    return
        due = [self._packet(link, delivery) for delivery in self._next(waiting, packet)]
        raise Divergence(f"{link} was sent {packet}; due was {due or 'nothing of the kind'}")

    @staticmethod
    def _next(waiting, packet):
        """What may come next: of QoS 1 and 2 the first, or another copy of it; of QoS 0 any of the topic."""
        if packet.qos:
            return [delivery for delivery in waiting if delivery.message is waiting[0].message]
        return [delivery for delivery in waiting if delivery.message.topic == packet.topic]

    @staticmethod
    def _pass_over(link, delivery):
        """QoS 0 messages of the topic that should have come before this one will not come any more."""
        for one in link.due[:]:
            if one.message is delivery.message:
                return
            if one.message.topic == delivery.message.topic:
                link.due.remove(one)
                link.missed.append(one)

    @staticmethod
    def _sent(session, delivery, packet):
        if packet.qos:
            session.in_flight[packet.packet_id] = delivery

    def _saw_again(self, link, session, packet):
        self._skip_resend(session)
        if not session.resend or session.resend[0] != packet.packet_id:
            raise Divergence(f"{link} was sent {packet} with DUP; to be sent again were {session.resend}")
        if self._is_window_full(session):
            raise Divergence(f"{link} was sent {packet} again beyond its Receive Maximum")
        self._tell_copies_apart(link, session, packet)
        delivery = session.in_flight[packet.packet_id]
        if delivery.released or not self._is(link, delivery, packet):
            raise Divergence(f"{link} was sent {packet} again, which was {delivery}")
        session.resend.pop(0)

    def _tell_copies_apart(self, link, session, packet):
        """Two copies for two subscriptions look the same to a client of 3.1.1, until it comes back with MQTT 5."""
        in_flight, number = session.in_flight, packet.packet_id
        for other in session.resend:
            same = in_flight[other].message is in_flight[number].message
            if same and not in_flight[other].released and self._is(link, in_flight[other], packet):
                in_flight[number], in_flight[other] = in_flight[other], in_flight[number]
                return

    def _without_alias(self, link, packet):
        alias = packet.properties.topic_alias
        if alias is None:
            return packet
        if alias > link.alias_maximum:  # [MQTT-3.1.2-26]
            raise Divergence(f"{link} takes {link.alias_maximum} aliases and was sent {packet}")
        topic = packet.topic or link.aliases_out.get(alias)
        if topic is None:
            raise Divergence(f"{link} was sent {packet}, whose alias stands for nothing")
        link.aliases_out[alias] = topic
        return replace(packet, topic=topic, properties=replace(packet.properties, topic_alias=None))

    def _is(self, link, delivery, packet):
        expected = self._packet(link, delivery)
        identifiers = tuple(sorted(packet.properties.subscription_identifier))
        told_s, left_s = packet.properties.message_expiry_interval, delivery.message.expires_at - self.now
        # The second that has begun may be taken off.
        if told_s is not None and left_s != NEVER and told_s == math.floor(max(0, left_s)):
            packet = replace(
                packet, properties=replace(packet.properties, message_expiry_interval=max(0, math.ceil(left_s)))
            )
        return expected.qos == packet.qos and expected == replace(
            packet,
            packet_id=expected.packet_id,
            dup=False,
            properties=replace(packet.properties, subscription_identifier=identifiers),
        )

    def _kept(self, replay, topic):
        message = self._retained(topic)
        identifiers = (replay.wanted.identifier,) if replay.wanted.identifier else ()
        return Delivery(message, min(message.qos, replay.wanted.qos), True, identifiers)  # [MQTT-3.3.1-8]

    def _skip_resend(self, session):
        while session.resend:
            delivery = session.in_flight[session.resend[0]]
            if delivery.released or not self._undeliverable(session.link, delivery, again=True):
                return
            del session.in_flight[session.resend.pop(0)]  # [MQTT-3.1.2-25]: as if it had been sent and answered

    def _skip_queue(self, link, session):
        while session.queue and self._undeliverable(link, session.queue[0]):
            session.queue.pop(0)

    def settle(self, link):
        """End of a step: Divergence if the server owes the link anything."""
        for owed in (link.answers, link.releases):
            if owed:
                raise Divergence(f"{link} was not sent {owed[0]}")
        if link.closed:
            return
        missed = link.missed + link.due
        if missed and not self._is_full(link, missed):
            raise Divergence(f"{link} was not sent {self._packet(link, missed[0])}")
        link.missed, link.due = [], []
        session = link.session
        if session is not None:
            self._settle_session(link, session)

    def _is_full(self, link, missed):
        """Whether QoS 0 messages may be dropped: what waits for a client has a bound."""
        size = sum(self._size(link, delivery) for delivery in missed)
        return link.unread_bytes + size > self.limits.max_output_bytes

    def _settle_session(self, link, session):
        for replay in session.replays.values():
            due = [topic for topic in replay.due if self._retained(topic)]
            replay.due = {topic for topic in due if not self._undeliverable(link, self._kept(replay, topic))}
        self._skip_resend_in_window(session)
        has_room = not session.resend and len(session.in_flight) < session.window
        if link.reads and has_room:
            self._skip_queue(link, session)
            if session.queue:
                raise Divergence(f"{link} was not sent {self._packet(link, session.queue[0])}")
            self._settle_replays(link, session)
        elif link.reads and session.resend and not self._is_window_full(session):
            raise Divergence(f"{link} was not sent {session.in_flight[session.resend[0]]} again")
        elif link.reads and self._releases(session):
            raise Divergence(f"{link} was not sent the release of {self._releases(session)[0]} again")
        kept = []
        # Of a burst that filled the link, some waited while the queue was fuller than it is now: how many is free.
        was_full = link.unread_bytes > self.limits.max_output_bytes
        room = self.oracle.queued(session.client_id) if was_full and link.reads else len(session.queue)
        for delivery in session.queue:
            if delivery.fresh and not self._fits(kept, delivery):
                kept = self._alive(kept)
            if not delivery.fresh or (len(kept) < room and self._fits(kept, delivery)):
                kept.append(delivery)
                delivery.fresh = False
        session.queue = kept
        if has_room and not link.reads:  # what cannot be delivered any more may still wait for its turn
            while len(kept) > self.oracle.queued(session.client_id) and self._undeliverable(link, kept[0]):
                kept.pop(0)

    def _skip_resend_in_window(self, session):
        while session.resend and len(session.in_flight) - len(session.resend) < session.window:
            before = len(session.resend)
            self._skip_resend(session)
            if len(session.resend) == before:
                return

    def _settle_replays(self, link, session):
        for replay in session.replays.values():
            for topic in sorted(replay.due - replay.seen):
                if self._retained(topic):
                    raise Divergence(f"{link} was not sent the retained message of {topic}")
        session.replays.clear()

    # --- what a message looks like to a reader ---

    def _size(self, link, delivery):
        return len(codec.encode(self._packet(link, delivery), link.version))

    def _packet(self, link, delivery):
        """The PUBLISH that the reader gets, but for packet id, DUP and topic alias."""
        message = delivery.message
        properties = EMPTY
        if link.version is V5:
            left_s = max(0, message.expires_at - self.now)  # [MQTT-3.3.2-6]; 0 can only be sent again
            properties = replace(
                message.properties,
                message_expiry_interval=None if left_s == NEVER else math.ceil(left_s),
                subscription_identifier=delivery.identifiers,
            )
        return Publish(
            message.topic,
            message.payload,
            QoS(delivery.qos),
            delivery.retain,
            False,
            1 if delivery.qos else None,
            properties,
        )

    def _undeliverable(self, link, delivery, *, again=False):
        """Expired [MQTT-3.3.2-5], or more than the client takes [MQTT-3.1.2-25].

        What was sent once is sent again even if it has expired since [MQTT-4.4.0-1].
        """
        if delivery.message.expires_at < self.now and not again:
            return True
        size = self._size(link, delivery)
        is_written = delivery.qos and self.oracle.flaw.durable and link.session.expiry_s  # then without an alias
        if link.alias_maximum and link.max_packet_bytes < NEVER and not is_written:
            topic = delivery.message.topic
            size += -len(topic.encode()) + 3 if topic in link.aliases_out.values() else 0
            size += 3 if topic not in link.aliases_out.values() and len(link.aliases_out) < link.alias_maximum else 0
        return size > link.max_packet_bytes

    def _alive(self, queue):
        """What stays when room is needed: all but those whose time was over at the last whole second [MQTT-3.3.2-5]."""
        return [delivery for delivery in queue if delivery.message.expires_at >= math.floor(self.now)]

    def _fits(self, queue, delivery):
        size = sum(one.message.size() for one in [*queue, delivery])
        return len(queue) < self.limits.max_queued_messages and size <= self.limits.max_queued_bytes

    # --- retained messages ---

    def _retained(self, topic):
        """The topic's message, if it has one whose time is not over."""
        message = self.retained.get(topic)
        return message if message is not None and message.expires_at > self.now else None


def _says(packet, due):
    """Whether the packet says what is due; words for people are free."""
    if isinstance(packet, PubRec) and isinstance(due, PubRec) and packet.reason_code == 0x10:
        packet = replace(packet, reason_code=0)  # "no matching subscribers" is allowed here and not asked for
    return (
        replace(packet, properties=replace(packet.properties, reason_string=None)) == due
        if due != PingResp()
        else (packet == due)
    )
