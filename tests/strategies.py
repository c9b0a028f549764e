"""Hypothesis strategies for what MQTT carries: texts, topics, filters, properties and every packet of a version."""

from hypothesis import strategies as st

from appliance.mqtt.packets import (
    Auth,
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
from appliance.mqtt.properties import (
    BINARY,
    BYTE,
    EMPTY,
    FOUR_BYTES,
    PAIR,
    PROPERTIES,
    TEXT,
    TWO_BYTES,
    WILL,
    Properties,
)
from appliance.mqtt.types import REASON_CODES, PacketType, QoS, Version
from appliance.mqtt.wire import MAX_VARINT

VERSIONS = (Version.MQTT_3_1, Version.MQTT_3_1_1, Version.MQTT_5)

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_level_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0/+#")

texts = st.text(_characters, max_size=12)
payloads = st.binary(max_size=200)
packet_ids = st.integers(1, 0xFFFF)
qos = st.sampled_from(QoS)
versions = st.sampled_from(VERSIONS)

levels = st.one_of(st.sampled_from(["", "home", "kitchen", "$SYS", "温度"]), st.text(_level_characters, max_size=8))
topic_names = st.lists(levels, min_size=1, max_size=6).map("/".join).filter(bool)


@st.composite
def plain_filters(draw):
    chosen = draw(st.lists(st.one_of(levels, st.just("+")), min_size=1, max_size=6))
    if draw(st.booleans()):
        chosen[-1] = "#"
    return "/".join(chosen) or "+"


_groups = st.text(_level_characters, min_size=1, max_size=8)
shared_filters = st.builds("$share/{}/{}".format, _groups, plain_filters())
topic_filters = st.one_of(plain_filters(), shared_filters).filter(lambda f: f.count("$share/") < 2)

_KINDS = {
    BYTE: st.integers(0, 1),  # every property of one byte is a flag
    TWO_BYTES: st.integers(1, 0xFFFF),
    FOUR_BYTES: st.integers(1, 0xFFFF_FFFF),
    TEXT: texts,
    BINARY: payloads,
    PAIR: st.tuples(texts, texts),
}


def _values(row, place):
    if row.name == "response_topic":
        return topic_names
    if row.name == "subscription_identifier":
        identifiers = st.integers(1, MAX_VARINT)
        return st.lists(identifiers, min_size=1, max_size=3 if place in row.repeats_in else 1).map(tuple)
    if row.repeats_in:
        return st.lists(_KINDS[row.kind], min_size=1, max_size=3).map(tuple)
    return _KINDS[row.kind]


def properties(place, version=Version.MQTT_5):
    """Any properties that may stand in `place`; none before MQTT 5."""
    rows = [row for row in PROPERTIES if place in row.places]
    if version is not Version.MQTT_5 or not rows:
        return st.just(EMPTY)

    def build(values):
        if "authentication_method" not in values:
            values.pop("authentication_data", None)
        return Properties(**values)

    some = st.lists(st.sampled_from(rows), unique=True, max_size=4)
    return some.flatmap(lambda rows: st.fixed_dictionaries({row.name: _values(row, place) for row in rows}).map(build))


def _wills(version):
    return st.builds(Will, topic_names, payloads, qos, st.booleans(), properties(WILL, version))


@st.composite
def connects(draw, version):
    username = draw(st.none() | texts)
    allowed = username is not None or version is Version.MQTT_5
    return Connect(
        draw(texts),
        draw(st.booleans()),
        draw(st.integers(0, 0xFFFF)),
        username,
        draw(st.none() | payloads) if allowed else None,
        draw(st.none() | _wills(version)),
        draw(properties(PacketType.CONNECT, version)),
        version,
    )


@st.composite
def publishes(draw, version):
    own = draw(properties(PacketType.PUBLISH, version))
    names = topic_names if own.topic_alias is None else topic_names | st.just("")
    chosen = draw(qos)
    return Publish(
        draw(names),
        draw(payloads),
        chosen,
        draw(st.booleans()),
        bool(chosen) and draw(st.booleans()),
        draw(packet_ids) if chosen else None,
        own,
    )


def _connacks(version):
    refusals = (
        st.sampled_from(sorted(REASON_CODES[PacketType.CONNACK])) if version is Version.MQTT_5 else st.integers(0, 5)
    )
    accepted = st.tuples(st.booleans() if version is not Version.MQTT_3_1 else st.just(False), st.just(0))
    answers = accepted | st.tuples(st.just(False), refusals)
    return st.builds(lambda answer, own: ConnAck(*answer, own), answers, properties(PacketType.CONNACK, version))


def _codes(packet_type, version):
    return st.sampled_from(sorted(REASON_CODES[packet_type])) if version is Version.MQTT_5 else st.just(0)


def _acknowledgements(version):
    return st.one_of(
        *(
            st.builds(kind, packet_ids, _codes(kind.packet_type, version), properties(kind.packet_type, version))
            for kind in (PubAck, PubRec, PubRel, PubComp)
        ),
    )


@st.composite
def _subscriptions(draw, version):
    topic_filter = draw(topic_filters)
    if version is not Version.MQTT_5:
        return Subscription(topic_filter, draw(qos))
    return Subscription(
        topic_filter,
        draw(qos),
        draw(st.booleans()) and not topic_filter.startswith("$share/"),
        draw(st.booleans()),
        draw(st.integers(0, 2)),
    )


def _subscribing(version):
    granted = _codes(PacketType.SUBACK, version) if version is Version.MQTT_5 else st.sampled_from([0, 1, 2, 0x80])
    removed = st.lists(_codes(PacketType.UNSUBACK, version), min_size=1, max_size=4).map(tuple)

    def own(packet_type):
        return properties(packet_type, version)

    def several(one):
        return st.lists(one, min_size=1, max_size=4).map(tuple)

    return st.one_of(
        st.builds(Subscribe, packet_ids, several(_subscriptions(version)), own(PacketType.SUBSCRIBE)),
        st.builds(SubAck, packet_ids, several(granted), own(PacketType.SUBACK)),
        st.builds(Unsubscribe, packet_ids, several(topic_filters), own(PacketType.UNSUBSCRIBE)),
        st.builds(UnsubAck, packet_ids, removed, own(PacketType.UNSUBACK))
        if version is Version.MQTT_5
        else st.builds(UnsubAck, packet_ids),
    )


@st.composite
def auths(draw):
    own = draw(properties(PacketType.AUTH))
    code = draw(_codes(PacketType.AUTH, Version.MQTT_5))
    if own == EMPTY and not code:
        return Auth()
    method = own.authentication_method if own.authentication_method is not None else draw(texts)
    return Auth(
        code,
        Properties(
            authentication_method=method,
            authentication_data=own.authentication_data,
            reason_string=own.reason_string,
            user_property=own.user_property,
        ),
    )


def packets(version):
    """Any packet that `version` can say."""
    kinds = [
        connects(version),
        _connacks(version),
        publishes(version),
        _acknowledgements(version),
        _subscribing(version),
        st.sampled_from([PingReq(), PingResp()]),
        st.builds(Disconnect, _codes(PacketType.DISCONNECT, version), properties(PacketType.DISCONNECT, version)),
    ]
    return st.one_of(*kinds, *([auths()] if version is Version.MQTT_5 else []))


versioned_packets = versions.flatmap(lambda version: st.tuples(st.just(version), packets(version)))
"""(version, packet of it)."""
