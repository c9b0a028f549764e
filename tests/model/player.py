"""Plays traces to a real broker over loopback sockets and notes what every client is sent, in words two brokers share.

What brokers may choose is taken out: packet ids of theirs become the payload they stand for, messages of different
topics have no order, and of CONNACK only what a client has to act on is kept. Whatever arrived is waited for without
a clock: a PINGREQ is answered after what was sent before it, and a client beside the trace asks three times, so that
a broken link has been noticed.
"""

import socket
import struct
from dataclasses import replace

from model.state import V5, V31, V311, group_of, matches
from raw import PATIENCE_S

from appliance.mqtt import codec
from appliance.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import QoS, ReasonCode

CLIENTS = (0, 1, 2, 3)
TOPICS = ("a", "a/b", "a/b/c", "b", "b/c")
FILTERS = ("#", "+", "a/#", "+/b", "+/+", "a", "a/b", "b/#", "$share/g/a/#", "$share/g/b")

RULES = {
    "connect": {  # without a Receive Maximum: see "Receive Maximum after an acknowledgement"
        "who": CLIENTS,
        "version": (V31, V311, V5, V5),
        "clean": (True, False, False),
        "expiry": (None, 600, 600, 0),
        "will": (None, None, "a", "a/b"),
        "will_qos": (0, 1, 2),
        "will_retain": (False, False, True),
    },
    "disconnect": {"who": CLIENTS, "with_will": (False, True), "expiry": (None, None, 0, 600)},
    "lose": {"who": CLIENTS},
    "subscribe": {
        "who": CLIENTS,
        "filters": (*((one,) for one in FILTERS), ("#", "a/b"), ("a", "+/b", "b/#")),
        "qos": (0, 1, 2, 2),
        "no_local": (False, False, True),
        "as_published": (False, True),
        "handling": (0, 0, 1, 2),
        "identifier": (None, None, 1, 2, 300),
    },
    "unsubscribe": {"who": CLIENTS, "filters": (*((one,) for one in FILTERS), ("#", "a", "x"))},
    "publish": {
        "who": CLIENTS,
        "topic": TOPICS,
        "qos": (0, 1, 1, 2, 2),
        "retain": (False, False, True),
        "size": (0, 10, 10, 100),
        "more": (None, None, None, "properties", "alias"),
        "again": (False, False, True),
    },
    "acknowledge": {"who": CLIENTS, "how": ("next", "last", "all", "all", "all")},
    "offend": {"who": CLIENTS, "how": ("qos 3",)},
}
WEIGHTS = {
    "connect": 6, "disconnect": 2, "lose": 2, "subscribe": 12, "unsubscribe": 3, "publish": 30, "acknowledge": 16,
    "offend": 0.5,
}  # fmt: skip


def random_step(rng):
    """One step of any kind as (name, arguments)."""
    (name,) = rng.choices(list(RULES), [WEIGHTS[name] for name in RULES])
    return name, {argument: rng.choice(values) for argument, values in RULES[name].items()}


class Link:
    """One socket."""

    def __init__(self, port, version, will=None):
        self.will = will
        self.version = version
        self.closed = False
        self.aliases = {}
        self._stream = PacketStream(version)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, packet):
        data = packet if isinstance(packet, bytes) else codec.encode(packet, self.version)
        try:
            self.socket.sendall(data)
        except ConnectionError:
            self.closed = True

    def until(self, kind):
        """Give the packets before the first of a kind, with it; or until the broker closes."""
        packets = []
        while True:
            while (packet := self._stream.next_packet()) is not None:
                packets.append(packet)
                if isinstance(packet, kind):
                    return packets
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return packets
            self._stream.feed(data)

    def pinged(self):
        """Give everything that was on its way to this client."""
        self.send(PingReq())
        packets = self.until(PingResp)
        return [packet for packet in packets if not isinstance(packet, PingResp)]

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Player:
    """One broker and the clients of a trace."""

    def __init__(self, port, *, careful=True):
        self.port = port
        self.careful = careful  # to leave out what the brokers are known to do differently
        self.filters = {who: {} for who in CLIENTS}  # filter -> no local, retain as published
        self.links = {}
        self.held = {who: {} for who in CLIENTS}  # packet id -> [payload, qos, stage] of messages from the broker
        self._payloads = 0
        self._sync = Link(port, V311)
        self._sync.send(Connect("sync", version=V311))
        self._sync.until(ConnAck)
        self._tidy()

    def _tidy(self):
        """Have the broker forget what earlier traces left."""
        for who in CLIENTS:
            link = Link(self.port, V311)
            link.send(Connect(f"c{who}", version=V311))
            link.send(Disconnect())
            link.until(())
            link.socket.close()
        for topic in (*TOPICS, "w"):
            self._sync.send(Publish(topic, b"", retain=True))
        self._sync.pinged()

    def close(self):
        for link in [*self.links.values(), self._sync]:
            link.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def can(self, name, arguments):
        """Whether the step would do anything now."""
        who = arguments["who"]
        return name == "connect" or (who in self.links and (name != "acknowledge" or bool(self.held[who])))

    def do(self, name, arguments):
        """Do a step; gives who was sent what by it."""
        self._noted = {}
        getattr(self, name)(**arguments)
        for _ in range(3):
            self._sync.pinged()
        for _ in range(2):
            for who, link in list(self.links.items()):
                self._note(who, link, link.pinged())
        return {who: _in_order(words) for who, words in self._noted.items() if words}

    def _note(self, who, link, packets):
        words = self._noted.setdefault(who, [])
        words += [self._words(who, link, packet) for packet in packets]
        if link.closed and self.links.get(who) is link:
            words.append(("closed",))
            self._drop(who)

    def _drop(self, who):
        link = self.links.pop(who)
        link.socket.close()
        # What was not answered comes again.
        self.held[who] = {number: one for number, one in self.held[who].items() if one[2] != "new"}

    def _words(self, who, link, packet):
        """Say a packet in words that do not depend on the broker's choices."""
        held = self.held[who]
        match packet:
            case Publish():
                properties = packet.properties
                topic = packet.topic or link.aliases[properties.topic_alias]
                if properties.topic_alias:
                    link.aliases[properties.topic_alias] = topic
                if packet.qos:
                    stale = held.get(packet.packet_id, ("", 0, "stale"))  # 3.1 does not say when a session is gone
                    assert stale[2] != "new", "a packet id that is in use"
                    held[packet.packet_id] = [packet.payload, packet.qos, "new"]
                others = (properties.content_type, properties.user_property, properties.response_topic,
                          properties.correlation_data, properties.payload_format_indicator,
                          tuple(sorted(properties.subscription_identifier)))  # fmt: skip
                return "message", topic, int(packet.qos), packet.payload, packet.retain, packet.dup, others
            case ConnAck():
                return "connack", packet.reason_code, packet.session_present
            case SubAck() | UnsubAck():
                return type(packet).__name__.lower(), packet.packet_id, tuple(packet.reason_codes)
            case PubRel():
                one = held.get(packet.packet_id)
                if one is None:
                    return "pubrel", "of nothing", packet.reason_code
                one[2] = "released"
                return "pubrel", one[0], packet.reason_code
            case PubAck() | PubRec() | PubComp():
                return type(packet).__name__.lower(), packet.packet_id, packet.reason_code
            case Disconnect():
                return "disconnect", packet.reason_code
        return (repr(packet),)

    def _payload(self, size):
        self._payloads += 1
        return b"%05d" % self._payloads + b"x" * size if size else b""

    # --- steps ---

    def connect(self, who, version, clean, expiry, will, will_qos, will_retain, window=None):
        if self.careful and who in self.links and self.links[who].will is not None:  # see "a will at a take-over"
            self.lose(who)
        before = self.links.pop(who, None)
        properties = EMPTY
        if version is V5:
            properties = Properties(session_expiry_interval=expiry, receive_maximum=window)
        testament = None
        if will is not None:
            testament = Will(will, self._payload(5), QoS(will_qos), will_retain)
        link = Link(self.port, version, testament)
        link.send(Connect(f"c{who}", clean, 0, None, None, testament, properties, version))
        packets = link.until(ConnAck)
        if before is not None:
            self._noted[who] = [("before", *self._words(who, before, packet)) for packet in before.until(())]
            before.socket.close()
            self.held[who] = {number: one for number, one in self.held[who].items() if one[2] != "new"}
        self.links[who] = link
        if clean or (version is not V31 and not packets[-1].session_present):
            self.held[who].clear()
            self.filters[who].clear()
        self._note(who, link, packets)

    def disconnect(self, who, with_will, expiry):
        link = self.links.get(who)
        if link is None:
            return
        packet = Disconnect()
        if link.version is V5:
            code = ReasonCode.DISCONNECT_WITH_WILL if with_will else 0
            packet = Disconnect(code, Properties(session_expiry_interval=expiry))
        link.send(packet)
        self._note(who, link, link.until(()))

    def lose(self, who):
        link = self.links.get(who)
        if link is not None:
            link.reset()
            self._drop(who)

    def subscribe(self, who, filters, qos, no_local, as_published, handling, identifier):
        if who not in self.links:
            return
        v5 = self.links[who].version is V5
        wished = []
        for one in self._own(who, filters):
            shared = one.startswith("$share/")
            if self.careful and (self._overlaps(who, one) or (shared and not v5)):
                continue
            if self.careful and shared:
                handling = 2  # see "retained messages to a shared subscription"
            own = v5 and no_local and not shared, v5 and as_published
            if self.careful and not v5 and any(self.filters[who].get(one, ())):
                continue  # the same again: an older client cannot say what it had
            if self.careful:
                own = self.filters[who].get(one, own)  # see "options of a subscription that is made again"
            self.filters[who][one] = own
            wished.append(Subscription(one, QoS(qos), *own, handling if v5 else 0))
        if not wished:
            return
        properties = Properties(subscription_identifier=(identifier,)) if v5 and identifier else EMPTY
        self._say(who, Subscribe(7, tuple(wished), properties))

    def _overlaps(self, who, topic_filter):
        """Whether a topic matches this filter and another one of the client; see "overlapping filters"."""
        _, plain = group_of(topic_filter)
        others = [group_of(other)[1] for other in self.filters[who] if other != topic_filter]
        return any(matches(plain, topic) and matches(other, topic) for other in others for topic in TOPICS)

    def _own(self, who, filters):
        """Give each client groups of its own: who gets a message is the broker's choice."""
        return [one.replace("$share/g/", f"$share/g{who}/") if self.careful else one for one in filters]

    def unsubscribe(self, who, filters):
        filters = self._own(who, filters)
        if who in self.links:
            self.filters[who] = {one: own for one, own in self.filters[who].items() if one not in filters}
            self._say(who, Unsubscribe(7, tuple(filters)))

    def publish(self, who, topic, qos, retain, size, more, again):
        payload = self._payload(size)
        if who not in self.links:
            return
        properties = EMPTY
        if self.links[who].version is V5 and more == "properties":
            properties = Properties(
                content_type="x",
                user_property=(("seq", "9"), ("seq", "8")),
                response_topic="answers",
                correlation_data=b"\x00",
            )
        if self.links[who].version is V5 and more == "alias":
            properties = Properties(topic_alias=1)
        packet = Publish(topic, payload, QoS(qos), retain, False, 1 if qos else None, properties)
        self._say(who, packet)
        if qos < 2:
            return
        if not self.careful:
            return  # it is released in a step of its own
        for sent in (packet, replace(packet, dup=True))[: 1 + again]:
            if sent.dup:
                self._say(who, sent)
            link = self.links[who]
            self._note(who, link, link.until(PubRec))
            if who not in self.links:
                return
        self._say(who, PubRel(1))

    def release(self, who):
        self._say(who, PubRel(1))

    def acknowledge(self, who, how):
        if how == "unknown":
            self._say(who, PubRec(60_000))
            return
        kinds = {("new", 1): PubAck, ("new", 2): PubRec, ("released", 2): PubComp}
        held = self.held[who]
        due = sorted((one[0], number) for number, one in held.items() if (one[2], one[1]) in kinds)
        if who not in self.links:
            return
        for _, number in {"next": due[:1], "last": due[-1:], "all": due}[how]:
            _, qos, stage = held[number]
            if (stage, qos) == ("new", 2):
                held[number][2] = "received"
            else:
                del held[number]
            self._say(who, kinds[stage, qos](number))

    def offend(self, who, how):
        v5 = who in self.links and self.links[who].version is V5
        self._say(who, {
            "connect again": codec.encode(Connect("x", version=V311), V311),
            "wildcard": b"\x30\x05\x00\x01+\x00x" if v5 else b"\x30\x04\x00\x01+x",
            "qos 3": b"\x36\x06\x00\x01a\x00\x01x",
        }[how])  # fmt: skip

    def _say(self, who, packet):
        if who in self.links:
            self.links[who].send(packet)


def _in_order(words):
    """Answers as they came; messages of one topic and QoS as they came, the topics sorted."""
    messages = sorted((one for one in words if one[0] == "message"), key=lambda one: one[1:3])
    return [one for one in words if one[0] != "message"] + messages


def shown(trace):
    """The trace, a step a line."""
    return "\n".join(
        f"{name}({', '.join(f'{argument}={value!r}' for argument, value in arguments.items())})"
        for name, arguments in trace
    )
