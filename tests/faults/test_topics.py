"""Group C: topic names and filters, and the text in them."""

import pytest
from raw import PINGREQ, connect, frame, publish, subscribe, text, two, unsubscribe

NO_TEXT = {
    "cut short": b"a/\xc3",
    "overlong": b"\xc0\x80",
    "overlong slash": b"a\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "past the last": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "no first byte": b"\x80",
    "never a byte": b"a/\xff",
    "NUL": b"a/\x00/b",  # [MQTT-1.5.3-2], [MQTT-4.7.3-2]
}


@pytest.mark.parametrize("raw", NO_TEXT.values(), ids=NO_TEXT)
def test_c21_c22_what_is_no_text_closes(service, raw):  # [MQTT-1.5.3-1]
    for packet in (publish(raw), publish(raw, b"", 1), publish(raw, b"", 2), subscribe(raw), unsubscribe(raw)):
        client = service.client()
        client.send(packet)
        assert client.until_closed() == b"", packet
    for connecting in (connect("a", will=(raw, "gone", 0, False)), connect("a", username=raw)):
        link = service.link()
        link.send(connecting)
        assert link.until_closed() == b"", connecting


@pytest.mark.parametrize("topic", ["\ufeffbom", "b\ufeffom", "café", "日本", "\U0001f321", "c23/\x01", "c23/\uffff"])
def test_c23_text_arrives_as_it_was(service, topic):  # [MQTT-1.5.3-3]
    reader = service.reader(topic)
    service.client().send(publish(topic, b"21.4"))
    reader.expect(publish(topic, b"21.4"))


def test_c24_nothing_is_no_topic(service):  # [MQTT-4.7.3-1]
    for packet in (publish(""), publish("", b"", 1), subscribe(""), subscribe("a", ""), unsubscribe("")):
        client = service.client()
        client.send(packet)
        assert client.until_closed() == b"", packet


@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "a+", "a#/b", "+/a", "home/+/temperature"])
def test_c25_a_wildcard_in_a_name_closes(service, topic):  # [MQTT-3.3.2-2]
    for qos in range(3):
        client = service.client()
        client.send(publish(topic, b"", qos))
        assert client.until_closed() == b""
    link = service.link()
    link.send(connect("a", will=(topic, "gone", 0, False)))
    assert link.until_closed()[:1] in {b"", b"\x20"}


@pytest.mark.parametrize("topic_filter", ["a/#/b", "a#", "+a", "a+/b", "#/", "##", "a/b#", "a/+b/c", "++", "a/++"])
def test_c26_a_wildcard_out_of_place_closes(service, topic_filter):  # [MQTT-4.7.1-2], [MQTT-4.7.1-3]
    for packet in (subscribe(topic_filter), subscribe("good", topic_filter), unsubscribe(topic_filter)):
        client = service.client()
        client.send(packet)
        assert client.until_closed() == b""


DEEP = {
    "65,535 slashes": "/" * 65_535,
    "32,767 letters": "/".join("a" * 32_767),
    "65 levels": "/".join("a" * 65),
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)
def test_c27_too_many_levels_are_refused(service, deep):
    watcher = service.reader("#")
    for qos in range(3):
        client = service.client()
        client.send(publish(deep, b"", qos, retain=True))
        assert client.until_closed() == b""
    reader = service.client()
    reader.send(subscribe(deep), PINGREQ)
    assert reader.packet() in {b"\x90\x03\x00\x01\x80", None}
    watcher.silent()


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)
def test_c27_a_will_with_too_many_levels_harms_nobody(service, deep):
    watcher = service.reader("#")
    link = service.link()
    link.send(connect("deep", will=(deep, "gone", 0, True)), PINGREQ)
    link.packet()
    link.reset()
    service.client().silent()
    watcher.silent()


def test_c27_as_deep_as_allowed(service):
    topic = "/".join("abcdefgh" * 8)
    readers = [service.reader(topic), service.reader("/".join("+" * 64)), service.reader("a/#")]
    service.client().send(publish(topic, b"1"))
    for reader in readers:
        reader.expect(publish(topic, b"1"))


def test_c28_many_wildcards_against_many_retained_topics(service):
    topics = [f"c28/{a}/{b}/{c}/d/e/f/g" for a in range(10) for b in range(10) for c in range(10)]
    publisher = service.client()
    publisher.send(*(publish(topic, b"1", retain=True) for topic in topics))
    publisher.silent()
    filters = ["c28/" + "+/" * n + "#" for n in range(7)] + ["c28/+/+/+/+/+/+/+", "c28/+/5/+/d/+/f/+", "+/+/+/+/x"]
    reader = service.client()
    reader.send(*(subscribe(topic_filter, packet_id=n + 1) for n, topic_filter in enumerate(filters)))
    seen = 0
    while seen < 8_100:  # 1,000 for each of eight that match everything, 100 for the one that names a level
        packet = reader.packet()
        assert packet is not None
        seen += packet[:1] == b"\x31"
    publisher.send(*(publish(topic, b"", retain=True) for topic in topics))
    publisher.silent()


@pytest.mark.parametrize(
    "topic_filter",
    ["+/" * 60 + "x", "a/" * 60 + "x", "+/a/" * 30 + "x", "a/+/" * 31 + "#", "a" * 60_000, "+/" + "a" * 60_000],
)
def test_c29_filters_that_make_a_regular_expression_stumble(service, topic_filter):
    reader = service.reader(topic_filter)
    publisher = service.client()
    publisher.send(*(publish("a/" * 60 + f"y{n}", b"1") for n in range(300)))
    publisher.silent()
    reader.silent()


def test_c29_every_choice_of_plus_and_name_at_once(service):
    """1,000 filters that share their beginnings: the tree is walked, not every way through it."""
    filters = ["/".join("+" if n >> i & 1 else "a" for i in range(10)) + "/b" * 40 + f"/{n}" for n in range(1_000)]
    reader = service.client()
    for first in range(0, 1_000, 100):
        reader.send(subscribe(*filters[first : first + 100]))
        assert reader.packet()[:2] == b"\x90\x66"
    publisher = service.client()
    publisher.send(*(publish("a/" * 10 + "b/" * 40 + f"x{n}", b"1") for n in range(100)))
    publisher.silent()
    reader.silent()


@pytest.mark.parametrize(
    "topic", ["$SYS/broker/version", "$SYS", "$CONTROL/dynamic-security/v1", "$x", "$share/g/a", "$"]
)
def test_c30_the_servers_own_topics_are_not_for_clients_to_write(service, topic):  # [MQTT-4.7.2-1]
    ours = service.reader("$SYS/broker/version").packet()
    assert b"home-sensor-appliance version" in ours
    watcher = service.reader("#", "+/broker/version", "+", "$x", "$SYS/broker/version")
    watcher.expect(ours)
    for qos in range(3):
        client = service.client()
        client.send(publish(topic, b"mine", qos, retain=True))
        client.send(PINGREQ)
        client.packet()
        client.close()
    watcher.silent()
    late = service.reader("$x", "$SYS", "$SYS/broker/version")
    late.expect(ours)
    late.silent()


def test_c31_what_looks_alike_is_not_the_same(service):  # [MQTT-4.7.3-4]
    names = ["c31", "/c31", "c31/", "C31", "c31/\u00e9", "c31/e\u0301"]
    readers = {name: service.reader(name) for name in names}
    service.client().send(*(publish(name, name.encode()) for name in names))
    for name, reader in readers.items():
        reader.expect(publish(name, name.encode()))
        reader.silent()


def test_a_topic_longer_than_its_packet_closes(service):
    client = service.client()
    client.send(frame(0x30, two(65_535) + b"abc"))
    assert client.until_closed() == b""


def test_a_topic_as_long_as_can_be(service):
    topic = "x" * 65_535
    reader = service.reader("+")
    service.client().send(publish(topic, b"1"))
    reader.expect(publish(topic, b"1"))
    assert text(topic)[:2] == b"\xff\xff"
