"""Group D: what QoS 1 and 2 promise, and who abuses it."""

import pytest
from raw import (
    ACCEPTED,
    ACCEPTED_AND_KNOWN,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    connect,
    frame,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
    text,
    two,
    unsubscribe,
)

from appliance.settings import Limits


def packet_id_of(packet):
    """The id of a QoS 1 or 2 PUBLISH of less than 128 bytes."""
    after_topic = 4 + int.from_bytes(packet[2:4], "big")
    return int.from_bytes(packet[after_topic : after_topic + 2], "big")


def payload_of(packet):
    return packet[4 + int.from_bytes(packet[2:4], "big") + 2 :]


def test_d32_qos_3_closes(service):  # [MQTT-3.3.1-4]
    for flags in (0x06, 0x07, 0x0E, 0x0F):
        client = service.client()
        client.send(frame(0x30 | flags, text("a") + two(1) + b"x"))
        assert client.until_closed() == b""


def test_d32_dup_at_qos_0_closes(service):  # [MQTT-3.3.1-2]
    client = service.client()
    client.send(publish("a", b"x", dup=True))
    assert client.until_closed() == b""


@pytest.mark.parametrize(
    "packet",
    [
        publish("a", b"x", 1, 0),
        publish("a", b"x", 2, 0),
        subscribe("a", packet_id=0),
        unsubscribe("a", packet_id=0),
        puback(0),
        pubrec(0),
        pubrel(0),
        pubcomp(0),
    ],
)
def test_d33_packet_id_0_closes(service, packet):  # [MQTT-2.3.1-1]
    watcher = service.reader("a")
    client = service.client()
    client.send(packet)
    assert client.until_closed() == b""
    watcher.silent()


def test_d34_acknowledgements_of_nothing(service):
    client = service.client()
    before = service.rss_bytes()
    for packet_id in range(1, 65_536):
        client.send(puback(packet_id), pubcomp(packet_id))
    client.silent()
    client.send(pubrel(9), pubrel(65_535))
    client.expect(pubcomp(9), pubcomp(65_535))
    assert service.rss_bytes() - before < 1_048_576


def test_d35_the_same_message_again_and_again_is_delivered_once(service):  # [MQTT-4.3.3-2]
    watcher = service.reader("d35", qos=0)
    client = service.client()
    before = service.rss_bytes()
    for number in range(100):
        client.send(publish("d35", b"once", 2, 7, dup=number > 0) * 100)
        assert client.packets(100) == [pubrec(7)] * 100
    client.ask(pubrel(7), pubcomp(7))
    watcher.expect(publish("d35", b"once"))
    watcher.silent()
    client.ask(publish("d35", b"again", 2, 7), pubrec(7))  # the id is free, so this is another message
    watcher.expect(publish("d35", b"again"))
    assert service.rss_bytes() - before < 1_048_576


def test_d36_all_qos_2_ids_may_be_open_and_there_are_no_more(service):
    """3.1.1 has no receive maximum to tell the client of; each of its 65,535 ids is answered, as Mosquitto does."""
    client = service.client()
    before = service.rss_bytes()
    for first in range(1, 65_536, 1_000):
        ids = range(first, min(first + 1_000, 65_536))
        client.send(*(publish("d36", b"", 2, packet_id) for packet_id in ids))
        assert client.packets(len(ids)) == [pubrec(packet_id) for packet_id in ids]
    assert service.rss_bytes() - before < 8 * 1_048_576
    client.ask(publish("d36", b"", 2, 7, dup=True), pubrec(7))
    client.ask(pubrel(7), pubcomp(7))


def test_d37_the_wrong_acknowledgement_loses_nothing(service):
    reader = service.reader("d37", qos=2, client_id="d37", clean=False)
    sender = service.client()
    sender.ask(publish("d37", b"two", 2, 1), pubrec(1))
    sender.ask(pubrel(1), pubcomp(1))
    reader.expect(publish("d37", b"two", 2, 1))
    reader.send(puback(1), pubcomp(1))
    reader.silent()
    sender.ask(publish("d37", b"one", 1, 2), puback(2))
    reader.expect(publish("d37", b"one", 1, 2))
    reader.send(pubrec(2), pubcomp(2))
    reader.silent()
    reader.send(DISCONNECT)
    again = service.client("d37", clean=False, answer=ACCEPTED_AND_KNOWN)
    again.expect(publish("d37", b"two", 2, 1, dup=True), publish("d37", b"one", 1, 2, dup=True))
    again.send(pubrec(1), puback(2))
    again.expect(pubrel(1))
    again.send(pubcomp(1))
    again.silent()
    service.client("d37").silent()


def test_d38_what_was_not_acknowledged_comes_again(service):  # [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    reader = service.reader("d38/#", qos=2, client_id="d38", clean=False)
    sender = service.client()
    for number in range(1, 9):
        qos = 1 + number % 2
        sender.send(publish("d38/x", b"%d" % number, qos, number))
        assert sender.packet() == (pubrec if qos == 2 else puback)(number)
    sent = reader.packets(8)
    assert [packet_id_of(packet) for packet in sent] == list(range(1, 9))
    reader.send(pubrec(1), puback(4))
    reader.expect(pubrel(1))
    reader.reset()
    sender.ask(publish("d38/x", b"9", 1, 9), puback(9))  # while it is away
    again = service.client("d38", clean=False, answer=ACCEPTED_AND_KNOWN)
    dup = [bytes([packet[0] | 8]) + packet[1:] for packet in sent]
    again.expect(pubrel(1), dup[1], dup[2], *dup[4:], publish("d38/x", b"9", 1, 9))
    again.close()
    service.client("d38").silent()


def test_d39_acknowledgements_come_in_the_order_of_the_messages(service):  # [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    client = service.client()
    ids = [(number * 37) % 90 + 1 for number in range(90)]
    client.send(*(publish("d39", b"", 1 + number % 2, packet_id) for number, packet_id in enumerate(ids)))
    client.expect(*((pubrec if number % 2 else puback)(packet_id) for number, packet_id in enumerate(ids)))
    released = [packet_id for number, packet_id in enumerate(ids) if number % 2]
    client.send(*map(pubrel, released))
    client.expect(*map(pubcomp, released))


def test_d40_no_more_in_flight_than_the_window_and_nothing_lost(service):
    reader = service.reader("d40", qos=1)
    sender = service.client()
    count = 1_000
    for number in range(1, count + 1):
        sender.ask(publish("d40", b"%04d" % number, 1, number), puback(number))
    window = Limits().max_inflight
    open_now = reader.packets(window)
    reader.silent()  # the window is full
    for number in range(count):
        packet = open_now.pop(0)
        assert payload_of(packet) == b"%04d" % (number + 1)
        reader.send(puback(packet_id_of(packet)))
        if number + window < count:
            open_now.append(reader.packet())
            ids = [packet_id_of(each) for each in open_now]
            assert len(set(ids)) == len(ids)
    reader.silent()


def test_d40_packet_ids_wrap_around(service):
    reader = service.reader("d40", qos=1)
    sender = service.client()
    held = None
    for first in range(0, 65_600, 80):
        sender.send(*(publish("d40", b"", 1, number) for number in range(1, 81)))
        assert sender.packets(80) == [puback(number) for number in range(1, 81)]
        ids = [packet_id_of(packet) for packet in reader.packets(80)]
        if held is None:
            held = ids.pop(0)  # id 1 stays open all the time
        assert held not in ids
        assert 0 not in ids
        reader.send(*map(puback, ids))
        if first > 65_000:
            assert min(ids) > 60_000 or max(ids) > 65_000 or ids[0] in range(2, 200)
    reader.send(puback(held))
    reader.silent()


@pytest.mark.parametrize(
    "packet",
    [
        frame(0x82, two(1)),  # no filter [MQTT-3.8.3-3]
        subscribe("a", qos=3),  # [MQTT-3-8.3-4]
        subscribe("a", qos=4),
        subscribe("a", qos=0x80),
        frame(0x82, two(1) + text("a")),  # a filter without its QoS
        frame(0xA2, two(1)),  # [MQTT-3.10.3-2]
    ],
)
def test_d41_a_subscribe_that_asks_for_nothing_closes(service, packet):
    client = service.client()
    client.send(packet)
    assert client.until_closed() == b""


def test_d41_ten_thousand_filters_at_once_are_all_answered(service):  # [MQTT-3.9.3-1]
    client = service.client()
    client.send(subscribe(*(f"d41/{number}" for number in range(10_000)), qos=1, packet_id=77))
    answer = client.packet()
    assert answer[:5] == b"\x90\x92\x4e\x00\x4d"
    assert len(answer) == 5 + 10_000
    most = Limits().max_subscriptions
    assert answer[5:] == b"\x01" * most + b"\x80" * (10_000 - most)  # as many as one client may have
    publisher = service.client()
    publisher.send(publish(f"d41/{most - 1}", b"x"), publish(f"d41/{most}", b"x"))
    client.expect(publish(f"d41/{most - 1}", b"x"))
    client.silent()


def test_d41_subscribing_again_replaces_and_sends_the_retained_again(service):  # [MQTT-3.8.4-3]
    sender = service.client()
    sender.send(publish("d41/kept", b"1", retain=True))
    sender.silent()
    reader = service.client()
    for qos in (0, 1, 0):
        reader.send(subscribe("d41/kept", qos=qos))
        reader.expect(b"\x90\x03\x00\x01" + bytes([qos]), publish("d41/kept", b"1", retain=True))
    sender.ask(publish("d41/kept", b"2", 1, 1), puback(1))
    reader.expect(publish("d41/kept", b"2"))  # once, and at the QoS of the last one
    reader.silent()
    sender.send(publish("d41/kept", b"", retain=True))
    sender.silent()


def test_d41_unsubscribing_what_was_not_there_is_answered(service):  # [MQTT-3.10.4-5]
    client = service.client()
    client.ask(unsubscribe("never", "a/+", packet_id=9), b"\xb0\x02\x00\x09")
    client.silent()


@pytest.mark.parametrize("published", range(3))
def test_d42_overlapping_subscriptions_deliver_once_at_the_highest_qos(service, published):  # [MQTT-3.3.5-1]
    reader = service.client()
    for number, (topic_filter, qos) in enumerate({"d42/#": 0, "d42/+": 2, "d42/a": 1, "+/a": 0}.items(), 1):
        reader.send(subscribe(topic_filter, qos=qos, packet_id=number))
        reader.packet()
    service.client().send(publish("d42/a", b"x", published, 5))
    reader.expect(publish("d42/a", b"x", published, 1))
    reader.silent()


def test_a_client_that_reads_what_it_publishes(service):
    client = service.reader("own", qos=2)
    client.send(publish("own", b"x", 2, 1))
    assert sorted(client.packets(2)) == sorted([publish("own", b"x", 2, 1), pubrec(1)])
    client.send(pubrec(1), pubrel(1))
    assert sorted(client.packets(2)) == sorted([pubrel(1), pubcomp(1)])
    client.send(pubcomp(1))
    client.silent()


def test_a_link_that_ends_amid_an_exchange_leaves_nothing_of_a_clean_session(service):
    link = service.link()
    link.send(connect("amid"), subscribe("amid", qos=2), publish("amid", b"x", 2, 1))
    link.expect(ACCEPTED, b"\x90\x03\x00\x01\x02")
    link.reset()
    again = service.client("amid", clean=False)
    again.send(PINGREQ)
    again.expect(PINGRESP)
    service.client("amid").silent()
