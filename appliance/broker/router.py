"""From a published message to its readers: routes, the fan-out, retained messages and what waits for a reader.

A route holds everything the hot path asks of a topic: that its name is valid, what it is for, and who reads it.
Routes are kept per topic and made again when a subscription changed what they say.
"""

from collections.abc import Iterator
from typing import NamedTuple

from appliance.broker.connection import Connection
from appliance.broker.message import Message
from appliance.broker.ports import Classify, Journal, RouteFlag
from appliance.broker.retained import RetainedStore
from appliance.broker.session import Delivery, Session
from appliance.broker.shared import SharedGroup
from appliance.broker.stats import Stats
from appliance.broker.topictree import Grant, TopicTree
from appliance.mqtt.publish import delivered_properties, publish_parts, translate_run
from appliance.mqtt.topics import check_topic_name, split_share
from appliance.mqtt.wire import utf8
from appliance.settings import Limits

PUMP_BYTES = 65_536  # a link with less than this to send is given more of what waits for it
MAX_CACHED_TOPIC_BYTES = 1_024
RETAINED = int(RouteFlag.RETAINED)
NO_READERS = 0x10  # MQTT 5 §3.4.2.1: "No matching subscribers", a success

Forms = list[tuple[bytes, bytes] | None]
"""A message's bytes before and after the packet id, at `qos << 2 | retain << 1 | v5`; None where nobody asked yet."""
NO_FORMS: Forms = [None] * 12
"""Copied for every message."""


class Reader(NamedTuple):
    """One session that reads a topic, its overlapping subscriptions taken together. [MQTT-3.3.5-1]"""

    session: Session
    qos: int
    retain_as_published: bool
    identifiers: tuple[int, ...]
    grants: tuple[Grant, ...]


class Audience:
    """Who reads a topic; topics with the same readers share one, so that a run of packets goes out as one slice."""

    __slots__ = ("empty", "groups", "plain", "readers", "sessions")

    def __init__(self, readers: tuple[Reader, ...], groups: tuple[SharedGroup, ...]) -> None:
        self.readers = readers
        self.groups = groups
        self.empty = not readers and not groups
        self.sessions = tuple(reader.session for reader in readers)
        # Received bytes may go out unchanged: no reader needs anything of its own in a QoS 0 packet.
        self.plain = not groups and not any(
            reader.identifiers or reader.session.deliver or any(grant.no_local for grant in reader.grants)
            for reader in readers
        )


class Route:
    """What is known of a topic."""

    __slots__ = ("audience", "flags", "topic")

    def __init__(self, topic: str, flags: RouteFlag, audience: Audience) -> None:
        self.topic = topic
        self.flags = int(flags)  # an IntFlag computes too slowly for every message
        self.audience = audience


class Router:
    """Topics, their readers and their last messages."""

    def __init__(self, limits: Limits, stats: Stats, journal: Journal, classify: Classify) -> None:
        self.routes: dict[bytes, Route] = {}
        self.dirty: list[Connection] = []  # links with output to flush
        self.retained = RetainedStore(limits.max_retained_messages, limits.max_retained_bytes)
        self._audiences: dict[tuple[tuple[Reader, ...], tuple[SharedGroup, ...]], Audience] = {}
        self._tree: TopicTree[Session | SharedGroup] = TopicTree()
        self._groups: dict[str, SharedGroup] = {}  # by `$share/group/filter`
        self._limits = limits
        self._max_output_bytes = limits.max_output_bytes
        self._stats = stats
        self._journal = journal
        self._classify = classify

    @property
    def shared_groups(self) -> int:
        """How many shared subscriptions there are."""
        return len(self._groups)

    # --- subscriptions ---

    def subscribe(self, session: Session, topic_filter: str, grant: Grant, retain_handling: int) -> bool:
        """Add or replace a subscription; False when the client has as many as it may."""
        existed = topic_filter in session.subscriptions
        if not existed and len(session.subscriptions) >= self._limits.max_subscriptions:
            return False
        session.subscriptions[topic_filter] = grant
        group, names = split_share(topic_filter)
        if group is not None:
            shared = self._groups.setdefault(topic_filter, SharedGroup())
            shared.members[session] = grant
            self._tree.subscribe(names, shared, grant)
            self._forget_routes(names)
            return True  # without the retained messages, §4.8.2
        self._tree.subscribe(topic_filter, session, grant)
        self._forget_routes(topic_filter)
        if retain_handling == 0 or (retain_handling == 1 and not existed):  # [MQTT-3.3.1-9], [MQTT-3.3.1-10]
            session.replays[topic_filter] = self._replay(topic_filter, grant)
            session.waiting = True
        return True

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription away; False when there was none."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        group, names = split_share(topic_filter)
        if group is not None:
            shared = self._groups[topic_filter]
            del shared.members[session]
            if not shared.members:
                del self._groups[topic_filter]
                self._tree.unsubscribe(names, shared)
                self._forget_routes(names)
            return True
        session.replays.pop(topic_filter, None)  # [MQTT-3.10.4-2]
        self._tree.unsubscribe(topic_filter, session)
        self._forget_routes(topic_filter)
        return True

    def _forget_routes(self, topic_filter: str) -> None:
        if "+" in topic_filter or "#" in topic_filter:
            self.routes.clear()
        else:
            self.routes.pop(topic_filter.encode(), None)
        self._audiences.clear()

    def _replay(self, topic_filter: str, grant: Grant) -> Iterator[Delivery]:
        """Give the retained messages one by one as the reader takes them, each as it is at that moment."""
        identifiers = (grant.identifier,) if grant.identifier else ()
        for topic in self.retained.topics(topic_filter):
            message = self.retained.peek(topic)
            if message is not None:
                yield message, min(grant.qos, message.qos), True, identifiers, None

    # --- publishing ---

    def route(self, topic: bytes) -> Route:
        """Give the topic's route; MalformedPacket when nobody may publish to such a name.

        It is kept for the next message, but for a very long name, which would cost more memory than it saves time,
        and for $-topics, which are the server's own: the walk over a client's bytes must not find one.
        """
        route = self.routes.get(topic)
        if route is not None:
            return route
        name = utf8(topic)
        check_topic_name(name, self._limits.max_topic_levels)
        route = Route(name, self._classify(name), self._audience(name))
        if len(topic) > MAX_CACHED_TOPIC_BYTES or name[0] == "$":
            return route
        if len(self.routes) >= self._limits.max_cached_topics:
            self.routes.clear()
            self._audiences.clear()
        self._audiences[route.audience.readers, route.audience.groups] = route.audience
        self.routes[topic] = route
        return route

    def _audience(self, topic: str) -> Audience:
        grants: dict[Session, list[Grant]] = {}
        groups = []
        for reader, grant in self._tree.match(topic):
            if isinstance(reader, SharedGroup):
                groups.append(reader)
            else:
                grants.setdefault(reader, []).append(grant)
        readers = tuple(
            Reader(
                session,
                max(grant.qos for grant in of_session),
                any(grant.retain_as_published for grant in of_session),
                tuple(grant.identifier for grant in of_session if grant.identifier),
                tuple(of_session),
            )
            for session, of_session in grants.items()
        )
        key = readers, tuple(groups)
        return self._audiences.get(key) or Audience(*key)

    def record(self, route: Route, payload: bytes, client_id: str) -> None:
        """Hand a QoS 0 message without properties to the journal."""
        self._journal.append(Message(route.topic, payload, 0, False, b"", None, client_id), route.flags)

    def forward_run(self, audience: Audience, data: bytes, start: int, stop: int, count: int, v5: bool) -> None:  # noqa: FBT001 hot path
        """Send `count` whole QoS 0 packets, as received between `start` and `stop`, to a plain audience."""
        same = data[start:stop]
        other: bytes | None = None
        sent = 0
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
            if connection.max_packet_bytes and size > connection.max_packet_bytes:
                self._forward_small(connection, run)
                continue
            connection.output.append(run)
            connection.backlog += size
            sent += count
            if not connection.dirty:
                self.dirty.append(connection)  # first: a flag without its entry would silence the link for ever
                connection.dirty = True
        self._stats.publish_sent += sent

    def _forward_small(self, connection: Connection, run: bytes) -> None:
        """Send the packets of the run that the client is willing to take. [MQTT-3.1.2-24]"""
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
            if body + size - pos <= connection.max_packet_bytes:
                connection.put(run[pos : body + size], self.dirty)
                self._stats.publish_sent += 1
            else:
                self._stats.dropped["larger than the client takes"] += 1
            pos = body + size

    def publish(
        self, route: Route, message: Message, source: Session | None, now: float, forms: Forms | None = None
    ) -> int:
        """Keep, record and deliver one message; gives the commit group that its acknowledgement waits for.

        `forms` may hold the message's bytes as they were received, where they serve a reader as they are.
        """
        flags = route.flags
        if message.retain:
            self._retain(message, now)
            flags |= RETAINED
        group = self._journal.append(message, flags) if flags else 0
        audience = route.audience
        if audience.empty:
            return group
        if forms is None:
            forms = NO_FORMS[:]
        published_qos = message.qos
        retained = message.retain
        for session, granted, retain_as_published, identifiers, grants in audience.readers:
            if session is source and any(grant.no_local for grant in grants):
                others = [grant for grant in grants if not grant.no_local]  # [MQTT-3.8.3-3]
                if not others:
                    continue
                granted = max(grant.qos for grant in others)  # noqa: PLW2901 what is left of it
                identifiers = tuple(grant.identifier for grant in others if grant.identifier)  # noqa: PLW2901
            if session.deliver is not None:
                session.deliver(message)
                continue
            retain = retained and retain_as_published  # else 0: [MQTT-3.3.1-9] of 3.1.1, [MQTT-3.3.1-12] of 5
            self._deliver(session, (message, min(granted, published_qos), retain, identifiers, None), now, forms)
        for shared in audience.groups:
            self._share(shared, message, now, forms)
        return group

    def _share(self, shared: SharedGroup, message: Message, now: float, forms: Forms) -> None:
        """Deliver to the member whose turn it is."""
        member = shared.next_member(self._max_output_bytes)
        if member is not None:
            session, grant = member
            retain = message.retain and grant.retain_as_published
            identifiers = (grant.identifier,) if grant.identifier else ()
            delivery = message, min(grant.qos, message.qos), retain, identifiers, shared  # [MQTT-4.8.2-3]
            self._deliver(session, delivery, now, forms)

    def share_again(self, session: Session, now: float) -> None:
        """Hand on what a session that ends had of its groups' messages and had not acknowledged.

        Of what was sent only QoS 1: nobody else may get a QoS 2 message that the client may have. [MQTT-4.8.2-5]
        """
        sent = [delivery for delivery in session.in_flight.values() if delivery[1] == 1]
        for message, _, _, _, shared in [*sent, *session.queue]:
            if shared is not None and message is not None:
                self._share(shared, message, now, NO_FORMS[:])

    def _retain(self, message: Message, now: float) -> None:
        if not message.payload:
            self.retained.discard(message.topic)  # [MQTT-3.3.1-10]
        elif not self.retained.put(message, now):
            self.retained.discard(message.topic)  # an older value must not pass for the last one
            self._stats.dropped["no room to retain"] += 1
        self._stats.retained_now = len(self.retained)

    # --- to one reader ---

    def _deliver(self, session: Session, delivery: Delivery, now: float, forms: Forms) -> None:
        """Send the message at once, or line it up behind others."""
        message, qos, retain, identifiers, _ = delivery
        assert message is not None  # a new delivery has one  # noqa: S101
        connection = session.connection
        if qos == 0:
            if connection is None:
                return  # QoS 0 is for who is there, as with Mosquitto
            if connection.backlog > self._max_output_bytes:
                self._stats.dropped["slow client"] += 1
            else:
                self._send(connection, message, 0, retain, identifiers, 0, now, forms)
        elif (
            connection is not None
            and not session.waiting
            and len(session.in_flight) < session.window
            and connection.backlog <= self._max_output_bytes
        ):
            packet_id = session.take_packet_id()
            if self._send(connection, message, qos, retain, identifiers, packet_id, now, forms):
                session.in_flight[packet_id] = delivery
        else:
            size = len(message.topic) + len(message.payload) + len(message.properties)
            limits = self._limits
            if not session.enqueue(delivery, size, limits.max_queued_messages, limits.max_queued_bytes):
                self._stats.dropped["queue full"] += 1

    def _send(
        self,
        connection: Connection,
        message: Message,
        qos: int,
        retain: bool,  # noqa: FBT001 hot path
        identifiers: tuple[int, ...],
        packet_id: int,
        now: float,
        forms: Forms,
        dup: bool = False,  # noqa: FBT001, FBT002
    ) -> bool:
        """Put one PUBLISH on the link; False when the client would not take it or its time is over."""
        v5 = connection.v5
        form = qos << 2 | retain << 1 | v5
        aliases = connection.aliases_out
        own = bool(identifiers) or aliases is not None  # a form that is for this link alone
        alias = 0
        parts = None if own else forms[form]
        if parts is None:
            properties = b""
            topic = message.topic.encode()
            if v5:
                left_s = None
                if message.expires_at is not None:
                    left_s = int(message.expires_at - now)
                    if left_s <= 0:
                        self._stats.dropped["expired"] += 1  # [MQTT-3.3.2-5]
                        return False
                if aliases is not None:
                    topic, alias = aliases.shorten(message.topic)
                properties = delivered_properties(message.properties, left_s, identifiers, alias)
            elif message.expires_at is not None and message.expires_at <= now:
                self._stats.dropped["expired"] += 1
                return False
            parts = publish_parts(topic, message.payload, qos, retain, properties)
            if not own:
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
        while connection.backlog < PUMP_BYTES:
            if session.resend:
                if session.in_flight_now() >= session.window:
                    return
                self._send_again(session, connection, session.resend.popleft(), now)
            elif len(session.in_flight) >= session.window:
                return
            elif session.queue:
                delivery = session.queue.popleft()
                message = delivery[0]
                assert message is not None  # only in flight it can be  # noqa: S101
                session.queued_bytes -= len(message.topic) + len(message.payload) + len(message.properties)
                self._send_first(session, connection, delivery, now)
            elif session.replays:
                topic_filter, replay = next(iter(session.replays.items()))
                for delivery in replay:
                    self._send_first(session, connection, delivery, now)
                    if connection.backlog >= PUMP_BYTES or len(session.in_flight) >= session.window:
                        break
                else:
                    del session.replays[topic_filter]
            else:
                session.waiting = False
                return

    def _send_first(self, session: Session, connection: Connection, delivery: Delivery, now: float) -> None:
        message, qos, retain, identifiers, _ = delivery
        if message is None:
            return
        packet_id = session.take_packet_id() if qos else 0
        if self._send(connection, message, qos, retain, identifiers, packet_id, now, NO_FORMS[:]) and qos:
            session.in_flight[packet_id] = delivery

    def _send_again(self, session: Session, connection: Connection, packet_id: int, now: float) -> None:
        delivery = session.in_flight[packet_id]
        message, qos, retain, identifiers, _ = delivery
        if message is None:
            connection.put(b"\x62\x02" + packet_id.to_bytes(2, "big"), self.dirty)  # PUBREL
        elif not self._send(connection, message, qos, retain, identifiers, packet_id, now, NO_FORMS[:], dup=True):
            del session.in_flight[packet_id]  # [MQTT-3.3.1-1] sets DUP; an expired one ends here
