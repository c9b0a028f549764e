"""A connected client's bytes, walked once: PUBLISH and its acknowledgements on offsets, the rest through the codec.

This is the hot path. One call sees everything that one read brought; consecutive QoS 0 packets for the same
readers leave as one slice of it; nothing is copied that is not sent. What is asked of every message stands in
its topic's route, so that a check costs one dictionary look-up.
"""

from collections.abc import Callable, Sequence

from appliance.broker.audience import Audience
from appliance.broker.connection import Connection, Stage
from appliance.broker.gate import Gate
from appliance.broker.greeting import explained
from appliance.broker.message import Message
from appliance.broker.origin import held_to
from appliance.broker.outbound import NO_FORMS
from appliance.broker.ports import Inspect
from appliance.broker.records import Done, Forgot, Received, Released
from appliance.broker.router import BUNDLE, NO_READERS, Router
from appliance.broker.session import Session
from appliance.broker.stats import Stats
from appliance.mqtt.errors import MalformedPacket, PacketTooLarge, ProtocolError, QuotaExceeded, ReceiveMaximumExceeded
from appliance.mqtt.packets import PubAck, PubRec
from appliance.mqtt.publish import is_utf8, scan_properties
from appliance.mqtt.types import ReasonCode
from appliance.settings import Limits

PUBACK, PUBREC, PUBREL, PUBCOMP = b"\x40\x02", b"\x50\x02", b"\x62\x02", b"\x70\x02"
PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"
NOT_AUTHORIZED = int(ReasonCode.NOT_AUTHORIZED)
PACKET_ID_NOT_FOUND = int(ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
PAYLOAD_FORMAT_INVALID = int(ReasonCode.PAYLOAD_FORMAT_INVALID)
QUOTA_EXCEEDED = int(ReasonCode.QUOTA_EXCEEDED)
CANNOT_STORE = "cannot be stored at present"
DOLLAR = b"$"
FIRST_BYTES = b"\x30", b"\x32", b"\x34"
"""A PUBLISH's first byte by its QoS, without DUP and retain."""


Handle = Callable[[Connection, bytes, float], None]
"""Acts on a packet of any kind that the walk does not know by itself: connection, whole packet, now."""


class Inbound:
    """Turns bytes of connected clients into routed messages and acknowledgements."""

    def __init__(
        self, handle: Handle, router: Router, gate: Gate, stats: Stats, limits: Limits, inspect: Inspect, site: str
    ) -> None:
        self._handle = handle
        self._site = site
        self._inspect = inspect
        self._router = router
        self._acknowledge = gate.acknowledge
        self._notes = router.notes
        self._outbound = router.outbound
        self._dirty = router.outbound.dirty
        self._stats = stats
        self._max_packet_bytes = limits.max_packet_bytes
        self._receive_maximum = limits.receive_maximum

    def walk(self, connection: Connection, data: bytes, now: float) -> None:
        """Act on every whole packet in `data` and keep the unfinished rest. Raises MqttError at the first bad one."""
        routes = connection.routes
        forward_run = self._outbound.forward_run
        session = connection.session
        assert session is not None  # connected is how it came here  # noqa: S101
        v5 = connection.v5
        client_id = connection.client_id
        in_flight = session.in_flight
        fleeting = not session.key
        smallest = 4 if v5 else 3  # body of a PUBLISH with a topic of one letter and nothing else
        limit = self._max_packet_bytes
        end = len(data)
        pos = 0
        run: Audience | None = None  # readers of the QoS 0 packets from run_start to pos, not yet forwarded
        run_start = run_count = 0
        published = others = 0
        missing = 1  # bytes to wait for; one where not even a length is there
        try:
            while end - pos >= 2:
                first = data[pos]
                size = data[pos + 1]
                body = pos + 2
                if size >= 0x80:
                    head = _long_size(data, body, size)
                    if head is None:
                        break
                    size, body = head
                stop = body + size
                if stop - pos > limit:
                    raise PacketTooLarge(f"a packet of {stop - pos} bytes; at most {limit} are taken")
                if stop > end:
                    missing = stop - end
                    break
                if first == 0x30 and size >= smallest:
                    topic_end = body + 2 + (data[body] << 8 | data[body + 1])
                    route = routes.get(data[body + 2 : topic_end])
                    if route is not None and (topic_end < stop and data[topic_end] == 0 if v5 else topic_end <= stop):
                        audience = route.audience
                        if audience is run or audience.plain:
                            if audience is not run:
                                if run is not None:
                                    forward_run(run, data, run_start, pos, run_count, v5)
                                run, run_start, run_count = audience, pos, 0
                            run_count += 1
                            published += 1
                            if route.flags:
                                self._router.record(route, data[topic_end + v5 : stop], client_id, now)
                            pos = stop
                            continue
                if run is not None:
                    forward_run(run, data, run_start, pos, run_count, v5)
                    run = None
                if first & 0xF0 == 0x30:
                    published += 1
                    self._publish(connection, session, data, pos, body, stop, now)
                    pos = stop
                    continue
                others += 1
                if first == 0x40 and size == 2:
                    while True:  # they come in runs
                        packet_id = data[body] << 8 | data[body + 1]
                        delivery = in_flight.get(packet_id)
                        if delivery is not None and delivery[1] == 1 and fleeting and not session.waiting:
                            del in_flight[packet_id]
                        else:
                            self.puback(session, packet_id, now)
                        if data[stop : stop + 2] != PUBACK or stop + 4 > end:
                            break
                        others += 1
                        body = stop + 2
                        stop += 4
                elif first == 0xC0 and size == 0:
                    self._stats.others_sent += 1
                    connection.put(PINGRESP, self._dirty)  # [MQTT-3.12.4-1]
                elif first == 0x62 and size == 2:
                    self.pubrel(connection, session, data[body:stop])
                elif first == 0x50 and size == 2:
                    self.pubrec(connection, session, data[body:stop])
                elif first == 0x70 and size == 2:
                    self.pubcomp(session, data[body] << 8 | data[body + 1], now)
                else:
                    self._handle(connection, data[pos:stop], now)
                    if connection.stage is not Stage.CONNECTED:
                        return
                pos = stop
        finally:
            if run is not None:
                forward_run(run, data, run_start, pos, run_count, v5)
            self._stats.publish_received += published
            self._stats.others_received += others
        if pos:
            connection.heard_at = now  # a whole packet, [MQTT-3.1.2-22]
        if pos < end:
            connection.tail += data[pos:] if pos else data
            connection.missing_bytes = missing

    def _publish(
        self, connection: Connection, session: Session, data: bytes, start: int, body: int, stop: int, now: float
    ) -> None:
        """Route one PUBLISH of any kind and answer it."""
        self._stats.publish_bytes_received += stop - start
        first = data[start]
        qos = first >> 1 & 3
        if qos == 3:
            raise MalformedPacket("a PUBLISH of QoS 3")  # [MQTT-3.3.1-4]
        if first & 0x08 and not qos:
            raise MalformedPacket("DUP on a PUBLISH of QoS 0")  # [MQTT-3.3.1-2]
        if stop - body < 2:
            raise MalformedPacket("a PUBLISH without a topic")
        after_topic = body + 2 + (data[body] << 8 | data[body + 1])
        pos = after_topic + 2 if qos else after_topic
        if pos > stop:
            raise MalformedPacket("a PUBLISH shorter than its topic")
        topic = data[body + 2 : after_topic]
        packet_id = data[after_topic:pos]
        number = 0
        if qos:
            number = packet_id[0] << 8 | packet_id[1]
            if not number:
                _check_packet_id(0)
        v5 = connection.v5
        properties = b""
        expires_at = None
        alias = 0
        is_text = False
        if v5:
            if pos < stop and data[pos] == 0:  # no properties
                pos += 1
            else:
                properties, expiry_s, pos, alias, is_text = scan_properties(data, pos, stop)
                if expiry_s is not None:
                    expires_at = now + expiry_s
            if alias and connection.aliases_in is not None:
                topic = connection.aliases_in.topic(alias, topic)
            elif not topic:
                raise ProtocolError("a PUBLISH with neither a topic name nor a topic alias")  # §3.3.2.1
        route = connection.routes.get(topic)
        forbidden = ""
        barred: Sequence[str] = ()
        if route is None:  # nothing that may not be published to stands among the routes
            if topic[:1] == DOLLAR:
                self._router.check_name(topic)
                forbidden = "publishing to $ topics is the server's"  # §4.7.2
            else:
                route = self._router.route_for(session.rights, topic)
                if route is None:
                    forbidden = "not allowed to publish"  # [MQTT-3.3.5-2] of 3.1.1
                elif v5 and qos and route.flags & BUNDLE:
                    # An older client cannot be told; of its bundle the rest is taken.
                    barred = self._inspect(route.topic, data[pos:stop], session.rights)
                    if barred:
                        route, forbidden = None, "holds what is not allowed to publish"
        incoming = session.incoming
        if qos and (incoming or connection.held):
            if qos == 2 and number in incoming:
                # Again, when its first one may leave; not delivered again. [MQTT-4.3.3-2]
                self._acknowledge(connection, PUBREC + packet_id, session.group)
                return
            maximum = self._receive_maximum
            # Older clients are told of no maximum, and have 65,535 packet ids at the most.
            if v5 and len(incoming) + connection.held_pubacks >= maximum:
                raise ReceiveMaximumExceeded(  # [MQTT-3.3.4-7]
                    f"more than {maximum} messages without waiting for their acknowledgement"
                )
        if route is None:
            self._deny(connection, qos, packet_id, NOT_AUTHORIZED, forbidden, barred)
            return
        payload = data[pos:stop]
        if is_text and not is_utf8(payload):
            self._deny(connection, qos, packet_id, PAYLOAD_FORMAT_INVALID, "text that is not UTF-8")
            return
        if qos and (route.stores or first & 1 or (qos == 2 and session.key)) and self._notes.journal.refuses:
            self._cannot_store(connection, qos, packet_id)
            return
        as_sent = True
        if properties and session.rights.agent is not None:
            held = held_to(session.rights, properties, self._site)
            if held is not properties:
                properties = held
                as_sent = False
                self._stats.disowned += 1
        message = Message(route.topic, payload, qos, first & 1 == 1, properties, expires_at, connection.client_id)
        forms = NO_FORMS[:]
        # A reader's copy differs in packet id, DUP and retain alone.
        if qos and expires_at is None and not alias and as_sent:
            head = FIRST_BYTES[qos] + data[start + 1 : after_topic] if first & 0x09 else data[start:after_topic]
            forms[qos << 2 | v5] = head, data[after_topic + 2 : stop] if v5 else payload
        group = self._router.publish(route, message, session, now, forms)
        if qos == 1:
            if v5 and route.audience.empty:
                self._acknowledge(connection, b"\x40\x03" + packet_id + bytes((NO_READERS,)), group)
            else:
                self._acknowledge(connection, PUBACK + packet_id, group)
        elif qos:
            incoming.add(number)
            if session.key:
                self._notes.note(session, Received(session.key, number))
                group = session.group
            self._acknowledge(connection, PUBREC + packet_id, group)

    def _deny(
        self,
        connection: Connection,
        qos: int,
        packet_id: bytes,
        reason: int,
        cause: str,
        topics: Sequence[str] = (),
    ) -> None:
        """Answer a message that goes nowhere: 3.1.1 knows no other answer than the usual one.

        `topics` are those in it that it is denied for.
        """
        self._stats.dropped[cause] += 1
        if qos and connection.v5:
            answer = (PubAck if qos == 1 else PubRec)(int.from_bytes(packet_id, "big"), reason)
            self._acknowledge(connection, explained(answer, cause, connection, topics))
        elif qos:
            self._acknowledge(connection, (PUBACK if qos == 1 else PUBREC) + packet_id)

    def _cannot_store(self, connection: Connection, qos: int, packet_id: bytes) -> None:
        """Do not take a message for which an acknowledgement could not leave; 3.1.1 has no other way than to close."""
        self._stats.dropped[CANNOT_STORE] += 1
        if not connection.v5:
            raise QuotaExceeded(f"the message {CANNOT_STORE}")
        answer = (PubAck if qos == 1 else PubRec)(int.from_bytes(packet_id, "big"), QUOTA_EXCEEDED)
        self._acknowledge(connection, explained(answer, f"the message {CANNOT_STORE}", connection))

    # --- acknowledgements: of a message to the client, or the release of one from it ---

    def puback(self, session: Session, packet_id: int, now: float) -> None:
        """A QoS 1 message has arrived; an id that stands for nothing is no harm. [MQTT-4.3.2-1]"""
        delivery = session.in_flight.get(packet_id)
        if delivery is None:
            _check_packet_id(packet_id)
        elif delivery[1] == 1:
            self._done(session, packet_id, now)

    def pubrec(self, connection: Connection, session: Session, packet_id: bytes) -> None:
        """A QoS 2 message has arrived: forget it, keep its id, release it. [MQTT-4.3.3-1]"""
        number = packet_id[0] << 8 | packet_id[1]
        delivery = session.in_flight.get(number)
        if delivery is None:
            _check_packet_id(number)
            if connection.v5:
                self._acknowledge(connection, b"\x62\x03" + packet_id + bytes((PACKET_ID_NOT_FOUND,)))
            else:
                self._acknowledge(connection, PUBREL + packet_id)  # so that the client can let go of it
        elif delivery[1] == 2:
            message = delivery[0]
            if not session.key:
                session.in_flight[number] = (None, 2, False, (), None)
            elif message is not None:
                session.in_flight[number] = (None, 2, False, (message.number,), None)
                self._notes.note(session, Released(session.key, number))
            self._acknowledge(connection, PUBREL + packet_id, session.group)

    def pubrel(self, connection: Connection, session: Session, packet_id: bytes) -> None:
        """The client has let go of a QoS 2 message; so do we. [MQTT-4.3.3-2]"""
        number = packet_id[0] << 8 | packet_id[1]
        if number in session.incoming:
            session.incoming.remove(number)
            if session.key:
                self._notes.note(session, Forgot(session.key, number))
            self._acknowledge(connection, PUBCOMP + packet_id, session.group)
            return
        _check_packet_id(number)
        if connection.v5:
            answer = b"\x70\x03" + packet_id + bytes((PACKET_ID_NOT_FOUND,))
            self._acknowledge(connection, answer, session.group)  # that it is not known must last
        else:
            self._acknowledge(connection, PUBCOMP + packet_id, session.group)

    def pubcomp(self, session: Session, packet_id: int, now: float) -> None:
        """A QoS 2 message is through. [MQTT-4.3.3-1]"""
        delivery = session.in_flight.get(packet_id)
        if delivery is None:
            _check_packet_id(packet_id)
        elif delivery[1] == 2 and delivery[0] is None:
            self._done(session, packet_id, now)

    def refused(self, session: Session, packet_id: int, now: float) -> None:
        """The client answered with a reason of 0x80 or more: the exchange is over, MQTT 5 §4.3."""
        delivery = session.in_flight.get(packet_id)
        if delivery is not None:
            if delivery[0] is not None:
                self._stats.dropped["refused by its reader"] += 1
            self._done(session, packet_id, now)

    def _done(self, session: Session, packet_id: int, now: float) -> None:
        del session.in_flight[packet_id]
        if session.key:
            self._notes.mention(Done(session.key, packet_id))
        if session.waiting:
            if packet_id in session.resend:
                session.resend.remove(packet_id)
            self._outbound.pump(session, now)


def _check_packet_id(packet_id: int) -> None:
    if not packet_id:
        raise ProtocolError("packet id 0")  # [MQTT-2.3.1-1] of 3.1.1, [MQTT-2.2.1-3] of 5


def _long_size(data: bytes, pos: int, size: int) -> tuple[int, int] | None:
    """Size and start of a body of 128 bytes and more; None while its length is still arriving. §2.2.3"""
    size &= 0x7F
    for shift in (7, 14, 21):
        if pos >= len(data):
            return None
        byte = data[pos]
        pos += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0:
                raise MalformedPacket("a remaining length in more bytes than it needs")  # [MQTT-1.5.5-1]
            return size, pos
    raise MalformedPacket("the remaining length runs past four bytes")
