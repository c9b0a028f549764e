"""Group B: what a CONNECT may not say."""

import string

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
    publish,
    subscribe,
    text,
)

UNACCEPTABLE_VERSION = b"\x20\x02\x00\x01"
IDENTIFIER_REJECTED = b"\x20\x02\x00\x02"


@pytest.mark.parametrize("name", ["mqtt", "", "MQTT ", "MQT", "MQTT\x01", "AMQP", "MQIsdp"])
def test_b11_another_name_is_never_taken_for_3_1_1(service, name):  # [MQTT-3.1.2-1]
    link = service.link()
    link.send(connect("a", name=name))
    assert link.until_closed() in {b"", UNACCEPTABLE_VERSION}


def test_b11_mqtt_3_1_is_served_as_such(service):
    link = service.link()
    link.ask(connect("old", name="MQIsdp", level=3), ACCEPTED)
    link.silent()


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 127, 128, 132, 255])
def test_b12_an_unknown_level_is_told_so(service, level):  # [MQTT-3.1.2-2]
    link = service.link()
    link.send(connect("a", level=level))
    assert link.until_closed() == UNACCEPTABLE_VERSION


def test_b13_the_reserved_flag_closes(service):  # [MQTT-3.1.2-3], [MQTT-3.1.4-1]
    link = service.link()
    link.send(connect("a", flags=0x03))
    assert link.until_closed() == b""


@pytest.mark.parametrize(
    "flags",
    [
        0x02 | 0x08,  # will QoS 1 without a will [MQTT-3.1.2-13]
        0x02 | 0x10,
        0x02 | 0x20,  # will retain without a will [MQTT-3.1.2-15]
        0x02 | 0x04 | 0x18,  # will QoS 3 [MQTT-3.1.2-14]
    ],
)
def test_b14_will_flags_that_contradict_themselves_close(service, flags):
    link = service.link()
    link.send(connect("a", flags=flags, more=text("w") + text("gone")))
    assert link.until_closed() == b""


def test_b15_a_password_without_a_user_closes(service):  # [MQTT-3.1.2-22]
    link = service.link()
    link.send(connect("a", flags=0x42, more=text("secret")))
    assert link.until_closed() == b""


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        (0x06, b""),  # a will and nothing of it
        (0x06, text("w")),  # its topic alone
        (0x82, b""),  # a user name that is not there [MQTT-3.1.2-19]
        (0xC2, text("user")),  # nor the password [MQTT-3.1.2-21]
        (0x02, text("user")),  # fields that no flag speaks of [MQTT-3.1.2-18], [MQTT-3.1.2-20]
        (0x02, b"\x00"),
    ],
)
def test_b16_flags_and_fields_must_agree(service, flags, more):  # [MQTT-3.1.3-1]
    link = service.link()
    link.send(connect("a", flags=flags, more=more))
    assert link.until_closed() == b""


def test_b17_no_id_and_no_clean_session_is_refused(service):  # [MQTT-3.1.3-8], [MQTT-3.1.3-9]
    link = service.link()
    link.send(connect("", clean=False))
    assert link.until_closed() == IDENTIFIER_REJECTED


def test_b17_clients_without_id_do_not_take_each_other_over(service):  # [MQTT-3.1.3-6], [MQTT-3.1.3-7]
    clients = [service.client("") for _ in range(50)]
    for client in clients:
        client.silent()


@pytest.mark.parametrize("client_id", ["a", "0" * 23, string.ascii_letters[:23], string.ascii_letters[29:], "9"])
def test_b18_ids_that_must_be_allowed(service, client_id):  # [MQTT-3.1.3-5]
    service.client(client_id).silent()


@pytest.mark.parametrize("size", [257, 60_000])
def test_b18_a_huge_id_is_refused(service, size):
    link = service.link()
    link.send(connect("x" * size))
    assert link.until_closed() == IDENTIFIER_REJECTED


def test_b18_an_id_that_fills_its_length_is_refused_or_closed(service):
    link = service.link()
    link.send(connect("x" * 65_535))
    assert link.until_closed() in {b"", IDENTIFIER_REJECTED}


@pytest.mark.parametrize(
    "refused", [connect("", clean=False), connect("a", level=6), connect("a", name="mqtt"), connect("x" * 300)]
)
def test_b19_nothing_behind_a_refused_connect_is_done(service, refused):  # [MQTT-3.1.4-5]
    watcher = service.reader("b19/#")
    link = service.link()
    link.send(refused, publish("b19/live", b"1"), publish("b19/kept", b"1", retain=True), subscribe("b19/#"), PINGREQ)
    assert link.until_closed()[:1] in {b"", b"\x20"}
    watcher.silent()
    service.reader("b19/#").silent()  # nothing was retained either


def test_b19_what_is_sent_behind_a_good_connect_is_done(service):
    watcher = service.reader("b19/#")
    link = service.link()
    link.send(connect("pipelined"), publish("b19/live", b"1", 1, 5), PINGREQ)
    link.expect(ACCEPTED, puback(5), PINGRESP)
    watcher.expect(publish("b19/live", b"1"))


SLY = ["#", "+", "a/b", "$SYS", "%c", "%u", "../../etc/passwd", "a b", "\t", "\u2028", "ID\nINJECTED line", "\x1b[2Jx"]


@pytest.mark.parametrize("client_id", SLY)
def test_b20_a_sly_id_is_only_a_name(service, client_id):
    link = service.link()
    link.send(connect(client_id, username=client_id))
    if link.packet() != ACCEPTED:
        return
    link.silent()
    link.send(b"\xf0\x00")  # it is named in the log now
    link.until_closed()
    for line in service.last_words().splitlines():
        assert not line.startswith("INJECTED")
        assert "\x1b" not in line


@pytest.mark.parametrize("client_id", ["a\x00b", b"\xc0\x80", b"\xff", b"\xed\xa0\x80"])
def test_b20_an_id_that_is_no_text_closes(service, client_id):
    link = service.link()
    link.send(connect(client_id))
    assert link.until_closed() == b""


def test_b20_a_refused_link_leaves_no_session(service):
    first = service.client("b20-kept", clean=False)
    first.send(DISCONNECT)
    assert first.until_closed() == b""
    link = service.link()
    link.send(connect("b20-kept", clean=False, flags=0x01))
    assert link.until_closed() == b""
    service.client("b20-kept", clean=False, answer=ACCEPTED_AND_KNOWN).silent()
    service.client("b20-kept").silent()


def test_connect_with_everything_in_it(service):
    will = ("b/will", "gone", 2, True)
    client = service.client("everything", keep_alive=60, will=will, username="user", password=b"\x00\xff secret")
    client.silent()
    client.send(DISCONNECT)


def test_an_empty_packet_of_each_type_closes(service):
    for kind in range(1, 12):
        flags = 2 if kind in {6, 8, 10} else 0
        client = service.client()
        client.send(frame(kind << 4 | flags))
        assert client.until_closed() == b"", f"type {kind}"
