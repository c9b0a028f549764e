"""paho-mqtt at our broker, as 3.1.1 and as 5: the client of Home Assistant and of our own agents."""

import queue
import time

import paho.mqtt.client as paho
import pytest
from mosquitto_peer import end
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from raw import PATIENCE_S, publish

pytestmark = pytest.mark.interop

V311, V5 = paho.MQTTv311, paho.MQTTv5


class Client:
    """A paho client whose callbacks fill queues."""

    def __init__(self, port, version, client_id="", *, clean=True, keepalive=60, will=None, properties=None):
        kept = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, **kept)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_connect = lambda _c, _d, flags, reason, got: self.events.put(("connect", flags, reason, got))
        self.paho.on_subscribe = lambda _c, _d, _mid, reasons, _p: self.events.put(("subscribe", reasons))
        self.paho.on_unsubscribe = lambda _c, _d, _mid, reasons, _p: self.events.put(("unsubscribe", reasons))
        self.paho.on_disconnect = lambda _c, _d, _f, reason, _p: self.events.put(("disconnect", reason))
        if will is not None:
            self.paho.will_set(*will)
        started = {"clean_start": clean, "properties": properties} if version == V5 else {}
        self.paho.connect("127.0.0.1", port, keepalive, **started)
        self.paho.loop_start()
        _, self.flags, self.reason, self.properties = self.event("connect")

    def event(self, name):
        event = self.events.get(timeout=PATIENCE_S)
        assert event[0] == name
        return event

    def subscribe(self, *arguments, **options):
        self.paho.subscribe(*arguments, **options)
        return self.event("subscribe")[1]

    def publish(self, *arguments, **options):
        self.paho.publish(*arguments, **options).wait_for_publish(PATIENCE_S)

    def message(self):
        return self.messages.get(timeout=PATIENCE_S)

    def close(self):
        end(self.paho)


@pytest.fixture
def join(service):
    clients = []

    def join(version, *arguments, **options):
        clients.append(Client(service.port, version, *arguments, **options))
        return clients[-1]

    yield join
    for client in clients:
        client.close()


both = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])


def props(packet_type, **fields):
    properties = Properties(packet_type)
    for name, value in fields.items():
        setattr(properties, name, value)
    return properties


@both
@pytest.mark.parametrize("granted", range(3))
@pytest.mark.parametrize("published", range(3))
def test_qos(join, version, granted, published):
    reader, writer = join(version), join(version)
    assert reader.subscribe("paho/+", granted)[0].value == granted
    for number in range(200):
        writer.paho.publish("paho/a", str(number), published)
    got = [reader.message() for _ in range(200)]
    assert [message.payload for message in got] == [b"%d" % number for number in range(200)]
    assert {message.qos for message in got} == {min(granted, published)}


@both
def test_retained(join, version):
    writer = join(version)
    writer.publish("paho/kept", "21.4", 1, retain=True)
    reader = join(version)
    reader.subscribe("paho/#", 1)
    message = reader.message()
    assert (message.topic, message.payload, message.retain, message.qos) == ("paho/kept", b"21.4", True, 1)
    writer.publish("paho/kept", "22.0", 1, retain=True)
    assert reader.message().retain is False
    writer.publish("paho/kept", b"", 1, retain=True)
    assert reader.message().payload == b""
    reader.paho.unsubscribe("paho/#")
    reader.event("unsubscribe")


@both
def test_many_filters_in_one_packet(join, version):
    client = join(version)
    assert [code.value for code in client.subscribe([(f"many/{n}/+", n % 3) for n in range(500)])] == [
        n % 3 for n in range(500)
    ]


@both
def test_the_will(service, join, version):
    watcher = service.reader("paho/will")
    client = join(version, will=("paho/will", b"offline", 1, False))
    client.paho.socket().shutdown(2)
    watcher.expect(publish("paho/will", b"offline"))
    client.event("disconnect")
    client.event("connect")  # paho comes back by itself
    client.close()
    watcher.silent()  # and its goodbye drops the will


@both
def test_a_session_is_taken_up_again(join, version):
    expiry = {"properties": props(PacketTypes.CONNECT, SessionExpiryInterval=300)} if version == V5 else {}
    name = f"paho-session-{version}"
    first = join(version, name, clean=False, **expiry)
    assert first.flags.session_present is False
    first.subscribe("paho/meanwhile", 2)
    first.close()
    writer = join(version)
    for number in range(3):
        writer.publish("paho/meanwhile", str(number), number)
    second = join(version, name, clean=False, **expiry)
    assert second.flags.session_present is True
    assert [second.message().payload for _ in range(2)] == [b"1", b"2"]  # QoS 0 is for who is there
    second.close()
    assert join(version, name, clean=True).flags.session_present is False


def test_keep_alive_of_an_idle_client(service):
    client = Client(service.port, V311, keepalive=4)
    ends = time.monotonic() + 6.5  # longer than the server bears silence
    while time.monotonic() < ends:
        assert client.events.empty()
        time.sleep(0.1)
    client.close()


def test_refusals_have_their_reason(join):
    client = join(V311, "x" * 300)
    assert client.reason.is_failure
    assert client.reason == "Client identifier not valid"
    assert join(V5, "x" * 300).reason == "Client identifier not valid"


# --- MQTT 5 ---


def test_what_an_agent_sends(join):
    """A reading with its provenance, as design and README describe it."""
    reader, agent = join(V5), join(V5)
    reader.subscribe("home/#", 1)
    provenance = [("agent", "kitchen"), ("run", "a1"), ("seq", "9"), ("time", "2026-11-22T20:05:51Z"), ("seq", "again")]
    agent.publish(
        "home/kitchen/temperature",
        "21.4",
        1,
        retain=True,
        properties=props(PacketTypes.PUBLISH, UserProperty=provenance),
    )
    assert reader.message().properties.UserProperty == provenance
    late = join(V5)
    late.subscribe("home/#", 1)
    message = late.message()
    assert message.retain
    assert message.properties.UserProperty == provenance
    old = join(V311)
    old.subscribe("home/#", 1)
    assert old.message().payload == b"21.4"
    agent.publish("home/kitchen/temperature", b"", 1, retain=True)


def test_message_expiry_counts_down(join):
    writer = join(V5)
    writer.publish("paho/brief", "x", 1, True, props(PacketTypes.PUBLISH, MessageExpiryInterval=600))
    reader = join(V5)
    reader.subscribe("paho/brief", 1)
    assert 598 <= reader.message().properties.MessageExpiryInterval <= 600
    writer.publish("paho/brief", b"", 1, True)
    reader.message()
    writer.publish("paho/brief", "gone", 1, True, props(PacketTypes.PUBLISH, MessageExpiryInterval=1))
    assert reader.message().payload == b"gone"
    time.sleep(1.1)  # a real second: the message must be gone for a real client
    late = join(V5)
    late.subscribe("paho/brief", 1)
    writer.publish("paho/brief", "live", 1)
    assert late.message().payload == b"live"


def test_subscription_options(join):
    client, other = join(V5), join(V5)
    other.publish("paho/options", "kept", 1, retain=True)
    quiet = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND, noLocal=True)
    client.subscribe("paho/options", options=quiet)
    client.publish("paho/options", "own", 1)
    other.publish("paho/options", "other", 1)
    assert client.message().payload == b"other"  # neither the retained one nor its own
    published = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    client.subscribe("paho/options", options=published)
    other.publish("paho/options", "again", 1, retain=True)
    assert client.message().retain is True
    new_only = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    client.subscribe("paho/options", options=new_only)
    other.publish("paho/options", "live", 1)
    assert client.message().payload == b"live"
    other.publish("paho/options", b"", 1, retain=True)


def test_subscription_identifiers_of_overlapping_filters(join):
    client = join(V5)
    for number, topic_filter in ((7, "ids/#"), (300, "ids/+")):
        client.subscribe(topic_filter, qos=1, properties=props(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number))
    client.publish("ids/a", "x", 1)
    got = sorted(client.message().properties.SubscriptionIdentifier)
    if got != [7, 300]:  # once for both, or once for each
        got = sorted(got + client.message().properties.SubscriptionIdentifier)
    assert got == [7, 300]


def test_the_server_tells_its_limits_and_the_id_it_gave(join):
    client = join(V5)
    told = client.properties.json()
    assert told["AssignedClientIdentifier"]
    assert told["MaximumPacketSize"] == 262_144
    assert told["ReceiveMaximum"] >= 20


def test_a_taken_over_client_is_told(join):
    first = join(V5, "the-one")
    join(V5, "the-one")
    assert first.event("disconnect")[1] == "Session taken over"
    first.paho.loop_stop()


def test_a_small_receive_maximum_and_packet_size_are_kept(join):
    wishes = props(PacketTypes.CONNECT, ReceiveMaximum=1, MaximumPacketSize=1_000)
    reader, writer = join(V5, properties=wishes), join(V5)
    reader.subscribe("paho/small", 2)
    for number in range(50):
        writer.paho.publish("paho/small", str(number).encode(), number % 3)
        writer.paho.publish("paho/small", bytes(2_000), number % 3)
    seen = [int(reader.message().payload) for _ in range(50)]
    assert sorted(seen) == list(range(50))


def test_a_will_with_a_delay_is_not_told_to_who_comes_back(service, join):
    watcher = service.reader("paho/delayed")
    will = ("paho/delayed", b"offline", 1, False, props(PacketTypes.WILLMESSAGE, WillDelayInterval=30))
    expiry = props(PacketTypes.CONNECT, SessionExpiryInterval=60)
    # a clean start would end the session, and with it the waiting
    client = join(V5, "delayed", clean=False, will=will, properties=expiry)
    client.paho.socket().shutdown(2)
    client.event("disconnect")
    client.event("connect")
    watcher.silent()
    client.paho.disconnect(properties=props(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    watcher.silent()


def test_fifty_agents_at_once(service, join):
    reader = join(V311)
    reader.subscribe("agents/#", 1)
    agents = [Client(service.port, V5, f"agent-{n}") for n in range(50)]
    for n, agent in enumerate(agents):
        for number in range(10):
            agent.paho.publish(f"agents/{n}", str(number), 1)
    got = [reader.message() for _ in range(500)]
    for n in range(50):
        assert [m.payload for m in got if m.topic == f"agents/{n}"] == [b"%d" % number for number in range(10)]
    for agent in agents:
        agent.close()
