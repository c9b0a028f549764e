"""Groups A to J as MQTT 5 has them: the same bounds, and the client is told why."""

import pytest
import raw5
from accounts import password
from raw import PINGREQ, PINGRESP, ack, frame, puback, pubcomp, pubrec, pubrel, text, two
from raw5 import reason_of

from appliance.settings import Limits

MALFORMED, PROTOCOL_ERROR, NOT_AUTHORIZED = 0x81, 0x82, 0x87
EITHER = {MALFORMED, PROTOCOL_ERROR}
MIB = 1_048_576


@pytest.fixture
def join(service):
    """Connect a client of MQTT 5; its CONNACK is in `connack`."""

    def connected(client_id="", **fields):
        link = service.link()
        link.send(raw5.connect(client_id, **fields))
        link.connack = link.packet()
        assert reason_of(link.connack) == 0
        return link

    return connected


@pytest.fixture
def reader(join):
    def subscribed(*topic_filters, qos=0, **fields):
        link = join(**fields)
        link.send(raw5.subscribe(*topic_filters, options=qos))
        assert link.packet() == b"\x90" + bytes([3 + len(topic_filters)]) + b"\x00\x01\x00" + bytes(
            [qos] * len(topic_filters)
        )
        return link

    return subscribed


def told(acknowledgement):
    """What an acknowledgement of a QoS 1 or 2 packet says, with or without the reason in words behind it."""
    return acknowledgement[0], int.from_bytes(acknowledgement[2:4], "big"), acknowledgement[4]


DEEP = "/" * 65_535

TOLD = {
    "a2 a second CONNECT": (raw5.connect("again"), {PROTOCOL_ERROR}),
    "a3 a length of five bytes": (b"\x30\xff\xff\xff\xff", {MALFORMED}),
    "a3 a length in more bytes than it needs": (b"\x30\x86\x00" + text("a") + b"\x00xx", {MALFORMED}),
    "a4 a huge length": (b"\x30\xff\xff\xff\x7f", {0x95}),
    "a5 a PUBLISH shorter than its topic": (frame(0x30, text("abc")[:3]), {MALFORMED}),
    "a5 a PUBLISH without its properties": (frame(0x30, text("abc")), {MALFORMED}),
    "a5 properties longer than the packet": (frame(0x30, text("abc") + b"\x09\x01\x01"), {MALFORMED}),
    "a5 a SUBSCRIBE cut short": (frame(0x82, two(1) + b"\x00" + text("a")), {MALFORMED}),
    "a6 type 0": (b"\x00\x00", {MALFORMED}),
    "a6 AUTH without a method": (b"\xf0\x00", {PROTOCOL_ERROR}),
    "a7 flags on PINGREQ": (b"\xc1\x00", {MALFORMED}),
    "a7 flags on SUBSCRIBE": (b"\x80" + raw5.subscribe("a")[1:], {MALFORMED}),
    "a8 CONNACK": (b"\x20\x03\x00\x00\x00", {PROTOCOL_ERROR}),
    "a8 SUBACK": (b"\x90\x04\x00\x01\x00\x00", {PROTOCOL_ERROR}),
    "a8 UNSUBACK": (b"\xb0\x04\x00\x01\x00\x00", {PROTOCOL_ERROR}),
    "a8 PINGRESP": (PINGRESP, {PROTOCOL_ERROR}),
    "c21 overlong": (raw5.publish(b"\xc0\x80"), {MALFORMED}),
    "c21 a surrogate in a property": (raw5.publish("a", properties=b"\x08" + text(b"\xed\xa0\x80")), {MALFORMED}),
    "c22 NUL": (raw5.publish(b"a\x00"), {MALFORMED}),
    "c24 no topic and no alias": (raw5.publish(""), {PROTOCOL_ERROR}),
    "c24 no filter": (raw5.subscribe(""), {0x8F, *EITHER}),
    "c25 a wildcard in a name": (raw5.publish("a/+"), {0x90, MALFORMED}),
    "c25 a wildcard in a response topic": (raw5.publish("a", properties=b"\x08" + text("a/#")), {0x90, *EITHER}),
    "c26 a wildcard out of place": (raw5.subscribe("a#"), {0x8F, MALFORMED}),
    "c27 a deep name": (raw5.publish(DEEP), {0x90}),
    "c27 a deep filter": (raw5.subscribe(DEEP), {0x8F}),
    "d32 QoS 3": (frame(0x36, text("a") + two(1) + b"\x00x"), {MALFORMED}),
    "d32 DUP at QoS 0": (raw5.publish("a", dup=True), EITHER),
    "d33 packet id 0 on PUBLISH": (raw5.publish("a", b"", 1, 0), EITHER),
    "d33 packet id 0 on SUBSCRIBE": (raw5.subscribe("a", packet_id=0), EITHER),
    "d33 packet id 0 on PUBACK": (puback(0), EITHER),
    "d41 no filter": (frame(0x82, two(1) + b"\x00"), EITHER),
    "d41 QoS 3": (raw5.subscribe("a", options=3), EITHER),
    "d41 reserved bits": (raw5.subscribe("a", options=0xC0), EITHER),
    "d41 retain handling 3": (raw5.subscribe("a", options=0x30), EITHER),
    "d41 No Local on a shared subscription": (raw5.subscribe("$share/g/a", options=4), {PROTOCOL_ERROR}),
    "d41 subscription identifier 0": (raw5.subscribe("a", properties=b"\x0b\x00"), {PROTOCOL_ERROR}),
    "a topic alias of 0": (raw5.publish("a", properties=b"\x23\x00\x00"), {0x94}),
    "a topic alias past the most": (raw5.publish("a", properties=b"\x23\xff\xff"), {0x94}),
    "a topic alias that stands for nothing": (raw5.publish("", properties=b"\x23\x00\x01"), {0x82, 0x94}),
    "a property where it has no place": (raw5.publish("a", properties=b"\x11" + bytes(4)), EITHER),
    "a property twice": (raw5.publish("a", properties=b"\x01\x01\x01\x01"), {PROTOCOL_ERROR}),
}


@pytest.mark.parametrize(("packet", "reasons"), TOLD.values(), ids=TOLD)
def test_a2_a8_c21_c27_d32_d41_the_client_is_told_why_it_is_closed(join, packet, reasons):
    client = join()
    client.send(packet)
    assert reason_of(client.packet()) in reasons
    assert client.until_closed() == b""


def test_a5_a_will_is_told_when_properties_are_broken(join, reader):
    watcher = reader("a5/#")
    client = join(will=("a5/will", b"gone", 0, False))
    client.send(frame(0xE0, b"\x00\x05\x11"))  # a goodbye that is malformed is none
    client.until_closed()
    watcher.expect(raw5.publish("a5/will", b"gone"))


CONVERSATION = (
    raw5.connect("in-pieces-5"),
    raw5.subscribe("pieces5/#", options=1, properties=b"\x0b\x07"),
    raw5.publish("pieces5/a", b"one", 1, 7, properties=b"\x26" + text("unit") + text("C")),
    raw5.publish("pieces5/b", b"two", properties=b"\x23\x00\x01"),
    raw5.publish("", b"three", properties=b"\x23\x00\x01"),
    raw5.publish("pieces5/c", b"x" * 200, 2, 8),
    pubrel(8),
    PINGREQ,
)
ANSWERS = sorted(
    (
        b"\x90\x04\x00\x01\x00\x01",
        raw5.publish("pieces5/a", b"one", 1, 1, properties=b"\x26" + text("unit") + text("C") + b"\x0b\x07"),
        puback(7),
        raw5.publish("pieces5/b", b"two", properties=b"\x0b\x07"),
        raw5.publish("pieces5/b", b"three", properties=b"\x0b\x07"),
        raw5.publish("pieces5/c", b"x" * 200, 1, 2, properties=b"\x0b\x07"),
        pubrec(8),
        pubcomp(8),
        PINGRESP,
    )
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1_000])
def test_a9_in_pieces(service, size):
    whole = b"".join(CONVERSATION)
    link = service.link()
    for start in range(0, len(whole), size):
        link.send(whole[start : start + size])
    assert reason_of(link.packet()) == 0
    assert sorted(link.packets(len(ANSWERS))) == ANSWERS


REFUSED = {
    "b13 the reserved flag": raw5.connect("a", flags=0x03),
    "b14 will QoS without a will": raw5.connect("a", flags=0x0A),
    "b14 will QoS 3": raw5.connect("a", flags=0x1E, more=b"\x00" + text("w") + text("gone")),
    "b16 a will and nothing of it": raw5.connect("a", flags=0x06),
    "b16 fields that no flag speaks of": raw5.connect("a", more=text("user")),
    "b16 will properties longer than the packet": raw5.connect("a", flags=0x06, more=b"\x7f" + text("w") + text("x")),
    "b18 a huge id": raw5.connect("x" * 300),
    "b18 an id that fills its length": raw5.connect("x" * 65_535),
    "b20 an id that is no text": raw5.connect(b"\xff"),
    "c24 a will without a topic": raw5.connect("a", will=("", b"", 0, False)),
    "c25 a will to a wildcard": raw5.connect("a", will=("a/+", b"", 0, False)),
    "c27 a will to a deep topic": raw5.connect("a", will=("/" * 1_000, b"", 0, False)),
    "d36 a receive maximum of 0": raw5.connect("a", properties=raw5.receive_maximum(0)),
    "f49 a will to the server's own topics": raw5.connect("a", will=("$SYS/x", b"", 0, True)),
    "a maximum packet size of 0": raw5.connect("a", properties=b"\x27" + bytes(4)),
    "an authentication method": raw5.connect("a", properties=b"\x15" + text("SCRAM-SHA-256")),
    "authentication data without a method": raw5.connect("a", properties=b"\x16" + text("x")),
}


@pytest.mark.parametrize("packet", REFUSED.values(), ids=REFUSED)
def test_b13_b20_f49_a_connect_is_refused_and_nothing_behind_it_is_done(service, reader, packet):
    watcher = reader("b19/#")
    link = service.link()
    link.send(packet, raw5.publish("b19/live", b"1"), raw5.publish("b19/kept", b"1", retain=True))
    reason = reason_of(link.packet())
    assert reason is None or reason >= 0x80
    assert link.until_closed() == b""
    watcher.ask(PINGREQ, PINGRESP)


def test_b15_a_password_alone_is_allowed(service):  # §3.1.2.9, unlike 3.1.1
    link = service.link()
    link.send(raw5.connect("b15", flags=0x42, more=text("secret")))
    assert reason_of(link.packet()) == 0


def test_b17_an_id_is_assigned_also_to_a_session_that_stays(service):  # [MQTT-3.1.3-6]
    link = service.link()
    link.send(raw5.connect("", clean=False))
    connack = link.packet()
    assert reason_of(connack) == 0
    assert b"\x12\x00" in raw5.properties_of(connack)


@pytest.mark.parametrize("topic", ["$SYS/broker/version", "$CONTROL/x", "$x"])
def test_c30_the_servers_own_topics_are_denied_with_a_reason(join, reader, topic):
    watcher = reader("#", "$x")
    client = join()
    client.send(raw5.publish(topic, b"mine", 1, 1, retain=True), raw5.publish(topic, b"mine", 2, 2, retain=True))
    assert [told(client.packet()) for _ in range(2)] == [(0x40, 1, NOT_AUTHORIZED), (0x50, 2, NOT_AUTHORIZED)]
    client.ask(PINGREQ, PINGRESP)
    watcher.ask(PINGREQ, PINGRESP)


def test_d34_acknowledgements_of_nothing_are_told_so(join):
    client = join()
    client.send(puback(9), pubcomp(9), pubrec(9), pubrel(9), PINGREQ)
    assert [told(client.packet()) for _ in range(2)] == [(0x62, 9, 0x92), (0x70, 9, 0x92)]
    client.expect(PINGRESP)


def test_d35_a_message_again_and_again_is_delivered_once(join, reader):
    watcher = reader("d35")
    client = join()
    for number in range(1_000):
        client.ask(raw5.publish("d35", b"once", 2, 7, dup=number > 0), pubrec(7))
    client.ask(pubrel(7), pubcomp(7))
    watcher.expect(raw5.publish("d35", b"once"))
    watcher.ask(PINGREQ, PINGRESP)


def test_d36_more_than_the_receive_maximum_is_told_so(join, reader):  # [MQTT-3.3.4-7]
    reader("d36")
    client = join()
    most = Limits().receive_maximum
    assert raw5.receive_maximum(most) in raw5.properties_of(client.connack)
    client.send(*(raw5.publish("d36", b"", 2, packet_id) for packet_id in range(1, most + 2)))
    assert client.packets(most) == [pubrec(packet_id) for packet_id in range(1, most + 1)]
    assert reason_of(client.packet()) == 0x93
    assert client.until_closed() == b""


def test_d40_no_more_in_flight_than_the_client_takes(join, reader):  # [MQTT-3.3.4-9]
    slow = reader("d40", qos=1, properties=raw5.receive_maximum(2))
    sender = join()
    for number in range(1, 6):
        sender.ask(raw5.publish("d40", b"%d" % number, 1, number), puback(number))
    slow.expect(*(raw5.publish("d40", b"%d" % number, 1, number) for number in (1, 2)))
    slow.ask(PINGREQ, PINGRESP)
    for number in range(1, 4):
        slow.send(puback(number))
        slow.expect(raw5.publish("d40", b"%d" % (number + 2), 1, number + 2))


def test_d41_more_subscriptions_than_allowed_are_refused_one_by_one(join):
    client = join()
    most = Limits().max_subscriptions
    client.send(raw5.subscribe(*(f"d41/{number}" for number in range(most + 9)), options=1))
    assert client.packet()[-most - 9 :] == b"\x01" * most + b"\x97" * 9


def test_e43_the_old_link_is_told_that_it_was_taken_over(join):
    old = join("e43-five")
    new = join("e43-five")
    assert reason_of(old.packet()) == 0x8E
    assert old.until_closed() == b""
    new.ask(PINGREQ, PINGRESP)


def test_e44_a_takeover_across_versions_keeps_the_state(service, join):
    old = join("e44-five", properties=raw5.session_expiry(60))
    old.ask(raw5.publish("e44", b"once", 2, 5), b"\x50\x02\x00\x05")
    new = service.client("e44-five", clean=False, answer=b"\x20\x02\x01\x00")
    new.ask(pubrel(5), pubcomp(5))
    service.client("e44-five").silent()


def test_e45_another_user_is_told_that_the_id_is_not_valid(service_for):
    service = service_for("alice", "mallory")

    def answer(user, link):
        secret = user and password(user)
        properties = raw5.session_expiry(60)
        link.send(raw5.connect("e45-five", username=user, password=secret, properties=properties))
        return reason_of(link.packet())

    alice = service.link()
    assert answer("alice", alice) == 0
    for user in ("mallory", None):
        assert answer(user, service.link()) == 0x85
    alice.ask(PINGREQ, PINGRESP)
    assert answer("alice", service.link()) == 0


def test_e46_a_session_stays_as_long_as_it_was_asked_to(join):
    def present(**fields):
        link = join("e46-five", **fields)
        link.send(raw5.disconnect(0))
        link.until_closed()
        return link.connack[2]

    assert present(clean=False) == 0
    assert present(clean=False, properties=raw5.session_expiry(60)) == 0  # the last ended with its link
    assert present(clean=False) == 1
    assert present(clean=False) == 0
    link = join("e46-five", properties=raw5.session_expiry(60))
    link.send(raw5.disconnect(0, raw5.session_expiry(0)))  # it changes its mind
    link.until_closed()
    assert present(clean=False) == 0


def test_f48_a_goodbye_that_asks_for_the_will(join, reader):  # reason 0x04
    watcher = reader("f48-five/#")
    for reason, told in ((0x00, False), (0x04, True), (0x81, True)):
        client = join("f48-five", will=("f48-five/will", b"%d" % reason, 0, False))
        client.send(raw5.disconnect(reason))
        assert client.until_closed() == b""
        if told:
            watcher.expect(raw5.publish("f48-five/will", b"%d" % reason))
        watcher.ask(PINGREQ, PINGRESP)


def test_f48_a_will_without_patience_is_told_at_once_and_a_takeover_in_time_drops_a_patient_one(join, reader):
    watcher = reader("f48-delay/#")
    expiry = raw5.session_expiry(600)
    patient = join(
        "f48-patient", properties=expiry, will=("f48-delay/w", b"x", 0, False), will_properties=raw5.will_delay(300)
    )
    hasty = join("f48-hasty", properties=expiry, will=("f48-delay/h", b"y", 0, False))
    patient.reset()
    hasty.reset()
    watcher.expect(raw5.publish("f48-delay/h", b"y"))
    join("f48-patient", clean=False, properties=expiry)
    watcher.ask(PINGREQ, PINGRESP)
    join("f48-patient")  # and gone


def test_g54_silence_is_told(join):
    client = join(keep_alive=1)
    assert reason_of(client.packet()) == 0x8D
    assert client.until_closed() == b""


@pytest.mark.parametrize("wished", [0, 65_535])
def test_g55_a_server_keep_alive_bounds_the_idle(join, wished):  # [MQTT-3.1.2-21]
    client = join(keep_alive=wished)
    assert b"\x13" + two(Limits().max_keep_alive_s) in raw5.properties_of(client.connack)
    asking = join(keep_alive=60)
    assert b"\x13" + two(60) not in raw5.properties_of(asking.connack)


def test_i67_no_room_is_told(service_with):
    service = service_with("max_sessions = 5\n")
    for number in range(5):
        link = service.link()
        link.send(raw5.connect(f"i67-{number}"))
        assert reason_of(link.packet()) == 0
    link = service.link()
    link.send(raw5.connect("i67-one-too-many"))
    assert reason_of(link.packet()) == 0x97
    service.close_links()


@pytest.mark.parametrize("qos", range(3))
def test_j70_a_reader_that_never_reads_costs_a_bounded_amount(service, join, qos):
    unread = service.link(receive_buffer=1_024)
    unread.send(raw5.connect("j70-five", properties=raw5.receive_maximum(1)), raw5.subscribe("j70", options=qos))
    assert reason_of(unread.packet()) == 0
    publisher = join()

    def shove(total):
        for _ in range(total // 160_000):
            publisher.send(*(raw5.publish("j70", bytes(16_000), qos, number) for number in range(1, 11)))
            if qos == 1:
                publisher.packets(10)
            if qos == 2:
                publisher.packets(10)
                publisher.send(*(pubrel(number) for number in range(1, 11)))
                publisher.packets(10)
        publisher.ask(PINGREQ, PINGRESP)

    shove(2 * MIB)
    before = service.rss_bytes()
    shove(32 * MIB)
    assert service.rss_bytes() - before < 6 * MIB


def test_j70_what_is_larger_than_the_client_takes_is_not_sent(service, join):  # [MQTT-3.1.2-24]
    small = service.link()
    small.send(raw5.connect(properties=b"\x27" + raw5.four(100)), raw5.subscribe("j70/#", options=1))
    assert reason_of(small.packet()) == 0
    assert small.packet()[:1] == b"\x90"
    publisher = join()
    for qos in (0, 1):
        publisher.send(raw5.publish("j70/large", bytes(200), qos, 1), raw5.publish("j70/small", b"x", qos, 2))
    assert [small.packet()[-1:] for _ in range(2)] == [b"x", b"x"]
    small.ask(PINGREQ, PINGRESP)


def test_an_acknowledgement_with_a_reason_ends_the_exchange(join, reader):  # §4.3
    slow = reader("refused", qos=2, properties=raw5.receive_maximum(1))
    sender = join()
    for number in (1, 2):
        sender.ask(raw5.publish("refused", b"%d" % number, 2, number), pubrec(number))
        sender.ask(pubrel(number), pubcomp(number))
    slow.expect(raw5.publish("refused", b"1", 2, 1))
    slow.send(frame(0x50, two(1) + b"\x97"))
    slow.expect(raw5.publish("refused", b"2", 2, 2))
    slow.send(ack(0x50, 2))
    slow.expect(pubrel(2))
