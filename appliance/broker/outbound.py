"""Messages on their way to clients: at once where a link is ready, else in line; and what waits, as the link takes it.

With `inbound` this is the hot path. A message is encoded once for all readers of a kind, and consecutive QoS 0
packets go out as they were received.
"""

from collections.abc import Callable

from appliance.broker.aliases import OutgoingAliases
from appliance.broker.audience import Audience
from appliance.broker.connection import Connection
from appliance.broker.gate import Gate
from appliance.broker.message import Message
from appliance.broker.notes import Notes
from appliance.broker.records import Done, Dropped, Queued, Replayed, Sent
from appliance.broker.session import Delivery, Session
from appliance.broker.stats import Stats
from appliance.mqtt.publish import delivered_properties, publish_parts, seconds_left, translate_run
from appliance.settings import Limits

PUMP_BYTES = 65_536  # a link with less than this to send is given more of what waits for it

Forms = list[tuple[bytes, bytes] | None]
"""A message's bytes before and after the packet id, at `qos << 2 | retain << 1 | v5`; None where nobody asked yet."""
NO_FORMS: Forms = [None] * 12
"""Copied for every message."""


class Outbound:
    """Puts messages on links and into sessions."""

    def __init__(self, limits: Limits, stats: Stats, notes: Notes) -> None:
        self.dirty: list[Connection] = []  # links with output to flush
        self.gate = Gate(self.dirty, stats)
        self._notes = notes
        self._limits = limits
        self._max_output_bytes = limits.max_output_bytes
        self._stats = stats
        self.review: Callable[[Session, float], None] | None = None  # what must be looked at before anything is sent

    def forward_run(self, audience: Audience, data: bytes, start: int, stop: int, count: int, v5: bool) -> None:  # noqa: FBT001 hot path
        """Send `count` whole QoS 0 packets, as received between `start` and `stop`, to a plain audience."""
        self._stats.publish_bytes_received += stop - start
        same = data[start:stop]
        other: bytes | None = None
        sent = sent_bytes = 0
        for session in audience.sessions:
            connection = session.connection
            if connection is None:
                continue
            if connection.v5 is v5:
                run = same
            else:
                if other is None:
                    other = translate_run(data, start, stop, to_mqtt5=not v5)
                run = other
            size = len(run)
            if connection.backlog + size > self._max_output_bytes and connection.backlog:
                self._stats.dropped["slow client"] += count
                continue
            if not connection.takes_all and (connection.aliases_out is not None or size > connection.max_packet_bytes):
                self._forward_singly(connection, run)
                continue
            connection.output.append(run)
            connection.backlog += size
            sent += count
            sent_bytes += size
            if not connection.dirty:
                self.dirty.append(connection)  # first: a flag without its entry would silence the link for ever
                connection.dirty = True
        self._stats.publish_sent += sent
        self._stats.publish_bytes_sent += sent_bytes

    def _forward_singly(self, connection: Connection, run: bytes) -> None:
        """Send the packets of the run that the client is willing to take [MQTT-3.1.2-24], with aliases if it does."""
        most = connection.max_packet_bytes
        aliases = connection.aliases_out
        pos = 0
        while pos < len(run):
            size, shift, body = 0, 0, pos + 1
            while True:
                byte = run[body]
                size |= (byte & 0x7F) << shift
                shift += 7
                body += 1
                if byte < 0x80:
                    break
            packet = run[pos : body + size]
            if aliases is not None:
                packet = _with_alias(aliases, packet, body - pos, most)
            if not most or len(packet) <= most:
                connection.put(packet, self.dirty)
                self._stats.publish_sent += 1
                self._stats.publish_bytes_sent += len(packet)
            else:
                self._stats.dropped["larger than the client takes"] += 1
            pos = body + size

    def deliver_plainly(self, audience: Audience, message: Message, now: float, forms: Forms) -> None:
        """Deliver to readers that need nothing of their own and whose sessions are not written down.

        `deliver` and `_send` at once where a link is ready.
        """
        published_qos = message.qos
        retained = message.retain
        stats = self._stats
        for session, granted, retain_as_published, _, _ in audience.fleeting:
            qos = min(granted, published_qos)
            retain = retained and retain_as_published
            delivery = message, qos, retain, (), None
            connection = session.connection
            if qos and connection is not None and not session.waiting:
                in_flight = session.in_flight
                parts = forms[qos << 2 | retain << 1 | connection.v5]
                if (
                    parts is not None
                    and connection.takes_all
                    and len(in_flight) < session.window
                    and connection.backlog <= self._max_output_bytes
                ):
                    packet_id = session.take_packet_id()
                    in_flight[packet_id] = delivery
                    data = parts[0] + packet_id.to_bytes(2, "big") + parts[1]
                    size = len(data)
                    stats.publish_sent += 1
                    stats.publish_bytes_sent += size
                    connection.output.append(data)
                    connection.backlog += size
                    if not connection.dirty:
                        self.dirty.append(connection)
                        connection.dirty = True
                    continue
            self.deliver(session, delivery, now, forms)

    def deliver_durably(self, audience: Audience, message: Message, now: float, forms: Forms) -> None:
        """Deliver to those readers of a plain audience whose sessions are written down."""
        for session, granted, retain_as_published, _, _ in audience.durable:
            retain = message.retain and retain_as_published
            self.deliver(session, (message, min(granted, message.qos), retain, (), None), now, forms)

    def deliver(self, session: Session, delivery: Delivery, now: float, forms: Forms) -> None:
        """Send the message at once, or line it up behind others."""
        qos = delivery[1]
        connection = session.connection
        if connection is None:
            if qos:  # QoS 0 is for who is there, as with Mosquitto
                self._enqueue(session, delivery, now)
        elif connection.backlog + connection.held_bytes > self._max_output_bytes:
            if qos:
                self._enqueue(session, delivery, now)
            else:
                self._stats.dropped["slow client"] += 1
        elif not qos:
            self._send(connection, delivery, 0, now, forms)
        elif session.waiting or len(session.in_flight) >= session.window:
            self._enqueue(session, delivery, now)
        else:
            packet_id = session.take_packet_id()
            if self._send(connection, delivery, packet_id, now, forms):
                session.in_flight[packet_id] = delivery

    def _enqueue(self, session: Session, delivery: Delivery, now: float) -> None:
        most, most_bytes = self._limits.max_queued_messages, self._limits.max_queued_bytes
        if not session.enqueue(delivery, most, most_bytes):
            expired = session.drop_expired(now)  # what nobody will get must not keep out what somebody would
            if expired:
                self._stats.dropped["expired"] += len(expired)
            if session.key:
                for message in expired:
                    self._notes.mention(Dropped(session.key, message.number))
            if not expired or not session.enqueue(delivery, most, most_bytes):
                self._stats.dropped["queue full"] += 1
                return
        if session.key:
            self._notes.entrust(self._queued(session, delivery, 0, now))

    def _queued(self, session: Session, delivery: Delivery, packet_id: int, now: float) -> Queued:
        message, qos, retain, identifiers, shared = delivery
        assert message is not None  # only once it was sent it can be  # noqa: S101
        number = self._notes.number(message, now)
        name = None if shared is None else shared.name
        return Queued(session.key, number, int(qos), retain, identifiers, name, packet_id)

    def _send(
        self,
        connection: Connection,
        delivery: Delivery,
        packet_id: int,
        now: float,
        forms: Forms | None = None,
        dup: bool = False,  # noqa: FBT001, FBT002 hot path
        in_line: bool = False,  # noqa: FBT001, FBT002
    ) -> bool:
        """Put one PUBLISH on the link; False when the client would not take it or its time is over.

        `forms` keeps the bytes for the message's next reader; without it nobody else is expected. `in_line` is what
        a durable session is known to hold already.
        """
        message, qos, retain, identifiers, _ = delivery
        assert message is not None  # what is sent has one  # noqa: S101
        if message.expires_at is not None and message.expires_at < now and not dup:  # a delivery begun is finished
            self._stats.dropped["expired"] += 1  # [MQTT-3.3.2-5]
            return False
        aliases = connection.aliases_out
        if aliases is not None and qos and connection.session is not None and connection.session.key:
            aliases = None  # it may have to wait, and what goes before it could not use an alias that it sets
        form = qos << 2 | retain << 1 | connection.v5
        if identifiers or aliases is not None:
            forms = None  # these bytes are for this link alone
        parts = None if forms is None else forms[form]
        alias = 0
        if parts is None:
            topic = message.topic.encode()
            properties = b""
            if connection.v5:
                left_s = None if message.expires_at is None else seconds_left(message.expires_at, now)
                if aliases is not None:
                    topic, alias = aliases.shorten(message.topic)
                properties = delivered_properties(message.properties, left_s, identifiers, alias)
            parts = publish_parts(topic, message.payload, qos, retain, properties)
            if forms is not None:
                forms[form] = parts
        head, rest = parts
        if dup:
            head = bytes((head[0] | 0x08,)) + head[1:]
        data = head + packet_id.to_bytes(2, "big") + rest if qos else head + rest
        if connection.max_packet_bytes and len(data) > connection.max_packet_bytes:
            self._stats.dropped["larger than the client takes"] += 1  # [MQTT-3.1.2-25]
            if aliases is not None:
                aliases.take_back(message.topic, alias)
            return False
        self._stats.publish_sent += 1
        self._stats.publish_bytes_sent += len(data)
        if qos:
            session = connection.session
            if session is not None and session.key:
                if not dup:
                    record: Queued | Sent
                    if in_line:
                        record = Sent(session.key, message.number, packet_id)
                    else:
                        record = self._queued(session, delivery, packet_id, now)
                    if qos == 2:
                        self._notes.note(session, record)
                    else:
                        self._notes.entrust(record)
                if qos == 2:  # its packet id must outlive a power cut, or it would come twice
                    self.gate.send(connection, data, session.group)
                    return True
                if connection.held_messages:  # all messages keep their order, and are sent again in it [MQTT-4.6.0-1]
                    self.gate.send(connection, data, 0)
                    return True
        connection.output.append(data)
        connection.backlog += len(data)
        if not connection.dirty:
            self.dirty.append(connection)
            connection.dirty = True
        return True

    def pump(self, session: Session, now: float) -> None:
        """Give the link more of what waits for it, as far as its window and its socket allow."""
        connection = session.connection
        if connection is None:
            return
        if self.review is not None:
            self.review(session, now)
        while connection.backlog + connection.held_bytes < PUMP_BYTES:
            if session.resend:
                if session.in_flight_now() >= session.window:
                    for packet_id in session.take_releases():  # only a PUBLISH waits for the window [MQTT-3.3.4-10]
                        self._send_again(session, connection, packet_id, now)
                    return
                self._send_again(session, connection, session.resend.pop(), now)
            elif len(session.in_flight) >= session.window:
                return
            elif session.queue:
                self._send_first(session, connection, session.dequeue(), now, in_line=True)
            elif session.replays:
                topic_filter, replay = next(iter(session.replays.items()))
                for delivery in replay:
                    if delivery[1]:
                        self._send_first(session, connection, delivery, now, in_line=False)
                    else:
                        self._send(connection, delivery, 0, now)
                    waiting_bytes = connection.backlog + connection.held_bytes
                    if waiting_bytes >= PUMP_BYTES or len(session.in_flight) >= session.window:
                        break
                else:
                    del session.replays[topic_filter]
                    if session.key:
                        self._notes.mention(Replayed(session.key, topic_filter))
            else:
                session.waiting = False
                return

    def _send_first(
        self, session: Session, connection: Connection, delivery: Delivery, now: float, *, in_line: bool
    ) -> None:
        message, qos, retain, identifiers, shared = delivery
        assert message is not None  # what is sent for the first time has one  # noqa: S101
        if not qos:
            self._send(connection, delivery, 0, now)
            return
        if session.key and not in_line:  # what the journal held of the last message of a topic may be gone by now
            delivery = message.copy(), qos, retain, identifiers, shared
        packet_id = session.take_packet_id()
        if self._send(connection, delivery, packet_id, now, None, False, in_line):
            session.in_flight[packet_id] = delivery
        elif session.key and in_line:
            self._notes.mention(Dropped(session.key, message.number))

    def _send_again(self, session: Session, connection: Connection, packet_id: int, now: float) -> None:
        delivery = session.in_flight[packet_id]
        if delivery[0] is None:
            self._stats.others_sent += 1
            self.gate.send(connection, b"\x62\x02" + packet_id.to_bytes(2, "big"), session.group)  # PUBREL
        elif not self._send(connection, delivery, packet_id, now, dup=True):
            del session.in_flight[packet_id]  # [MQTT-3.3.1-1] sets DUP
            if session.key:
                self._notes.mention(Done(session.key, packet_id))


def _with_alias(aliases: OutgoingAliases, packet: bytes, body: int, most: int) -> bytes:
    """Give an MQTT 5 PUBLISH of QoS 0 without properties with its topic's alias, where it has one and there is room."""
    after_topic = body + 2 + (packet[body] << 8 | packet[body + 1])
    name = str(packet[body + 2 : after_topic], "utf-8")
    topic, alias = aliases.shorten(name)
    if not alias:
        return packet
    properties = delivered_properties(b"", None, (), alias)
    head, rest = publish_parts(topic, packet[after_topic + 1 :], 0, False, properties)
    if most and len(head) + len(rest) > most:
        if topic:
            aliases.take_back(name, alias)
        return packet
    return head + rest
