"""The core with clients in memory and a clock that only the test moves."""

from itertools import count

from appliance.broker.core import Broker
from appliance.broker.effects import Authenticate, Close
from appliance.broker.rights import ALL_RIGHTS
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, Publish, Subscribe, Subscription
from appliance.mqtt.properties import EMPTY
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import QoS, ReasonCode, Version
from appliance.settings import Limits

V311, V5 = Version.MQTT_3_1_1, Version.MQTT_5


def accounts(_username, _client_id):
    """There are accounts, whose users may do everything: `VirtualServer(authorize=accounts)`."""
    return ALL_RIGHTS


class VirtualClient:
    """A link and what came over it."""

    def __init__(self, server, version, peer):
        self.server = server
        self.version = version
        self.closed = False
        self.reads = True  # False plays a client whose socket is full
        self.received = b""
        self._stream = PacketStream(version)
        self.connection = server.broker.opened(self, peer, server.now)
        server.clients.append(self)
        server.settle()

    def send(self, packet):
        data = packet if isinstance(packet, bytes) else codec.encode(packet, self.version)
        self.server.broker.received(self.connection, data, self.server.now)
        self.server.settle()

    def packets(self):
        """What arrived since the last call."""
        found = []
        while (packet := self._stream.next_packet()) is not None:
            found.append(packet)
        return found

    def expect(self, kind):
        """The one packet that arrived, which must be of this kind."""
        packets = self.packets()
        assert [type(packet) for packet in packets] == [kind], packets
        return packets[0]

    def messages(self):
        """What arrived as (topic, payload, qos); nothing else may have."""
        packets = self.packets()
        assert all(isinstance(packet, Publish) for packet in packets), packets
        return [(packet.topic, packet.payload, packet.qos) for packet in packets]

    def subscribe(self, topic_filter, qos=0, identifier=None, **options):
        properties = EMPTY
        if identifier:
            from appliance.mqtt.properties import Properties

            properties = Properties(subscription_identifier=(identifier,))
        self.send(Subscribe(1, (Subscription(topic_filter, QoS(qos), **options),), properties))
        return self

    def publish(self, topic, payload=b"x", qos=0, packet_id=None, **fields):
        self.send(Publish(topic, payload, QoS(qos), packet_id=packet_id or (1 if qos else None), **fields))
        return self

    def lose(self):
        """The link breaks."""
        self.closed = True
        self.server.broker.lost(self.connection, self.server.now)
        self.server.settle()

    def take(self, data):
        self.received += data
        self._stream.feed(data)


class VirtualServer:
    """A broker, its clock and the edge around it."""

    def __init__(
        self, *, journal=None, answer=ReasonCode.SUCCESS, classify=None, inspect=None, authorize=None, site="", **limits
    ):
        self.now = 1000.0
        self.answer = answer  # to every Authenticate; None leaves it open
        self.asked = []
        self.closed = []
        self.journal = journal  # a `journal.RecordingJournal` where there are groups to commit
        self._numbers = count(1)
        self._options = {"site": site} | ({"classify": classify} if classify else {})
        if inspect:
            self._options["inspect"] = inspect
        if authorize:
            self._options["authorize"] = authorize
        self._limits = Limits(**limits)
        self.clients = []
        self.broker = self._start()

    def _start(self):
        return Broker(
            self._limits,
            next_client_id=lambda: f"auto-{next(self._numbers)}",
            journal=self.journal,
            **self._options,
        )

    def commit(self, most=None):
        """Have what the journal took so far become durable, or the first so many groups of it."""
        self.journal.close(self.now)
        if self.journal.closed:
            self.broker.committed(self.journal.commit(most), self.now)
        self.settle()

    def crash_and_restart(self, meddle=lambda _image: None):
        """The power fails and comes back: every link breaks, and nothing is left but what is durable."""
        for client in self.clients:
            client.closed = client.reads = True
        self.clients = []
        self.journal.crash()
        self.broker = self._start()
        image = self.journal.image(self.now)
        image.settle()
        meddle(image)
        self.broker.restore(image, self.now)
        self.settle()

    def link(self, version=V311, peer="test"):
        return VirtualClient(self, version, peer)

    def client(self, client_id="", version=V311, **fields):
        """A client that was let in; its CONNACK is in `connack`."""
        client = self.link(version)
        client.send(Connect(client_id=client_id, version=version, **fields))
        packets = client.packets()
        assert packets, "no CONNACK"
        assert isinstance(packets[0], ConnAck), packets
        client.connack = packets[0]
        client.resumed = packets[1:]
        return client

    def goodbye(self, client):
        client.send(Disconnect())

    def advance(self, seconds):
        """Let time pass, ringing every deadline on its way."""
        until = self.now + seconds
        while (due := self.broker.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.broker.tick(self.now)
            self.settle()
        self.now = until
        self.settle()

    def settle(self):
        """What the edge does at the end of a turn."""
        broker = self.broker
        while broker.effects or self._flush() or self._commit():
            effects, broker.effects = broker.effects, []
            for effect in effects:
                match effect:
                    case Authenticate(connection):
                        self.asked.append(effect)
                        if self.answer is not None:
                            broker.authenticated(connection, self.answer, self.now)
                    case Close(connection, why):
                        self._send(connection)
                        connection.link.closed = True
                        self.closed.append(why)

    def _commit(self):
        journal = self.journal
        if not getattr(journal, "automatic", False):
            return False
        journal.close(self.now)
        if not journal.closed:
            return False
        self.broker.committed(journal.commit(), self.now)
        return True

    def _flush(self):
        broker = self.broker
        worked = False
        for connection in broker.dirty[:]:
            if connection.link.reads:
                broker.dirty.remove(connection)
                connection.dirty = False
                self._send(connection)
                broker.writable(connection, self.now)
                worked = True
        return worked

    @staticmethod
    def _send(connection):
        data = b"".join(connection.output)
        connection.output.clear()
        connection.backlog = 0
        connection.link.take(data)


def pair(publisher=V311, reader=V311, qos=0, topic_filter="#", **limits):
    """A server, a publisher, and a reader that has subscribed."""
    server = VirtualServer(**limits)
    one, other = server.client("publisher", publisher), server.client("reader", reader)
    other.subscribe(topic_filter, qos=qos)
    other.packets()
    return server, one, other
