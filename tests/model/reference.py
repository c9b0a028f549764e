"""A plain reference model of an MQTT server, 3.1, 3.1.1 and 5: sets and lists, written from the specification.

The real server acts first; then the model is told what happened, and judges every packet that each client was sent.
It knows what must have been sent and what may have been, and shares no code with the server's core: it is slow,
keeps everything in lists and looks at all of them every time.

Where the specification leaves a choice, it follows the server's: packet ids (any that is free), the member of a shared
group (any, but a connected one where there is one), the order of retained messages of different topics. One rule is
stricter than §4.6: messages of QoS 1 and 2 keep one order for all topics of a reader.
"""

from dataclasses import replace

from model.judge import Judge
from model.state import (
    NEVER,
    V5,
    V31,
    Delivery,
    Divergence,
    Group,
    Link,
    Message,
    Orphan,
    Replay,
    Session,
    Wanted,
    group_of,
    matches,
)

from appliance.mqtt.packets import (
    ConnAck,
    Disconnect,
    PingResp,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import ReasonCode

GRACE_S = 10  # what clients have to come back after a crash before their wills are told


class Model(Judge):
    """The server as it should be.

    `oracle` knows the real one. It is asked for what nobody can see from outside: which member of a shared group was
    chosen (`holds`, `sent`, `on_behalf_of`), and how many messages wait for a full link (`queued`).
    """

    # --- time ---

    def next_event(self):
        return min((at for at, _, _ in self._events()), default=NEVER)

    def _events(self):
        """Everything with a moment. A will that is due when its session ends is told by that end."""
        for link in self.links:
            if link.grace_s < NEVER:
                yield link.heard_at + link.grace_s, 0, link
        for session in self.sessions.values():
            if session.will is not None and session.will[1] < session.left_at + session.expiry_s:
                yield session.will[1], 1, session
        for orphan in self.orphans.values():
            yield orphan.due, 1, orphan
        for session in self.sessions.values():
            if session.left_at is not None:
                yield session.left_at + session.expiry_s, 2, session

    def pass_time(self, now):
        """Let the clock go on to `now`; no moment of an event may lie before it."""
        self.now = now
        while due := [event for event in self._events() if event[0] <= now]:
            _, kind, what = min(due, key=_turn)
            if kind == 0:
                self.server_closes(what, ReasonCode.KEEP_ALIVE_TIMEOUT)  # [MQTT-3.1.2-22]
            elif isinstance(what, Orphan):
                self._tell_orphan(what)
            elif kind == 1:
                self._tell_waiting_will(what)
            else:
                self._end(what)

    # --- links ---

    def open(self, number, version):
        link = Link(number, version, self.now)
        if len(self.links) >= self.limits.max_connections:
            link.closed = True
            return link
        link.grace_s = self.limits.connect_timeout_s
        self.links.append(link)
        return link

    def lost(self, link):
        """The link broke, or its server closed it."""
        self._leave(link, tell_will=True)

    def server_closes(self, link, reason):
        if link.version is V5 and link.session is not None:
            link.answers.append(Disconnect(reason))
        self._leave(link, tell_will=True)

    def _leave(self, link, *, tell_will):
        if link in self.links:
            self.links.remove(link)
        link.closed = True
        link.grace_s = NEVER
        session = link.session
        if session is None or session.link is not link:
            return
        session.link = None
        session.resend = []
        will, link.will = link.will, None
        if session.expiry_s:
            session.left_at = self.now
            self._hand_on(session)
        else:
            self._end(session)
        if will is not None and tell_will:
            self._tell(session, will)

    def _hand_on(self, session):
        """What waits for an absent client in a group's name goes to a member that is here, if there is one."""
        groups = {one: self._now(one.group) for one in session.queue if one.group}
        served = [one for one, group in groups.items() if any(member.link for member in group.members)]
        session.queue = [one for one in session.queue if one not in served]
        self._share_again(served)

    def crash(self, replaying):
        """The power fails and comes back. What outlives its link outlives the server; every client is lost.

        `replaying` are the filters whose retained messages the server had not all sent, by client id.
        """
        self.links = []
        for session in list(self.sessions.values()):
            link, session.link = session.link, None
            session.resend = []
            if link is not None:
                session.left_at = self.now
                will_s = 0 if link.will is None else link.will.properties.will_delay_interval or 0
                due = self.now + max(GRACE_S, min(will_s, session.expiry_s))
                if link.will is not None and session.expiry_s:
                    session.will = link.will, due
                elif link.will is not None:
                    whose = session.client_id, session.username
                    self.orphans[whose] = Orphan(*whose, link.will, due, session.will_order)
            if not session.expiry_s:
                for topic_filter in list(session.subscriptions):
                    self._unsubscribe(session, topic_filter)
                del self.sessions[session.client_id]
                continue
            session.is_from_nowhere = True
            again = {}
            for name in replaying[session.client_id]:
                due = {topic for topic in self.retained if matches(name, topic) and self._retained(topic)}
                again[name] = Replay(session.subscriptions[name], due)
            session.replays = again

    def _tell_orphan(self, orphan):
        del self.orphans[orphan.client_id, orphan.username]
        self._publish_will(orphan.will, None)

    def _tell(self, session, will):
        delay_s = min(will.properties.will_delay_interval or 0, session.expiry_s)
        session.will = will, self.now + delay_s
        if not delay_s:
            self._tell_waiting_will(session)

    def _tell_waiting_will(self, session):
        (will, _), session.will = session.will, None
        self._publish_will(will, session.client_id)

    def _publish_will(self, will, source):
        expiry_s = will.properties.message_expiry_interval  # from now on, §3.1.3.2.4
        own = replace(will.properties, will_delay_interval=None, message_expiry_interval=None)
        expires_at = NEVER if expiry_s is None else self.now + expiry_s
        message = Message(will.topic, will.payload, int(will.qos), will.retain, own, expires_at)
        self.publish(message, source)

    def _end(self, session):
        """Nothing of a session stays; its shares go to others, its will is told now."""
        for topic_filter in list(session.subscriptions):
            self._unsubscribe(session, topic_filter)
        del self.sessions[session.client_id]
        sent = [delivery for delivery in session.in_flight.values() if delivery.qos == 1]
        self._share_again([delivery for delivery in sent + session.queue if delivery.group is not None])
        if session.will is not None:
            self._tell_waiting_will(session)

    # --- CONNECT and DISCONNECT ---

    def connect(self, link, connect, client_id):
        """`client_id` is the client's own or the one the server gave it."""
        limits = self.limits
        asked = connect.properties
        link.max_packet_bytes = asked.maximum_packet_size or NEVER
        if not connect.client_id and not connect.clean_start and link.version is not V5:
            return self._turn_away(link, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2)  # [MQTT-3.1.3-8]
        known = self.sessions.get(client_id)
        if known is None and len(self.sessions) >= limits.max_sessions:
            absent = [session for session in self.sessions.values() if session.link is None]
            if not absent:
                return self._turn_away(link, ReasonCode.QUOTA_EXCEEDED, 3)
            # All come from one address; of those that the crash drove away nobody knows any, and each stands alone.
            alone = [session for session in absent if session.is_from_nowhere]
            crowd = [session for session in absent if not session.is_from_nowhere]
            self._end(min(crowd if len(crowd) > 1 or not alone else alone, key=lambda session: session.left_at))
        if known is not None and known.username != connect.username:
            return self._turn_away(link, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2)
        if known is not None and known.link is not None:
            if connect.clean_start:
                known.expiry_s = 0  # it ends with its link, and the will of the link is told
            self.server_closes(known.link, ReasonCode.SESSION_TAKEN_OVER)  # [MQTT-3.1.4-3]
            known = self.sessions.get(client_id)
        if known is not None and connect.clean_start:
            self._end(known)  # [MQTT-3.1.2-4]
            known = None
        session = known or Session(client_id, connect.username)
        self.sessions[client_id] = session
        session.will = None  # [MQTT-3.1.3-9]: it came back in time
        session.will_order = link.number
        self.orphans.pop((client_id, session.username), None)
        session.left_at = None
        session.is_from_nowhere = False
        session.link = link
        if link.version is V5:
            wished_s = asked.session_expiry_interval or 0
        else:
            wished_s = 0 if connect.clean_start else limits.session_expiry_s
        session.expiry_s = min(wished_s, limits.session_expiry_s)
        session.window = min(asked.receive_maximum or 65_535, limits.max_inflight)
        session.resend = list(session.in_flight)  # [MQTT-4.4.0-1]
        keep_alive_s = connect.keep_alive_s
        if link.version is V5 and limits.max_keep_alive_s and not 0 < keep_alive_s <= limits.max_keep_alive_s:
            keep_alive_s = limits.max_keep_alive_s
        link.session = session
        link.will = connect.will
        link.heard_at = self.now
        link.grace_s = 1.5 * keep_alive_s or NEVER
        link.alias_maximum = min(asked.topic_alias_maximum or 0, limits.topic_alias_maximum)
        told = EMPTY
        if link.version is V5:
            told = Properties(
                server_keep_alive=keep_alive_s if keep_alive_s != connect.keep_alive_s else None,
                session_expiry_interval=int(session.expiry_s) if wished_s != session.expiry_s else None,
                receive_maximum=limits.receive_maximum,
                maximum_packet_size=limits.max_packet_bytes,
                topic_alias_maximum=limits.topic_alias_maximum or None,
                assigned_client_identifier=None if connect.client_id else client_id,
            )
        link.answers.append(ConnAck(known is not None and link.version is not V31, 0, told))
        return None

    def _turn_away(self, link, reason, before_5):
        link.answers.append(ConnAck(False, reason if link.version is V5 else before_5))
        self._leave(link, tell_will=False)

    def disconnect(self, link, packet):
        link.heard_at = self.now
        session = link.session
        expiry_s = packet.properties.session_expiry_interval
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:  # §3.14.2.2.2
                self.server_closes(link, ReasonCode.PROTOCOL_ERROR)
                return
            session.expiry_s = min(expiry_s, self.limits.session_expiry_s)
        self._leave(link, tell_will=packet.reason_code == ReasonCode.DISCONNECT_WITH_WILL)

    # --- subscriptions ---

    def subscribe(self, link, packet):
        link.heard_at = self.now
        session = link.session
        codes = []
        for asked in packet.subscriptions:
            topic_filter = asked.topic_filter
            new = topic_filter not in session.subscriptions
            if new and len(session.subscriptions) >= self.limits.max_subscriptions:
                codes.append(0x97 if link.version is V5 else 0x80)
                continue
            codes.append(int(asked.qos))
            identifiers = packet.properties.subscription_identifier or (0,)
            wanted = Wanted(topic_filter, int(asked.qos), asked.no_local, asked.retain_as_published, identifiers[0])
            session.subscriptions[topic_filter] = wanted
            name, plain = group_of(topic_filter)
            if name is not None:
                self.groups.setdefault(name, Group(name)).members[session] = wanted
            elif asked.retain_handling == 0 or (asked.retain_handling == 1 and new):
                due = {topic for topic in self.retained if matches(plain, topic) and self._retained(topic)}
                session.replays[topic_filter] = Replay(wanted, due)
        link.answers.append(SubAck(packet.packet_id, tuple(codes)))

    def unsubscribe(self, link, packet):
        link.heard_at = self.now
        existed = [self._unsubscribe(link.session, topic_filter) for topic_filter in packet.topic_filters]
        codes = tuple(0 if one else 0x11 for one in existed) if link.version is V5 else ()
        link.answers.append(UnsubAck(packet.packet_id, codes))

    def _unsubscribe(self, session, topic_filter):
        session.replays.pop(topic_filter, None)
        group = self.groups.get(topic_filter)
        if group is not None and group.members.pop(session, None) is not None and not group.members:
            del self.groups[topic_filter]
        return session.subscriptions.pop(topic_filter, None) is not None

    # --- PUBLISH from a client ---

    def received(self, link, packet):
        """A client's PUBLISH."""
        link.heard_at = self.now
        session, limits = link.session, self.limits
        topic = packet.topic
        alias = packet.properties.topic_alias
        if alias is not None:
            if alias > limits.topic_alias_maximum:
                self.server_closes(link, ReasonCode.TOPIC_ALIAS_INVALID)  # [MQTT-3.3.2-9]
                return
            if not topic and alias not in link.aliases_in:
                self.server_closes(link, ReasonCode.PROTOCOL_ERROR)
                return
            topic = link.aliases_in[alias] = topic or link.aliases_in[alias]
        qos, packet_id, v5 = int(packet.qos), packet.packet_id, link.version is V5
        if qos == 2 and packet_id in session.incoming:  # [MQTT-4.3.3-10]: not a new message
            link.answers.append(PubRec(packet_id))
            return
        if v5 and qos and len(session.incoming) >= limits.receive_maximum:  # [MQTT-3.3.4-7]; 3.1.1 knows no maximum
            self.server_closes(link, ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
            return
        refused = 0
        if topic.startswith("$"):
            refused = ReasonCode.NOT_AUTHORIZED
        elif packet.properties.payload_format_indicator and not _is_text(packet.payload):
            refused = ReasonCode.PAYLOAD_FORMAT_INVALID
        heard = False
        if not refused:
            expiry_s = packet.properties.message_expiry_interval
            own = replace(packet.properties, message_expiry_interval=None, topic_alias=None)
            expires_at = NEVER if expiry_s is None else self.now + expiry_s
            message = Message(topic, packet.payload, qos, packet.retain, own, expires_at)
            heard = self.publish(message, session.client_id)
        if qos == 1:
            code = refused or (0 if heard else ReasonCode.NO_MATCHING_SUBSCRIBERS)
            link.answers.append(PubAck(packet_id, code if v5 else 0))
        elif qos == 2:
            if not refused:
                session.incoming.add(packet_id)
            link.answers.append(PubRec(packet_id, refused if v5 else 0))

    def publish(self, message, source=None):
        """Keep and deliver it; gives whether anybody has asked for such topics."""
        if message.retain:
            self._retain(message)
        asked = False
        for session in self.sessions.values():
            wanted = [
                one for name, one in session.subscriptions.items()
                if not name.startswith("$share/") and matches(name, message.topic)
            ]  # fmt: skip
            asked = asked or bool(wanted)
            if session.client_id == source:
                wanted = [one for one in wanted if not one.no_local]  # [MQTT-3.8.3-3]
            if wanted:
                retain = message.retain and any(one.retain_as_published for one in wanted)  # [MQTT-3.3.1-12], -13
                identifiers = tuple(sorted(one.identifier for one in wanted if one.identifier))  # [MQTT-3.3.4-4]
                qos = min(message.qos, max(one.qos for one in wanted))  # [MQTT-3.3.4-2]
                self._deliver(session, Delivery(message, qos, retain, identifiers))
        groups = [group for name, group in self.groups.items() if matches(group_of(name)[1], message.topic)]
        self._share(groups, message)
        return asked or bool(groups)

    def _retain(self, message):
        topic = message.topic
        if not self._retained(topic):  # nothing, or its time is over
            self._unretain(topic)
        self._make_room()
        if not message.payload:
            self._unretain(topic)  # [MQTT-3.3.1-6]
        elif topic in self.retained or len(self.retained) < self.limits.max_retained_messages:
            self.retained[topic] = message  # [MQTT-3.3.1-5]

    def _make_room(self):
        for topic in [topic for topic in self.retained if not self._retained(topic)]:
            self._unretain(topic)

    def _unretain(self, topic):
        self.retained.pop(topic, None)
        for session in self.sessions.values():
            for waiting in session.replays.values():
                waiting.due.discard(topic)

    # --- delivery ---

    def _share(self, groups, message):
        """To exactly one member of each; which one, the server has chosen already. [MQTT-4.8.2-4]"""
        offers = [self._offers(group, message) for group in groups]
        offers = [parts for parts in offers if parts]
        found = (self._choices(offers, [], [], drops) for drops in range(len(offers) + 1))  # rather sent than dropped
        choice = next((one for one in found if one is not None), None)
        if choice is None:
            names = ", ".join(group.topic_filter for group in groups)
            raise Divergence(f"{message.payload!r} did not go to one member of each of {names}")
        for session, part in choice:
            self._deliver(session, part)

    def _share_again(self, deliveries):
        """Hand on what a member could not finish, but for what nobody may get any more [MQTT-3.3.2-5]."""
        for delivery in deliveries:
            if delivery.message.expires_at >= self.now:
                self._share([self._now(delivery.group)], delivery.message)

    def _now(self, group):
        """The group as it is now: all may have left it, and others have joined under its name."""
        return self.groups.get(group.topic_filter) or Group(group.topic_filter)

    def _offers(self, group, message):
        """What each member of the group would get; absent ones nothing where somebody is there.

        Those that end at this very moment get nothing: where nobody else is left, it is lost with them.
        """
        members = {session: wanted for session, wanted in group.members.items() if not self._is_over(session)}
        if any(session.link is not None for session in members):
            members = {session: wanted for session, wanted in members.items() if session.link is not None}
        return {session: self._part(group, wanted, message) for session, wanted in members.items()}

    def _choices(self, offers, chosen, dropped, drops):
        """One of each group's offers, as the server can have chosen them and dropped so many; None when it cannot."""
        if not offers:
            for parts in dropped:
                if not any(self._may_drop(session, part, chosen) for session, part in parts.items()):
                    return None
            return chosen
        for session, part in offers[0].items():
            if self._has_one_more(session, part, [one for member, one in chosen if member is session]):
                found = self._choices(offers[1:], [*chosen, (session, part)], dropped, drops)
                if found is not None:
                    return found
        return self._choices(offers[1:], chosen, [*dropped, offers[0]], drops - 1) if drops else None

    def _is_over(self, session):
        return session.left_at is not None and session.left_at + session.expiry_s <= self.now

    def _has_one_more(self, session, part, taken):
        """Whether the server holds a copy for the session that nothing else explains."""
        if part.qos:
            in_flight = [delivery for delivery in session.in_flight.values() if not delivery.released]
            known = [*session.queue, *in_flight, *taken]
            there = self.oracle.holds(session.client_id, part.group.topic_filter, part.message)
            return there > sum(_is_for(one, part.group) and _same(one.message, part.message) for one in known)
        if session.link is None:
            return False
        looks = self._looks(session.link, part)
        known = [*session.link.due, *taken]
        there = sum(self._seen_as(packet) == looks for packet in self.oracle.sent(session.client_id))
        return there > sum(self._looks(session.link, one) == looks for one in known)

    def _looks(self, link, delivery):
        return self._seen_as(self._packet(link, delivery))

    @staticmethod
    def _seen_as(packet):
        """What tells copies of a message apart."""
        return packet.payload, packet.qos, packet.retain, tuple(sorted(packet.properties.subscription_identifier))

    @staticmethod
    def _part(group, wanted, message):
        retain = message.retain and wanted.retain_as_published
        identifiers = (wanted.identifier,) if wanted.identifier else ()
        return Delivery(message, min(wanted.qos, message.qos), retain, identifiers, group)  # [MQTT-4.8.2-3]

    def _may_drop(self, session, delivery, chosen):
        link = session.link
        if link is not None and self._undeliverable(link, delivery):
            return True
        if delivery.qos:
            others = [one for member, one in chosen if member is session and one.qos]
            return not self._fits(self._alive(session.queue + others), delivery)
        return link is None or self._is_full(link, [delivery])

    def _deliver(self, session, delivery):
        link = session.link
        if delivery.qos == 0:
            if link is None or self._undeliverable(link, delivery):
                return  # QoS 0 is for who is there
            link.due.append(delivery)
        elif link is not None:
            session.queue.append(delivery)
        else:
            if not self._fits(session.queue, delivery):
                session.queue = self._alive(session.queue)
            if self._fits(session.queue, delivery):
                delivery.fresh = False
                session.queue.append(delivery)

    # --- acknowledgements from a client ---

    def acknowledged(self, link, packet):
        link.heard_at = self.now
        session, packet_id, v5 = link.session, packet.packet_id, link.version is V5
        delivery = session.in_flight.get(packet_id)
        match packet:
            case PubAck() | PubRec() if packet.reason_code >= 0x80:
                self._done(session, packet_id)
            case PubAck() if delivery is not None and delivery.qos == 1:
                self._done(session, packet_id)
            case PubRec() if delivery is None:
                link.releases.append(PubRel(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if v5 else 0))
            case PubRec() if delivery.qos == 2:
                delivery.released = True
                link.releases.append(PubRel(packet_id))
            case PubComp() if delivery is not None and delivery.released:
                self._done(session, packet_id)
            case PubRel():
                known = packet_id in session.incoming
                session.incoming.discard(packet_id)
                code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if v5 and not known else 0
                link.answers.append(PubComp(packet_id, code))

    @staticmethod
    def _done(session, packet_id):
        session.in_flight.pop(packet_id, None)
        if packet_id in session.resend:
            session.resend.remove(packet_id)

    def pinged(self, link):
        link.heard_at = self.now
        link.answers.append(PingResp())


def _turn(event):
    """Wills of one moment are told in the order they came; sessions of one moment end in the order they began."""
    at, kind, what = event
    return at, kind, what.will_order if kind == 1 else 0


def _is_for(delivery, group):
    return delivery.group is not None and delivery.group.topic_filter == group.topic_filter


def _same(one, other):
    """Whether nobody can tell the messages apart: two without a payload."""
    return (one.topic, one.payload, one.expires_at) == (other.topic, other.payload, other.expires_at)


def _is_text(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
