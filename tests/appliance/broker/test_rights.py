"""What rights do to every way of a message: refused on its way in, not delivered on its way out."""

from collections import Counter

import pytest
from virtual import V5, V311, VirtualServer

from appliance.auth.acl import Acl
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.rights import ALL_RIGHTS, all_rights
from appliance.mqtt import codec
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
    Will,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS, ReasonCode
from appliance.settings import Rule

RULES = [
    Rule(user="esp", publish=["home/kitchen/#"], subscribe=["home/kitchen/+/set"]),
    Rule(user="mute", subscribe=["#"]),
]
VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
DENIED = "not allowed to publish"


def house(**limits):
    return VirtualServer(authorize=Acl(RULES).rights, **limits)


def watcher(server, topic_filter="#", qos=2):
    client = server.client("watcher", V5, username="ann").subscribe(topic_filter, qos=qos)
    client.packets()
    return client


def test_without_accounts_everybody_has_all_rights():
    assert all_rights(None, "a") is all_rights("ann", "b") is ALL_RIGHTS
    assert ALL_RIGHTS.may_publish("a")
    assert ALL_RIGHTS.may_read("$SYS/a")
    assert ALL_RIGHTS.may_subscribe("#")


# --- publishing ---


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_denied_message_goes_nowhere(version, qos):
    server = house()
    reader = watcher(server)
    esp = server.client("esp", version, username="esp")
    for number in (1, 2):  # the second time as the first: it never gets a route of its own
        esp.publish("home/attic/x", b"1", qos=qos, retain=True, packet_id=number if qos else None)
        reason = ReasonCode.NOT_AUTHORIZED if version is V5 else ReasonCode.SUCCESS
        expected = {0: [], 1: [(PubAck, number, reason)], 2: [(PubRec, number, reason)]}[qos]
        answers = [(type(answer), answer.packet_id, answer.reason_code) for answer in esp.packets()]
        assert answers == expected  # acknowledged all the same: 3.1.1 has no other answer [MQTT-3.3.5-2]
        if qos == 2 and version is V311:
            esp.send(PubRel(number))
            assert esp.expect(PubComp).packet_id == number
        assert server.broker.stats.dropped[DENIED] == number
    assert reader.packets() == []
    assert len(server.broker.router.retained) == 0
    assert not esp.closed


BUNDLED = "holds what is not allowed to publish"


def bundles(**limits):
    """A house where the messages on …/bundle are the topics of others, with spaces between."""

    def classify(topic):
        return RouteFlag.BUNDLE if topic.endswith("/bundle") else RouteFlag.NONE

    def inspect(_topic, payload, rights):
        return [topic for topic in payload.decode().split() if not rights.may_publish(topic)]

    return house(classify=classify, inspect=inspect, **limits)


@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck), (2, PubRec)])
def test_a_bundle_that_holds_what_is_denied_is_denied_and_says_of_which_topics(qos, answer):
    server = bundles()
    reader = watcher(server)
    esp = server.client("esp", V5, username="esp")
    esp.publish("home/kitchen/bundle", b"home/kitchen/x", qos=qos, packet_id=1)
    assert esp.expect(answer).reason_code == ReasonCode.SUCCESS  # which is no leave for the next one
    reader.packets()
    esp.publish("home/kitchen/bundle", b"home/kitchen/x home/attic/x home/hall/x", qos=qos, packet_id=2)
    denied = esp.expect(answer)
    assert (denied.packet_id, denied.reason_code) == (2, ReasonCode.NOT_AUTHORIZED)
    assert denied.properties.user_property == (("topic", "home/attic/x"), ("topic", "home/hall/x"))
    assert denied.properties.reason_string == BUNDLED
    assert server.broker.stats.dropped[BUNDLED] == 1
    assert reader.packets() == []
    ann = server.client("ann", V5, username="ann")  # who may do everything
    ann.publish("home/kitchen/bundle", b"home/attic/x", qos=qos, packet_id=1)
    assert ann.expect(answer).reason_code == ReasonCode.SUCCESS


def test_of_many_denied_topics_some_are_named_and_none_to_who_takes_no_such_answer():
    server = bundles()
    topics = [f"home/attic/{number}" for number in range(50)]
    payload = " ".join(topics).encode()
    esp = server.client("esp", V5, username="esp").publish("home/kitchen/bundle", payload, qos=1)
    assert [topic for _, topic in esp.expect(PubAck).properties.user_property] == topics[:20]
    small = server.client("small", V5, username="esp", properties=Properties(maximum_packet_size=100))
    assert small.publish("home/kitchen/bundle", payload, qos=1).expect(PubAck).properties == EMPTY
    mute = server.client("mute", V5, username="esp", properties=Properties(request_problem_information=0))
    assert mute.publish("home/kitchen/bundle", payload, qos=1).expect(PubAck).properties == EMPTY  # [MQTT-3.1.2-29]


@pytest.mark.parametrize(("version", "qos"), [(V311, 0), (V311, 1), (V311, 2), (V5, 0)])
def test_of_a_bundle_whose_denial_could_not_be_told_the_rest_is_taken(version, qos):
    server = bundles()
    reader = watcher(server)
    server.client("esp", version, username="esp").publish("home/kitchen/bundle", b"home/attic/x", qos=qos)
    assert reader.messages() == [("home/kitchen/bundle", b"home/attic/x", qos)]


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_allowed_goes_its_way(version, qos):
    server = house()
    reader = watcher(server)
    esp = server.client("esp", version, username="esp")
    for number in (1, 2):
        esp.publish("home/kitchen/x", b"%d" % number, qos=qos, packet_id=number if qos else None)
    assert reader.messages() == [("home/kitchen/x", b"1", qos), ("home/kitchen/x", b"2", qos)]
    assert all(answer.reason_code == ReasonCode.SUCCESS for answer in esp.packets())
    assert not server.broker.stats.dropped


@VERSIONS
def test_in_one_run_of_packets_only_the_denied_are_left_out(version):
    server = house()
    reader = watcher(server, qos=0)
    esp = server.client("esp", version, username="esp")
    topics = ["home/kitchen/a", "home/attic/a", "home/kitchen/b", "home/kitchen/a", "x", "home/kitchen/a"]
    for _ in range(3):
        esp.send(b"".join(codec.encode(Publish(topic, b"1"), version) for topic in topics))
        assert [topic for topic, _, _ in reader.messages()] == [t for t in topics if t.startswith("home/kitchen/")]
    assert server.broker.stats.dropped[DENIED] == 6


def test_a_route_that_another_user_made_is_no_permission():
    server = house()
    reader = watcher(server)
    ann = server.client("ann", username="ann")
    esp = server.client("esp", username="esp")
    ann.publish("home/attic/x", b"ann")
    esp.publish("home/attic/x", b"esp")
    ann.publish("home/attic/x", b"ann again")
    assert [payload for _, payload, _ in reader.messages()] == [b"ann", b"ann again"]


def test_a_denied_topic_costs_no_place_among_the_routes():
    server = house()
    esp = server.client("esp", username="esp")
    for number in range(100):
        esp.publish(f"home/attic/{number}")
    assert server.broker.router.routes == esp.connection.routes == {}


def test_users_without_rules_share_their_routes():
    server = house()
    one, other = server.client("1", username="ann"), server.client("2", username="bob")
    one.publish("a/b")
    assert one.connection.routes is other.connection.routes
    assert list(other.connection.routes) == [b"a/b"]


def test_a_changed_subscription_is_felt_by_restricted_publishers_too():
    server = house()
    esp = server.client("esp", username="esp")
    esp.publish("home/kitchen/x", b"0")
    exact = server.client("exact", username="ann").subscribe("home/kitchen/x")
    exact.packets()
    esp.publish("home/kitchen/x", b"1")
    wild = server.client("wild", username="ann").subscribe("home/+/x")
    wild.packets()
    esp.publish("home/kitchen/x", b"2")
    exact.lose()
    esp.publish("home/kitchen/x", b"3")
    assert [payload for _, payload, _ in exact.messages()] == [b"1", b"2"]
    assert [payload for _, payload, _ in wild.messages()] == [b"2", b"3"]


def test_users_with_rules_share_a_route_that_a_subscription_changes():
    server = VirtualServer(authorize=Acl([Rule(user=name, publish=["x"]) for name in ("a", "b")]).rights)
    writers = [server.client(name, username=name).publish("x", b"to nobody") for name in ("a", "b")]
    reader = server.client("r").subscribe("x")
    reader.packets()
    for name, writer in zip("ab", writers, strict=True):
        writer.publish("x", name.encode())
    assert [payload for _, payload, _ in reader.messages()] == [b"a", b"b"]


def test_the_routes_of_all_users_together_are_bounded():
    server = VirtualServer(
        authorize=Acl([Rule(user=f"u{n}", publish=["#"]) for n in range(10)]).rights, max_cached_topics=16
    )
    clients = [server.client(f"c{n}", username=f"u{n}") for n in range(10)]
    reader = watcher(server)
    for topic in range(40):
        for client in clients:
            client.publish(f"t/{topic}")
            tables = {id(c.connection.routes): len(c.connection.routes) for c in clients}
            assert sum(tables.values()) <= 16
            assert len(server.broker.router.routes) <= 16
    assert len(reader.messages()) == 400


class Counted:
    """Rights to everything that count how often they are asked."""

    agent = None

    def __init__(self):
        self.asked = Counter()

    def may_publish(self, topic):
        self.asked["publish", topic] += 1
        return True

    def may_read(self, topic):
        self.asked["read", topic] += 1
        return True

    def may_subscribe(self, topic_filter):
        self.asked["subscribe", topic_filter] += 1
        return True


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_message_asks_what_was_answered_for_its_topic(version, qos):
    rights = Counted()
    server = VirtualServer(authorize=lambda *_: rights)
    reader = server.client("reader", version).subscribe("t/#", qos=0)
    reader.packets()
    publisher = server.client("publisher", version)
    for number in range(300):
        publisher.publish(f"t/{number % 3}", b"x", qos=qos, packet_id=number + 1 if qos else None)
    assert len(reader.messages()) == 300
    topics = [f"t/{number}" for number in range(3)]
    once = dict.fromkeys([(verb, topic) for verb in ("publish", "read") for topic in topics], 1)
    assert rights.asked == {("subscribe", "t/#"): 1, **once}


@VERSIONS
def test_dollar_topics_are_for_nobody_whatever_the_rules(version):
    server = VirtualServer(authorize=Acl([Rule(user="esp", publish=["$SYS/#", "#"])]).rights)
    esp = server.client("esp", version, username="esp").publish("$SYS/broker/uptime", qos=1)
    reason = ReasonCode.NOT_AUTHORIZED if version is V5 else ReasonCode.SUCCESS
    assert esp.expect(PubAck).reason_code == reason
    assert server.broker.stats.dropped == {"publishing to $ topics is the server's": 1}


def test_rights_are_asked_for_once_a_connect():
    asked = []
    server = VirtualServer(authorize=lambda *who: asked.append(who) or ALL_RIGHTS)
    server.client("c", username="ann")
    server.client("c", username="ann")
    server.client("d")
    assert asked == [("ann", "c"), ("ann", "c"), (None, "d")]


def test_an_alias_is_no_way_around():
    server = house()
    reader = watcher(server)
    esp = server.client("esp", V5, username="esp")
    for topic in ("home/attic/x", ""):
        esp.publish(topic, b"1", qos=1, properties=Properties(topic_alias=1))
        assert esp.expect(PubAck).reason_code == ReasonCode.NOT_AUTHORIZED
    assert reader.packets() == []


# --- subscribing and reading ---

FILTERS = [
    ("home/kitchen/relay/set", True),
    ("home/kitchen/+/set", True),
    ("#", True),  # partly: it is given its part
    ("home/+/relay/set", True),
    ("home/kitchen/temperature", False),
    ("home/attic/#", False),
    ("$SYS/#", False),
    ("$share/g/home/kitchen/+/set", True),
    ("$share/g/home/attic/#", False),
    ("$share/g/$SYS/#", False),
]


@VERSIONS
def test_a_filter_with_nothing_to_read_in_it_is_refused(version):
    server = house()
    esp = server.client("esp", version, username="esp")
    esp.send(Subscribe(1, tuple(Subscription(name, QoS(1)) for name, _ in FILTERS)))
    no = 0x87 if version is V5 else 0x80  # [MQTT-3.9.3-2] of 3.1.1
    assert esp.expect(SubAck).reason_codes == tuple(1 if granted else no for _, granted in FILTERS)
    assert set(server.broker.sessions["esp"].subscriptions) == {name for name, granted in FILTERS if granted}


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_of_a_wide_filter_only_what_may_be_read_arrives(version, qos):
    server = house()
    esp = server.client("esp", version, username="esp").subscribe("#", qos=qos)
    esp.packets()
    ann = server.client("ann", username="ann")
    for topic in ("home/kitchen/relay/set", "home/kitchen/temperature", "home/attic/relay/set"):
        for number in (1, 2):
            ann.publish(topic, b"%d" % number, qos=qos, packet_id=number if qos else None)
    server.broker.publish(Message("$SYS/broker/uptime", b"1"), server.now)
    server.settle()
    assert esp.messages() == [("home/kitchen/relay/set", b"%d" % number, qos) for number in (1, 2)]


@VERSIONS
def test_retained_messages_too(version):
    server = house()
    ann = server.client("ann", username="ann")
    for topic in ("home/kitchen/relay/set", "home/kitchen/temperature", "home/attic/relay/set"):
        ann.publish(topic, b"kept", retain=True)
    esp = server.client("esp", version, username="esp").subscribe("#")
    assert [packet.topic for packet in esp.packets()[1:]] == ["home/kitchen/relay/set"]


@VERSIONS
def test_what_waits_for_an_absent_client_too(version):
    server = house()
    lasting = {"clean_start": False, "properties": Properties(session_expiry_interval=60 if version is V5 else None)}
    esp = server.client("esp", version, username="esp", **lasting).subscribe("home/#", qos=1)
    esp.lose()
    ann = server.client("ann", username="ann")
    for topic in ("home/kitchen/relay/set", "home/attic/relay/set"):
        ann.publish(topic, b"1", qos=1)
    assert [delivery[0].topic for delivery in server.broker.sessions["esp"].queue] == ["home/kitchen/relay/set"]
    back = server.client("esp", version, username="esp", **lasting)
    assert back.connack.session_present
    assert [packet.topic for packet in back.resumed] == ["home/kitchen/relay/set"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_member_that_may_not_read_a_topic_has_no_turn(qos):
    server = house()
    esp, ann = (server.client(name, V5, username=name) for name in ("esp", "ann"))
    for member in (esp, ann):
        member.subscribe("$share/g/home/#", qos=qos)
        member.packets()
    publisher = server.client("p", username="bob")
    for number in range(6):
        publisher.publish("home/attic/x", b"%d" % number)
    assert len(ann.messages()) == 6
    for number in range(6):
        publisher.publish("home/kitchen/relay/set", b"%d" % number)
    assert len(ann.messages()) == len(esp.messages()) == 3
    ann.lose()
    publisher.publish("home/attic/x", b"for nobody", qos=1)
    publisher.publish("home/kitchen/relay/set", b"for esp")
    assert [topic for topic, _, _ in esp.messages()] == ["home/kitchen/relay/set"]


def test_nobody_reads_what_all_members_may_not_read():
    server = house()
    server.client("esp", V5, username="esp").subscribe("$share/g/home/#")
    publisher = server.client("p", V5, username="bob").publish("home/attic/x", qos=1)
    assert publisher.expect(PubAck).reason_code == ReasonCode.NO_MATCHING_SUBSCRIBERS


def test_what_a_member_leaves_goes_to_none_that_may_not_read_it():
    server = house()
    esp, ann = (server.client(name, V5, username=name) for name in ("esp", "ann"))
    for member in (esp, ann):
        member.subscribe("$share/g/home/#", qos=1)
        member.packets()
    server.client("p", username="bob").publish("home/attic/x", b"1", qos=1)
    assert len(ann.messages()) == 1
    ann.lose()
    assert esp.packets() == []


def test_what_waits_for_an_absent_member_goes_to_none_that_may_not_read_it():
    server = house()
    lasting = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    ann = server.client("ann", V5, username="ann", **lasting).subscribe("$share/g/home/#", qos=1)
    ann.lose()
    server.client("p", username="bob").publish("home/attic/x", b"1", qos=1)
    esp = server.client("esp", V5, username="esp").subscribe("$share/g/home/#", qos=1)
    esp.packets()
    esp.subscribe("$share/g/home/#", qos=1)
    assert [type(packet) for packet in esp.packets()] == [SubAck]
    back = server.client("ann", V5, username="ann", **lasting)
    assert [packet.topic for packet in back.resumed] == ["home/attic/x"]


# --- wills ---


@VERSIONS
def test_a_will_where_it_may_not_publish_keeps_a_client_out(version):
    server = house(max_sessions=1)
    lasting = Properties(session_expiry_interval=60)
    kept = server.client("ann", V5, username="ann", clean_start=False, properties=lasting)
    kept.lose()
    esp = server.link(version)
    esp.send(Connect("esp", username="esp", will=Will("home/attic/x", b"gone"), version=version))
    answer = esp.expect(ConnAck)
    assert answer.reason_code == (ReasonCode.NOT_AUTHORIZED if version is V5 else 5)
    assert esp.closed
    assert list(server.broker.sessions) == ["ann"]  # nobody made room for it


@VERSIONS
def test_a_will_where_it_may(version):
    server = house()
    reader = watcher(server)
    server.client("esp", version, username="esp", will=Will("home/kitchen/x", b"gone")).lose()
    assert reader.messages() == [("home/kitchen/x", b"gone", 0)]


class Fickle:
    """Rights that a test takes away."""

    agent = None

    def __init__(self):
        self.publish = True

    def may_publish(self, _topic):
        return self.publish

    def may_read(self, _topic):
        return True

    def may_subscribe(self, _topic_filter):
        return True


@pytest.mark.parametrize(
    "end", [lambda server: server.advance(10), lambda server: server.client("esp", V5, clean_start=True)]
)
@pytest.mark.parametrize("delay_s", [0, 5])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_will_is_asked_about_again_when_it_is_told(allowed, delay_s, end):
    rights = {"esp": Fickle()}
    server = VirtualServer(authorize=lambda username, _client_id: rights.get(username, ALL_RIGHTS))
    reader = watcher(server)
    esp = server.client(
        "esp-1",
        V5,
        username="esp",
        will=Will("x", b"gone", properties=Properties(will_delay_interval=delay_s)),
        properties=Properties(session_expiry_interval=8),
    )
    rights["esp"].publish = allowed
    esp.lose()
    end(server)
    server.advance(10)
    assert [payload for _, payload, _ in reader.messages()] == [b"gone"] * allowed
    assert server.broker.stats.dropped[DENIED] == (not allowed)


# --- sessions ---


def test_a_session_belongs_to_the_user_who_made_it():
    server = house()
    owner = server.client("id", V5, username="esp", properties=Properties(session_expiry_interval=60))
    thief = server.link(V5)
    thief.send(Connect("id", username="ann", version=V5))
    assert thief.expect(ConnAck).reason_code == ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
    assert not owner.closed
    owner.lose()
    thief = server.link(V311)
    thief.send(Connect("id", version=V311))
    assert thief.expect(ConnAck).reason_code == 2


@pytest.mark.parametrize("name", ["#", "+", "home/kitchen", "%u", "*", "esp\u200b", "ESP", "esp "])
def test_a_name_that_looks_like_a_pattern_is_a_name(name):
    """Each has rights of its own, and none has those of the user esp or of all users."""
    server = VirtualServer(authorize=Acl([*RULES, Rule(user=name, publish=["own"])]).rights)
    reader = watcher(server)
    client = server.client("c", username=name)
    client.publish("home/kitchen/x").publish("own").publish("home/own")
    assert [topic for topic, _, _ in reader.messages()] == ["own"]
