"""Groups E and F: one id on two links, and what a client leaves to be said after it."""

import pytest
from accounts import password
from raw import (
    ACCEPTED,
    ACCEPTED_AND_KNOWN,
    DISCONNECT,
    connect,
    frame,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
)

# --- E. session takeover ---


def test_e43_the_old_link_is_closed(service):  # [MQTT-3.1.4-2]
    old = service.client("e43")
    new = service.client("e43")
    assert old.until_closed() == b""
    new.silent()


def test_e43_a_thousand_alternations_lose_and_repeat_nothing(service):
    subscriber = service.reader("e43", qos=1, client_id="e43-flap", clean=False)
    sender = service.client()
    seen, count = [], 1_000
    for number in range(1, count + 1):
        sender.ask(publish("e43", b"%04d" % number, 1, number), puback(number))
        subscriber.close()
        subscriber = service.client("e43-flap", clean=False, answer=ACCEPTED_AND_KNOWN)
        packet = subscriber.packet()
        seen.append(packet[-4:])
        subscriber.send(puback(int.from_bytes(packet[7 : 7 + 2], "big") if packet[1] == 11 else 0))
    subscriber.silent()
    assert seen == [b"%04d" % number for number in range(1, count + 1)]
    service.client("e43-flap").silent()


def test_e43_two_links_that_fight_over_an_id(service):
    fighters = [service.client("e43-fight", clean=False)]
    fighters += [service.client("e43-fight", clean=False, answer=ACCEPTED_AND_KNOWN) for _ in range(300)]
    for loser in fighters[:-1]:
        assert loser.until_closed() == b""
    fighters[-1].silent()
    service.client("e43-fight").silent()


def test_e44_a_takeover_amid_qos_2_moves_the_state_once(service):
    watcher = service.reader("e44")
    old = service.client("e44", clean=False)
    old.ask(publish("e44", b"once", 2, 5), pubrec(5))
    new = service.client("e44", clean=False, answer=ACCEPTED_AND_KNOWN)
    assert old.until_closed() == b""
    new.ask(publish("e44", b"once", 2, 5, dup=True), pubrec(5))
    new.ask(pubrel(5), pubcomp(5))
    watcher.expect(publish("e44", b"once"))
    watcher.silent()
    service.client("e44").silent()


def test_e44_a_takeover_amid_a_delivery_of_qos_2(service):
    reader = service.reader("e44", qos=2, client_id="e44-reader", clean=False)
    sender = service.client()
    sender.ask(publish("e44", b"x", 2, 1), pubrec(1))
    reader.expect(publish("e44", b"x", 2, 1))
    reader.send(pubrec(1))
    reader.expect(pubrel(1))
    again = service.client("e44-reader", clean=False, answer=ACCEPTED_AND_KNOWN)
    again.expect(pubrel(1))  # and not the message
    again.send(pubcomp(1))
    again.silent()
    service.client("e44-reader").silent()


@pytest.mark.parametrize("other", ["mallory", None])
def test_e45_another_user_cannot_take_an_id_over(service_for, other):
    service = service_for("alice", "mallory")
    alice, secret = ({"username": user, "password": user and password(user)} for user in ("alice", other))
    link = service.reader("e45", qos=1, client_id="e45", clean=False, **alice)
    for clean in (True, False):
        mallory = service.link()
        mallory.send(connect("e45", clean=clean, **secret))
        assert mallory.until_closed()[:2] == b"\x20\x02"
    link.silent()
    link.send(DISCONNECT)
    link.until_closed()
    mallory = service.link()
    mallory.send(connect("e45", clean=False, **secret))
    answer = mallory.until_closed()
    assert answer[:3] == b"\x20\x02\x00"  # [MQTT-3.2.2-4]
    assert answer[3] != 0
    service.client("e45", clean=True, **alice).silent()


def test_e45_without_accounts_no_name_is_believed(service):
    old = service.client("e45", clean=False, username="alice")
    for other in ("mallory", None, "alice"):
        new = service.client("e45", clean=False, username=other, answer=ACCEPTED_AND_KNOWN)
        assert old.until_closed() == b""
        old = new
    service.client("e45").silent()


def test_e46_clean_and_kept_sessions_are_told_apart(service):  # [MQTT-3.1.2-6], [MQTT-3.2.2-1], [MQTT-3.2.2-2]
    sender = service.client()
    first = service.reader("e46", qos=1, client_id="e46", clean=False)
    first.send(DISCONNECT)
    first.until_closed()
    sender.ask(publish("e46", b"kept", 1, 1), puback(1))
    second = service.client("e46", clean=False, answer=ACCEPTED_AND_KNOWN)
    second.expect(publish("e46", b"kept", 1, 1))
    third = service.client("e46", clean=True, answer=ACCEPTED)  # takes over, and throws everything away
    sender.ask(publish("e46", b"lost", 1, 2), puback(2))
    third.silent()
    third.send(DISCONNECT)
    third.until_closed()
    service.client("e46", clean=False, answer=ACCEPTED).silent()
    service.client("e46").silent()


def test_e47_retained_messages_survive_the_session(service):  # §3.1.2.4
    client = service.client("e47")
    client.send(publish("e47", b"stays", retain=True), DISCONNECT)
    client.until_closed()
    later = service.client()
    later.send(subscribe("e47"))
    later.expect(b"\x90\x03\x00\x01\x00", publish("e47", b"stays", retain=True))
    later.send(publish("e47", b"", retain=True))
    later.expect(publish("e47", b""))


# --- F. the will ---

WILL = ("f48/will", b"gone", 1, False)
ENDS = {
    "reset": lambda client: client.reset(),
    "closed without a word": lambda client: client.close(),
    "protocol error": lambda client: client.send(b"\xf0\x00"),
    "malformed packet": lambda client: client.send(frame(0x30, b"\x00")),
    "a second CONNECT": lambda client: client.send(connect("f48")),
    "half a packet": lambda client: (client.send(publish("f48/half", bytes(100))[:20]), client.close()),
    "too large": lambda client: client.send(b"\x30\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_f48_the_will_is_told(service, end):  # [MQTT-3.1.2-8]
    watcher = service.reader("f48/#", qos=1)
    end(service.client("f48", will=WILL))
    watcher.expect(publish("f48/will", b"gone", 1, 1))
    watcher.silent()


def test_f48_silence_past_the_keep_alive_tells_the_will(service):  # [MQTT-3.1.2-24]
    watcher = service.reader("f48/#", qos=1)
    client = service.client("f48-silent", keep_alive=1, will=WILL)
    watcher.expect(publish("f48/will", b"gone", 1, 1))
    assert client.until_closed() == b""


def test_f48_a_takeover_tells_the_will_once(service):
    watcher = service.reader("f48/#", qos=1)
    old = service.client("f48-taken", will=WILL)
    service.client("f48-taken")
    assert old.until_closed() == b""
    watcher.expect(publish("f48/will", b"gone", 1, 1))
    watcher.silent()


def test_f48_a_goodbye_drops_the_will(service):  # [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    watcher = service.reader("f48/#")
    client = service.client("f48", will=WILL)
    client.send(DISCONNECT)
    assert client.until_closed() == b""
    watcher.silent()


def test_f48_what_follows_a_goodbye_is_not_done(service):  # [MQTT-3.14.4-1]
    watcher = service.reader("f48/#")
    client = service.client("f48", will=WILL)
    client.send(DISCONNECT, publish("f48/late", b"x"), b"\xf0\x00")
    client.until_closed()
    watcher.silent()


@pytest.mark.parametrize("topic", ["$SYS/broker/version", "$x", "$share/a/b"])
def test_f49_a_will_to_the_servers_own_topics_is_refused(service, topic):
    watcher = service.reader(topic if not topic.startswith("$share") else "b", "#")
    if topic == "$SYS/broker/version":
        assert b"home-sensor-appliance version" in watcher.packet()  # and nothing else
    link = service.link()
    link.send(connect("f49", will=(topic, b"gone", 0, True)))
    answer = link.until_closed()
    assert answer == b"" or (answer[:3] == b"\x20\x02\x00" and answer[3] != 0)
    watcher.silent()


def test_f51_a_thousand_clients_that_die_at_once(service_with):
    service = service_with("max_connections_per_address = 1000\n")
    watcher = service.reader("f51/#", qos=0)
    clients = [service.client(f"f51-{n}", will=(f"f51/{n:03}", b"gone", 0, False)) for n in range(900)]
    for client in clients:
        client.reset()
    told = {watcher.packet() for _ in clients}
    assert told == {publish(f"f51/{n:03}", b"gone") for n in range(900)}
    watcher.silent()


def test_f52_a_retained_will_takes_the_place_of_the_last_value(service):  # [MQTT-3.1.2-17]
    client = service.client("f52", will=("f52", b"offline", 1, True))
    client.send(publish("f52", b"online", retain=True))
    client.silent()
    watcher = service.client()
    watcher.send(subscribe("f52", qos=1))
    watcher.expect(b"\x90\x03\x00\x01\x01", publish("f52", b"online", retain=True))
    client.reset()
    watcher.expect(publish("f52", b"offline", 1, 1))
    late = service.client()
    late.send(subscribe("f52", qos=1))
    late.expect(b"\x90\x03\x00\x01\x01", publish("f52", b"offline", 1, 1, retain=True))
    late.send(publish("f52", b"", retain=True))
    late.expect(publish("f52", b""))


def test_f52_an_empty_retained_will_clears_the_topic(service):
    client = service.client("f52-clear", will=("f52/clear", b"", 0, True))
    client.send(publish("f52/clear", b"1", retain=True))
    client.silent()
    watcher = service.client()
    watcher.send(subscribe("f52/clear"))
    watcher.expect(b"\x90\x03\x00\x01\x00", publish("f52/clear", b"1", retain=True))
    client.reset()
    watcher.expect(publish("f52/clear", b""))
    service.reader("f52/clear").silent()
