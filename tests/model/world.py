"""The real core and the reference model side by side, driven by steps that can be written down and run again.

A step is a method of `World` with plain arguments; it can be done in any state, and does nothing where it makes no
sense, so that any part of a trace is a trace.
"""

from collections import Counter

from journal import RecordingJournal
from model.reference import Model
from model.rules import CLIENTS
from model.state import NEVER, V5, V31, V311, Divergence
from virtual import VirtualClient, VirtualServer, accounts

from appliance.mqtt import codec
from appliance.mqtt.errors import MqttError
from appliance.mqtt.packets import (
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS, ReasonCode
from appliance.settings import Limits

TICK_S = 1 / 1024  # every step has a moment of its own, so that no two deadlines fall together; exact in binary

LIMITS = {  # small ones, so that every bound is met
    "max_connections": 6,
    "max_sessions": 5,
    "max_subscriptions": 4,
    "max_inflight": 4,
    "max_queued_messages": 4,
    "max_queued_bytes": 1_024,
    "max_retained_messages": 4,
    "max_output_bytes": 1_024,
    "receive_maximum": 3,
    "topic_alias_maximum": 2,
    "session_expiry_s": 40,
    "max_keep_alive_s": 60,
    "max_cached_topics": 16,
}

OFFENCES = {  # what a client may not send, and why
    "connect again": (codec.encode(Connect("x"), V5), ReasonCode.PROTOCOL_ERROR),
    "wildcard": (b"\x30\x04\x00\x01+x", ReasonCode.TOPIC_NAME_INVALID),
    "qos 3": (b"\x36\x06\x00\x01a\x00\x01x", ReasonCode.MALFORMED_PACKET),
    "server packet": (b"\xd0\x00", ReasonCode.PROTOCOL_ERROR),
    "nothing wanted": (b"\x82\x02\x00\x01", ReasonCode.PROTOCOL_ERROR),
}
OFFENCES_IN_5 = {"wildcard": b"\x30\x05\x00\x01+\x00x", "nothing wanted": b"\x82\x03\x00\x01\x00"}


def _kind(packet):
    """A word for the kind of packet, with its reason and, of a message, how it came."""
    words = [type(packet).__name__]
    if isinstance(packet, Publish):
        words += [f"qos {int(packet.qos)}", "again" if packet.dup else "retained" if packet.retain else "live"]
    elif reason := getattr(packet, "reason_code", 0):
        words.append(f"{reason:#04x}")
    return " ".join(words)


class Link(VirtualClient):
    """A link whose packets can be seen as soon as the server has put them on its output."""

    def __init__(self, server, version, number):
        self._peeked = 0
        super().__init__(server, version, f"test:{number}")
        self.judged = server.model.open(number, version)  # the model's idea of this link

    def take(self, data):
        """What was read; what was peeked at is known already."""
        super().take(data[self._peeked :])
        self._peeked = 0

    def sent(self):
        """What the server has sent since the last call, read or not."""
        data = b"".join(self.connection.output)
        self._stream.feed(data[self._peeked :])
        self._peeked = len(data)
        try:
            return self.packets()
        except MqttError as error:
            raise Divergence(f"{self.judged} was sent what is no packet: {error}") from error


class Flaw:
    """A fault planted between the server and its clients; this one is none. See test_flaws."""

    limits = LIMITS  # what the server goes by, whatever the model expects
    journal = RecordingJournal
    durable = False  # what it acknowledged is there after a crash; else nothing is

    def incoming(self, packet):
        """What reaches the server of a packet that a client sends."""
        return packet

    def outgoing(self, packets):
        """What the clients are shown of what the server sent."""
        return packets

    def between(self, world):
        """Meddle with the server between two steps."""

    def restored(self, image):
        """Meddle with what the server finds after a crash."""


class Durable(Flaw):
    """No fault either: a server with a journal, and crashes that it outlives."""

    durable = True


class World:
    """One server, its clients, and the model that judges it. `met` counts what came up."""

    def __init__(self, flaw=None, met=None):
        self.flaw = flaw or Flaw()
        self.met = Counter() if met is None else met
        self._payloads = 0
        self._numbers = 0
        self.server = None
        self.crash()

    @property
    def broker(self):
        return self.server.broker

    def can(self, name, arguments):
        """Whether the step would do anything now."""
        who = arguments.get("who")
        if who is None or name == "connect":
            return True
        link = self.links.get(who)
        if link is None:
            return False
        match name:
            case "repeat" | "release":
                return bool(self.unreleased[who]) or arguments.get("which") == 99
            case "acknowledge":
                return link.reads and (bool(link.judged.session.in_flight) or arguments["how"] == "unknown")
            case "stall" | "read":
                return link.reads is (name == "stall")
        return True

    def do(self, name, arguments):
        self.flaw.between(self)
        getattr(self, name)(**arguments)

    # --- the two sides ---

    def _look(self, *leaving):
        """Collect what the server has sent, before the model is told of the step."""
        for link in dict.fromkeys([*self.links.values(), *self.strangers, *leaving]):
            sizes = [(packet, len(codec.encode(packet, link.version))) for packet in link.sent()]
            self._sent[link] = self.flaw.outgoing(sizes)
            before = 0 if link.reads else link.judged.unread_bytes
            link.judged.was_full = before > self.model.limits.max_output_bytes
            link.judged.unread_bytes = before + sum(size for _, size in self._sent[link])

    def _judge(self):
        """Compare what everybody was sent with what the model says."""
        sent, self._sent = self._sent, {}
        for link, packets in sent.items():
            for packet, size in packets:
                self.model.saw(link.judged, packet, size)
                self.met[_kind(packet)] += 1
        for link in sent:
            self.model.settle(link.judged)
            if link.closed is not link.judged.closed:
                raise Divergence(f"{link.judged} is {'closed' if link.closed else 'open'}")
            if link.closed:
                self._forget(link)
        stats, sessions = self.broker.stats, self.model.sessions
        if set(self.broker.sessions) != set(sessions) or stats.sessions_now != len(sessions):
            raise Divergence(f"the sessions are {list(self.broker.sessions)}, not {list(sessions)}")
        connected = sum(session.link is not None for session in sessions.values())
        if stats.clients_now != connected:
            raise Divergence(f"{stats.clients_now} clients are counted, and there are {connected}")

    def _forget(self, link):
        link.reads = True
        self.broker.lost(link.connection, self.server.now)  # the edge says so after a Close too
        self.strangers = [one for one in self.strangers if one is not link]
        self.links = {client: one for client, one in self.links.items() if one is not link}

    # --- what the model may ask of the real server ---

    def holds(self, client_id, group, message):
        """How many copies of a message it keeps for a session on behalf of a shared group."""
        shared = self.broker.router.groups.get(group)  # None if it was wrongly forgotten: it holds nothing then
        session = self.broker.sessions.get(client_id)
        kept = [*session.queue, *session.in_flight.values()] if session is not None and shared is not None else []
        expires_at = None if message.expires_at == NEVER else message.expires_at
        return sum(
            one[4] is not None
            and one[4].name == group
            and one[0] is not None
            and (one[0].topic, one[0].payload, one[0].expires_at) == (message.topic, message.payload, expires_at)
            for one in kept
        )

    def on_behalf_of(self, client_id, packet_id):
        """For which shared group a message is in flight, if for any that still is."""
        session = self.broker.sessions.get(client_id)
        delivery = session.in_flight.get(packet_id) if session is not None else None
        name = delivery[4].name if delivery is not None and delivery[4] is not None else None
        return name if name in self.broker.router.groups else None

    def sent(self, client_id):
        """What messages of QoS 0 it has sent to a client in this step."""
        return [
            packet
            for link, packets in self._sent.items()
            if link.connection.client_id == client_id
            for packet, _ in packets
            if isinstance(packet, Publish) and not packet.qos
        ]

    def queued(self, client_id):
        """How many messages wait for a client."""
        return len(self.broker.sessions[client_id].queue)

    # --- a step from outside ---

    def _pass(self, seconds):
        """Let time pass from event to event, so that each is judged at its own moment."""
        until = self.server.now + seconds
        while (at := self.model.next_event()) <= until:
            self.server.advance(at - self.server.now)
            self._look()
            self.model.pass_time(at)
            self._judge()
        self.server.advance(until - self.server.now)
        self.model.pass_time(until)

    def _send(self, who, packet, tell):
        """Have a client send a packet, and tell the model; gives what the client was sent, None if it is not there."""
        self._pass(TICK_S)
        return self._send_now(who, packet, tell)

    def _send_now(self, who, packet, tell):
        link = self.links.get(who)
        if link is None:
            return None
        link.send(self.flaw.incoming(packet))
        self._look()
        tell(link.judged)
        answers = [packet for packet, _ in self._sent[link]]
        self._judge()
        return answers

    def _payload(self, size):
        self._payloads += 1
        return b"%d." % self._payloads + b"x" * size if size else b""

    def _version(self, who):
        return self.links[who].version if who in self.links else None

    # --- steps: the server ---

    def crash(self):
        """The power fails; without a journal nothing is left."""
        if self.server is not None:
            self.met.update(self.broker.stats.dropped)
            if self.flaw.durable:
                self._crash_and_restart()
                return
        journal = self.flaw.journal(automatic=True) if self.flaw.durable else None
        self.server = VirtualServer(authorize=accounts, journal=journal, **self.flaw.limits)
        self.model = self.server.model = Model(Limits(**LIMITS), self.server.now, self)
        self.links = {}  # by client
        self.strangers = []
        self.unreleased = {client: {} for client in CLIENTS}  # their QoS 2 messages without PUBCOMP, by packet id
        self._sent = {}

    def _crash_and_restart(self):
        self._pass(TICK_S)
        self.met["crash"] += 1
        replaying = {name: set(session.replays) for name, session in self.broker.sessions.items()}
        self.server.crash_and_restart(self.flaw.restored)
        for name, session in self.broker.sessions.items():  # which of them go first is the server's choice
            line = list(session.replays)
            replaying[name] = sorted(replaying.get(name, ()), key=lambda one: line.index(one) if one in line else 0)
        self.model.crash(replaying)
        self.links, self.strangers = {}, []
        self._judge()

    def stop(self):
        """The server ends in an orderly way: whoever can be told is told why."""
        self._pass(TICK_S)
        if self.flaw.durable:
            self._stop_one_by_one()
        present = list(self.links.values())
        self.broker.stop(self.server.now)
        self.server.settle()
        for link in present:
            packets = link.sent()
            if not link.closed:
                raise Divergence(f"{link.judged} is open after the server stopped")
            if link.version is V5 and packets[-1].reason_code != ReasonCode.SERVER_SHUTTING_DOWN:
                raise Divergence(f"{link.judged} was told {packets[-1]} when the server stopped")
        self.met["stop"] += 1
        self.crash()

    def _stop_one_by_one(self):
        """Part the clients from the server as a stop does, each judged at its own moment: wills are told."""
        for link in sorted(self.links.values(), key=lambda link: link.judged.number):
            reason = ReasonCode.SERVER_SHUTTING_DOWN
            self.broker._leaving.disconnect(link.connection, reason, "the server is shutting down", self.server.now)
            self.server.settle()
            self._look()
            self.model.server_closes(link.judged, reason)
            self._judge()

    def wait(self, seconds):
        self._pass(seconds)

    def stranger(self, data):
        """A link that does not begin with a CONNECT, or with half of one."""
        self._pass(TICK_S)
        self._numbers += 1
        link = Link(self.server, V311, self._numbers)
        self.strangers.append(link)
        if not link.closed and data:
            link.send(data)
        self._look()
        if data and data != b"\x10" and not link.judged.closed:
            self.model.lost(link.judged)
        self._judge()

    # --- steps: coming and going ---

    def connect(self, who, version, clean, expiry, window, largest, aliases, keep_alive,
                will, will_qos, will_retain, will_delay, will_expiry, user, nameless):  # fmt: skip
        v5 = version is V5
        name = "" if nameless and version is not V31 else f"c{who}"
        if who in self.links and self.links[who].connection.client_id != name:
            self.lose(who)  # or one client would have two links
        self._pass(TICK_S)
        testament = None
        if will is not None:
            properties = Properties(will_delay_interval=will_delay, message_expiry_interval=will_expiry)
            testament = Will(will, self._payload(5), QoS(will_qos), will_retain, properties if v5 else EMPTY)
        properties = Properties(
            session_expiry_interval=expiry,
            receive_maximum=window,
            maximum_packet_size=largest,
            topic_alias_maximum=aliases,
        )
        packet = Connect(name, clean, keep_alive, user, None, testament, properties if v5 else EMPTY, version)
        self._numbers += 1
        link = Link(self.server, version, self._numbers)
        if not link.closed:
            link.send(self.flaw.incoming(packet))
        self._look(link)
        if not link.judged.closed:
            self.model.connect(link.judged, packet, name or link.connection.client_id)
        connack = next((packet for packet, _ in self._sent[link]), None)
        self._judge()
        if not link.closed:
            self.links[who] = link
            if clean or (version is not V31 and not connack.session_present):
                self.unreleased[who].clear()

    def lose(self, who):
        """The link breaks."""
        self._pass(TICK_S)
        link = self.links.pop(who, None)
        if link is None:
            return
        link.reads = True
        link.lose()
        self._look()
        self.model.lost(link.judged)
        self._judge()

    def disconnect(self, who, with_will, expiry):
        packet = Disconnect()
        if self._version(who) is V5:
            code = ReasonCode.DISCONNECT_WITH_WILL if with_will else 0
            packet = Disconnect(code, Properties(session_expiry_interval=expiry))
        self._send(who, packet, lambda link: self.model.disconnect(link, packet))

    def offend(self, who, how):
        """Break the protocol."""
        data, reason = OFFENCES[how]
        if self._version(who) is V5 and how in {"wildcard", "nothing wanted"}:
            data = OFFENCES_IN_5[how]
        self._send(who, data, lambda link: self.model.server_closes(link, reason))

    def ping(self, who):
        self._send(who, PingReq(), self.model.pinged)

    def stall(self, who):
        """The client stops reading."""
        link = self.links.get(who)
        if link is not None and link.reads:
            link.reads = link.judged.reads = False
            link.judged.unread_bytes = 0

    def read(self, who):
        """It reads again."""
        self._pass(TICK_S)
        link = self.links.get(who)
        if link is not None:
            link.reads = link.judged.reads = True
            self.server.settle()
            self._look()
            self._judge()

    # --- steps: subscriptions ---

    def subscribe(self, who, filters, qos, no_local, as_published, handling, identifier):
        v5 = self._version(who) is V5
        options = (as_published, handling) if v5 else (False, 0)
        wanted = tuple(
            Subscription(one, QoS(qos), v5 and no_local and not one.startswith("$share/"), *options) for one in filters
        )
        properties = Properties(subscription_identifier=(identifier,)) if v5 and identifier else EMPTY
        packet = Subscribe(7, wanted, properties)
        self._send(who, packet, lambda link: self.model.subscribe(link, packet))

    def unsubscribe(self, who, filters):
        packet = Unsubscribe(7, filters)
        self._send(who, packet, lambda link: self.model.unsubscribe(link, packet))

    # --- steps: messages from clients ---

    def publish(self, who, topic, qos, retain, size, expiry, alias, more):
        v5 = self._version(who) is V5
        payload = self._payload(size)
        properties = EMPTY
        name = topic
        if v5:
            way, _, number = (alias or "").partition(" ")
            if way == "use":
                name = ""
            if more == "no text":
                payload += b"\xff"
            properties = Properties(
                message_expiry_interval=expiry,
                topic_alias=int(number) if alias else None,
                payload_format_indicator=1 if more in {"text", "no text"} else None,
                user_property=(("seq", "9"), ("seq", "8")) if more == "user" else (),
                content_type="x" if more == "user" else None,
            )
        taken = self.unreleased[who]
        packet_id = next(number for number in range(1, 100) if number not in taken) if qos else None
        packet = Publish(name, payload, QoS(qos), retain, False, packet_id, properties)
        answers = self._send(who, packet, lambda link: self.model.received(link, packet))
        if qos == 2 and answers is not None and not any(self._is_refusal(answer) for answer in answers):
            taken[packet_id] = Publish(topic, payload, QoS(qos), retain, True, packet_id) if not alias else None

    @staticmethod
    def _is_refusal(answer):
        return isinstance(answer, PubRec) and answer.reason_code >= 0x80

    def burst(self, who, topics, qos, size, cut):
        """Several messages in one piece, or in two that are cut anywhere."""
        version = self._version(who)
        if version is None:
            return
        if qos and version is V5 and self.flaw.durable:  # none is acknowledged before all of them are read
            topics = topics[: max(1, LIMITS["receive_maximum"] - len(self.links[who].judged.session.incoming))]
        packets = [
            Publish(topic, self._payload(size), QoS(qos), packet_id=1_000 + number if qos else None)
            for number, topic in enumerate(topics)
        ]
        data = b"".join(codec.encode(packet, version) for packet in packets)

        def tell(link):
            for packet in packets:
                if not link.closed:
                    self.model.received(link, packet)

        self._pass(TICK_S)
        if who in self.links and cut:
            self.links[who].send(data[:cut])
            data = data[cut:]
        self._send_now(who, data, tell)

    def repeat(self, who):
        """Send a QoS 2 message again that was not released."""
        packet = next((packet for packet in self.unreleased[who].values() if packet is not None), None)
        if packet is not None:
            answers = self._send(who, packet, lambda link: self.model.received(link, packet))
            if answers is not None and any(self._is_refusal(answer) for answer in answers):
                del self.unreleased[who][packet.packet_id]

    def release(self, who, which):
        """PUBREL for a message of the client's, or for none."""
        packet_ids = list(self.unreleased[who])
        packet_id = 60_000 if which == 99 or not packet_ids else packet_ids[which % len(packet_ids)]
        packet = PubRel(packet_id)
        if self._send(who, packet, lambda link: self.model.acknowledged(link, packet)) is not None:
            self.unreleased[who].pop(packet_id, None)

    # --- steps: acknowledgements of what a client was sent ---

    def acknowledge(self, who, how):
        link = self.links.get(who)
        if link is None or not link.reads:
            return
        session = link.judged.session
        seen = [packet_id for packet_id in session.in_flight if packet_id not in session.resend]
        for packet in self._acknowledgements(session, seen, how):
            if self.links.get(who) is link:
                self._send(who, packet, lambda link, packet=packet: self.model.acknowledged(link, packet))

    def _acknowledgements(self, session, seen, how):
        in_flight = session.in_flight

        def due(packet_id):
            delivery = in_flight[packet_id]
            return (PubComp if delivery.released else PubRec if delivery.qos == 2 else PubAck)(packet_id)

        match how:
            case "next":
                return [due(packet_id) for packet_id in seen[:1]]
            case "last":
                return [due(packet_id) for packet_id in seen[-1:]]
            case "all":
                return [due(packet_id) for packet_id in seen]
            case "unseen":
                return [due(packet_id) for packet_id in session.resend[-1:]]
            case "other kind":
                return [(PubAck if in_flight[packet_id].qos == 2 else PubRec)(packet_id) for packet_id in seen[:1]]
            case "early":
                early = [packet_id for packet_id in seen if not in_flight[packet_id].released]
                return [PubComp(packet_id) for packet_id in early[:1]]
            case "again":
                return [PubRec(packet_id) for packet_id in seen if in_flight[packet_id].released][:1]
            case "refuse" if session.link.version is V5:
                open_yet = [packet_id for packet_id in seen if not in_flight[packet_id].released]
                kinds = {1: PubAck, 2: PubRec}
                return [kinds[in_flight[packet_id].qos](packet_id, 0x83) for packet_id in open_yet[:1]]
            case "unknown":
                return [PubAck(60_000), PubRec(60_000), PubComp(60_000)]
        return []
