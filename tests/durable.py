"""Clients that keep their promises, a server whose power fails, and what must hold then.

Every client has a session that outlives its link, sends again what was not acknowledged, and takes QoS 2 messages once.
The server's journal is committed group by group by the test, which cuts the power between two of them.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field

from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.mqtt.packets import (
    ConnAck,
    Connect,
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
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS

WHO = ("a", "b", "c")
TOPICS = ("x/1", "x/2", "y/1")
FILTERS = ("x/#", "x/1", "+/1", "y/1")
SHARED = "$share/g/y/#"
EXPIRY_S = 1_000

ACTIONS = {  # name: its arguments and what each may be
    "connect": {"who": WHO},
    "lose": {"who": WHO},
    "attend": {"who": WHO, "most": (1, 2, 99, 99)},
    "publish": {"who": WHO, "topic": TOPICS, "qos": (1, 1, 2, 2), "retain": (False, False, True)},
    "subscribe": {"who": WHO, "topic_filter": (*FILTERS, SHARED), "qos": (1, 2, 2)},
    "unsubscribe": {"who": WHO, "topic_filter": FILTERS},
    "close": {},
    "commit": {"most": (1, None)},
    "crash": {},
}
WEIGHTS = {
    "connect": 6, "lose": 2, "attend": 30, "publish": 20, "subscribe": 4, "unsubscribe": 0.5, "close": 14, "commit": 12,
    "crash": 2,
}  # fmt: skip


class Broken(AssertionError):
    """The server broke a promise."""


class Flaw:
    """A fault planted around the server; this one is none."""

    journal = RecordingJournal

    def early(self, _packet):
        """Whether a held packet leaves before its commit."""
        return False

    def restored(self, image):
        """Meddle with what the server finds when it starts."""


@dataclass(eq=False)
class Sent:
    """A message that a client publishes."""

    number: int
    packet: Publish
    readers: list  # who had asked for it when it was first sent, and knew that: (client id, granted QoS)
    dropped_out: set = field(default_factory=set)
    state: str = "sent"  # then "received" for QoS 2, and "done"


class Client:
    def __init__(self, name, version):
        self.name = name
        self.version = version
        self.link = None
        self.in_now = False  # it has read its CONNACK
        self.outbox = {}  # packet id -> Sent, in the order they were sent
        self.incoming = set()  # QoS 2 ids received and not released
        self.got = []  # (publisher, number, qos)
        self.granted = {}  # filter -> QoS, as acknowledged
        self.asked = {}  # packet id -> (filter, QoS or None), not acknowledged yet
        self.may_be = {}  # filter -> what it may be besides, since the answer is still to come
        self.retained_got = 0
        self.next_packet_id = 1

    def packet_id(self):
        while self.next_packet_id in self.outbox or self.next_packet_id in self.asked:
            self.next_packet_id = self.next_packet_id % 50 + 1
        return self.next_packet_id


class House:
    """The server, its clients, and what was promised to them."""

    def __init__(self, flaw=None):
        self.flaw = flaw or Flaw()
        self.journal = self.flaw.journal()
        self.server = VirtualServer(journal=self.journal, max_inflight=3)  # so that queues fill
        self.clients = {name: Client(name, version) for name, version in zip(WHO, (V311, V5, V5), strict=True)}
        self.numbers = 0
        self.sent = []
        self.wire = defaultdict(list)  # topic -> numbers of its retained messages as they were sent, and sent again
        self.acked = {}  # topic -> number of the last retained message that was acknowledged, by its only publisher

    def do(self, name, arguments):
        getattr(self, name)(**arguments)
        for client in self.clients.values():
            self._leak(client)

    def _leak(self, client):
        """What the flaw lets out before its time."""
        if client.link is None:
            return
        connection = client.link.connection
        held = list(connection.held)
        if any(self.flaw.early(packet) for _, packet in held):
            self.server.broker.gate.forget(connection)
            for group, packet in held:
                if not self.flaw.early(packet):
                    self.server.broker.gate.send(connection, packet, group)
            client.link.take(b"".join(packet for _, packet in held if self.flaw.early(packet)))

    # --- the server ---

    def close(self):
        self.journal.close(self.server.now)

    def commit(self, most):
        if self.journal.closed:
            self.server.broker.committed(self.journal.commit(most), self.server.now)
            self.server.settle()

    def crash(self):
        for client in self.clients.values():
            self._gone(client)
        self.server.crash_and_restart(self.flaw.restored)
        self._check_what_is_kept()

    def _check_what_is_kept(self):
        """Retained messages and subscriptions are as last acknowledged, or as sent later."""
        for topic, number in self.acked.items():
            kept = self.server.broker.router.retained.peek(topic)
            since = self.wire[topic][self.wire[topic].index(number) :]
            if kept is None or self._number(kept.payload) not in since:
                raise Broken(f"retained on {topic} is {kept}, and {number} was acknowledged")
        for client in self.clients.values():
            session = self.server.broker.sessions.get(client.name)
            there = {} if session is None else session.subscriptions
            for topic_filter in {*client.granted, *there}:
                grant = there.get(topic_filter)
                qos = None if grant is None else int(grant.qos)
                if qos not in {client.granted.get(topic_filter), *client.may_be.get(topic_filter, ())}:
                    raise Broken(f"{client.name}'s subscription to {topic_filter} is {qos}")

    # --- the clients ---

    def connect(self, who):
        client = self.clients[who]
        if client.link is not None:
            return
        client.link = self.server.link(client.version, f"10.0.0.{WHO.index(who)}:1")
        properties = Properties(session_expiry_interval=EXPIRY_S) if client.version is V5 else EMPTY
        client.link.send(Connect(who, False, version=client.version, properties=properties))

    def lose(self, who):
        client = self.clients[who]
        if client.link is not None:
            client.link.lose()
            self._gone(client)

    def _gone(self, client):
        client.link = None
        client.in_now = False
        client.asked = {}  # it asks no more; which of them the server heard stays open

    def attend(self, who, most):
        """The client acts on what has come."""
        client = self.clients[who]
        if client.link is None:
            return
        packets = client.link.packets()
        done = 0
        waiting = [*getattr(client.link, "unread", []), *packets]
        while waiting and client.link is not None and done < most:
            self._take(client, waiting.pop(0))
            done += 1
        if client.link is not None:
            client.link.unread = waiting

    def publish(self, who, topic, qos, retain):
        client = self.clients[who]
        if not client.in_now or len(client.outbox) >= 10:
            return
        self.numbers += 1
        topic = f"{topic}/{who}" if retain else topic  # whose last message is whose last, one publisher knows
        packet_id = client.packet_id()
        packet = Publish(topic, f"{who} {self.numbers}".encode(), QoS(qos), retain, False, packet_id)
        readers = [
            (other.name, min(qos, max(granted)))
            for other in self.clients.values()
            if (granted := self._granted(other, topic))
        ]
        sent = client.outbox[packet_id] = Sent(self.numbers, packet, readers)
        self.sent.append(sent)
        client.next_packet_id = packet_id % 50 + 1
        self.wire[topic].append(self.numbers)
        client.link.send(packet)

    @staticmethod
    def _granted(client, topic):
        from appliance.mqtt.topics import matches

        return [
            qos
            for name, qos in client.granted.items()
            if name != SHARED and not client.may_be.get(name) and matches(name, topic)
        ]

    def subscribe(self, who, topic_filter, qos):
        client = self.clients[who]
        if client.in_now and not client.asked:
            packet_id = client.packet_id()
            client.asked[packet_id] = topic_filter, qos
            client.may_be.setdefault(topic_filter, []).append(qos)
            # Without retained messages: which of them come is told by the other tests.
            options = {"retain_handling": 2} if client.version is V5 else {}
            client.link.send(Subscribe(packet_id, (Subscription(topic_filter, QoS(qos), **options),)))

    def unsubscribe(self, who, topic_filter):
        client = self.clients[who]
        if client.in_now and not client.asked:
            packet_id = client.packet_id()
            client.asked[packet_id] = topic_filter, None
            client.may_be.setdefault(topic_filter, []).append(None)
            for sent in self.sent:
                sent.dropped_out.add(who)  # what is on its way may come or not
            client.link.send(Unsubscribe(packet_id, (topic_filter,)))

    def _take(self, client, packet):
        link = client.link
        match packet:
            case ConnAck(present, reason):
                if reason:
                    raise Broken(f"{client.name} was turned away with {reason}")
                client.in_now = True
                if not present:
                    if any(sent.state != "sent" for sent in client.outbox.values()) or client.granted:
                        raise Broken(f"{client.name}'s session is gone")
                    client.incoming.clear()
                    client.may_be.clear()
                for packet_id, sent in client.outbox.items():
                    if sent.state == "sent":
                        self.wire[sent.packet.topic].append(sent.number)
                        link.send(Publish(
                            sent.packet.topic, sent.packet.payload, sent.packet.qos, sent.packet.retain, True, packet_id
                        ))  # fmt: skip
                    else:
                        link.send(PubRel(packet_id))
            case PubAck(packet_id) | PubComp(packet_id):
                sent = client.outbox.pop(packet_id, None)
                if sent is not None:
                    sent.state = "done"
                    self._acknowledged(sent)
            case PubRec(packet_id):
                sent = client.outbox.get(packet_id)
                if sent is not None:
                    sent.state = "received"
                    self._acknowledged(sent)
                link.send(PubRel(packet_id))
            case PubRel(packet_id):
                client.incoming.discard(packet_id)
                link.send(PubComp(packet_id))
            case Publish() if packet.qos == 2:
                if packet.packet_id not in client.incoming:
                    self._got(client, packet)
                client.incoming.add(packet.packet_id)
                link.send(PubRec(packet.packet_id))
            case Publish():
                self._got(client, packet)
                link.send(PubAck(packet.packet_id))
            case SubAck(packet_id) | UnsubAck(packet_id):
                topic_filter, qos = client.asked.pop(packet_id)
                client.may_be.pop(topic_filter, None)
                if qos is None:
                    client.granted.pop(topic_filter, None)
                else:
                    client.granted[topic_filter] = qos

    def _acknowledged(self, sent):
        if sent.packet.retain:
            self.acked[sent.packet.topic] = max(sent.number, self.acked.get(sent.packet.topic, 0))

    def _got(self, client, packet):
        if packet.retain and not packet.dup:
            client.retained_got += 1  # of a subscription of 3.1.1 that begins
            return
        publisher = packet.payload.split()[0].decode()
        number = self._number(packet.payload)
        before = [(one, qos) for who, one, qos in client.got if who == publisher]
        if packet.qos == 2 and (number, 2) in before and not self._comes_twice(client, number):
            raise Broken(f"{client.name} got {packet.payload} of QoS 2 twice")
        if (number, int(packet.qos)) not in before:
            same = [one for one, qos in before if qos == packet.qos]
            if same and max(same) > number and self._kept_its_place(client, number):
                raise Broken(f"{client.name} got {packet.payload} behind {max(same)}")
        client.got.append((publisher, number, int(packet.qos)))

    def _comes_twice(self, client, number):
        """Whether the client may have it for itself and for its group too."""
        sent = self.sent[number - 1]
        return SHARED in {*client.granted, *client.may_be} and sent.packet.topic.startswith("y/")

    def _kept_its_place(self, client, number):
        """Whether it was for the client when it was sent first: one that is sent again may find more readers."""
        is_reader = client.name in [name for name, _ in self.sent[number - 1].readers]
        return is_reader and not self._comes_twice(client, number)

    @staticmethod
    def _number(payload):
        return int(payload.split()[1])

    # --- the end ---

    def finish(self):
        """Let everybody come back and finish, then look whether all is there."""
        for _ in range(60):
            for who, client in self.clients.items():
                if client.link is None:
                    self.do("connect", {"who": who})
                self.do("attend", {"who": who, "most": 99})
            self.do("close", {})
            self.do("commit", {"most": None})
        for client in self.clients.values():
            if client.outbox:
                raise Broken(f"{client.name} was not told that its messages arrived: {list(client.outbox.values())}")
        for sent in self.sent:
            for name, qos in sent.readers:
                reader = self.clients[name]
                count = sum(number == sent.number for _, number, _ in reader.got)
                if not count and name not in sent.dropped_out:
                    raise Broken(f"{name} never got {sent.packet.payload} of QoS {qos}")
        self._check_what_is_kept()


def random_actions(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        (name,) = rng.choices(list(ACTIONS), [WEIGHTS[name] for name in ACTIONS])
        yield name, {argument: rng.choice(values) for argument, values in ACTIONS[name].items()}


def play(actions, flaw=None):
    """Do the actions in a new house, and finish; Broken if a promise was."""
    house = House(flaw)
    for name, arguments in actions:
        house.do(name, arguments)
    house.finish()
    return house
