"""Group H, and 20 of B: who guesses, who may not, and files of accounts that are none."""

import contextlib
import itertools
import socket

import pytest
from accounts import CONFIG as ACCOUNTS
from accounts import USERS, password, write_accounts
from processes import appliance
from raw import (
    ACCEPTED,
    PATIENCE_S,
    PINGREQ,
    PINGRESP,
    Raw,
    connect,
    frame,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
)
from raw import text as mqtt_text
from service import CONFIG, Service

from appliance.exits import Exit

WRONG_PASSWORD, NOT_AUTHORIZED, UNAVAILABLE = (b"\x20\x02\x00" + bytes([code]) for code in (4, 5, 3))
GUESSES = 1_000
FRESH = map("127.0.1.{}".format, itertools.count(1))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A service that lets nobody in without a password."""
    scratch = tmp_path_factory.mktemp("guarded")
    write_accounts(scratch)
    service = Service(scratch, CONFIG + ACCOUNTS)
    yield service
    service.stop()


@pytest.fixture
def service(guarded):
    """The same, which has no error of its own after the test."""
    try:
        yield guarded
        guarded.check()
        assert "Traceback" not in guarded.last_words()
    finally:
        guarded.close_links()


def login(service, user, client_id=""):
    return service.client(client_id, username=user, password=password(user))


def five(client_id, user, secret, will=None):
    """CONNECT of MQTT 5."""
    flags, payload = 0xC2, mqtt_text(client_id)
    if will is not None:
        flags |= 0x04
        payload += b"\0" + mqtt_text(will) + mqtt_text("gone")
    body = mqtt_text("MQTT") + bytes([5, flags]) + b"\0\0" + b"\0" + payload
    return frame(0x10, body + mqtt_text(user) + mqtt_text(secret))


class From(Raw):
    """A socket from another address of this computer, so that guesses cost no other test its time."""

    def __init__(self, service, address):
        self.socket = socket.create_connection(
            ("127.0.0.1", service.port), timeout=PATIENCE_S, source_address=(address, 0)
        )
        self._data = b""
        service.links.append(self)


@pytest.mark.parametrize("user", USERS)
def test_h_the_right_password(service, user):
    login(service, user).ask(PINGREQ, PINGRESP)


REFUSED = [
    ({}, NOT_AUTHORIZED),
    ({"username": "ann"}, WRONG_PASSWORD),
    ({"username": "ann", "password": ""}, WRONG_PASSWORD),
    ({"username": "ann", "password": "wrong"}, WRONG_PASSWORD),
    ({"username": "ann", "password": password("+")}, WRONG_PASSWORD),
    ({"username": "", "password": password("ann")}, WRONG_PASSWORD),
    ({"username": "ANN", "password": password("ann")}, WRONG_PASSWORD),
    ({"username": "home/+", "password": password("ann")}, WRONG_PASSWORD),
]


@pytest.mark.parametrize(("fields", "answer"), REFUSED)
def test_h_who_is_turned_away_is_told_why_and_nothing_else_is_read(service, fields, answer):  # [MQTT-3.1.4-5]
    reader = login(service, "ann")
    reader.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    link = From(service, next(FRESH))
    link.send(connect("eve", **fields), publish("home/x", b"sneaked in"))
    assert link.until_closed() == answer
    reader.silent()


def test_h60_an_unknown_user_and_a_wrong_password_get_the_same_answer(service):
    for hello in (lambda user: connect("eve", username=user, password="guess"), lambda u: five("eve", u, "guess")):
        answers = []
        for user in ("ann", "nobody"):
            link = From(service, next(FRESH))
            link.send(hello(user))
            answers.append(link.until_closed())
        assert answers[0] == answers[1] != b""
    assert b"\x00\x86" in answers[0]


def test_h59_a_thousand_guesses_leave_the_others_alone(service):
    reader, publisher = login(service, "ann"), login(service, "ann")
    reader.ask(subscribe("home/#", qos=1), b"\x90\x03\x00\x01\x01")
    guessers, answers = [], []
    for number in range(GUESSES):
        guesser = From(service, "127.0.0.66")
        guessers.append(guesser)
        guesser.send(connect(f"guess {number}", username="ann", password=f"guess {number}"))
        if len(guessers) >= 100:
            for left in guessers[:50]:
                left.socket.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    answers.append(left.packet())
                left.close()
            del guessers[:50]
        if number % 10 == 0:
            packet_id = number // 10 + 1
            publisher.send(publish("home/x", b"%d" % number, 1, packet_id))
            assert publisher.packet() == puback(packet_id)
            assert reader.packet() == publish("home/x", b"%d" % number, 1, packet_id)
            reader.send(puback(packet_id))
        if number % 100 == 99:  # who is known, and who was not yet: both are let in
            login(service, "ann").ask(PINGREQ, PINGRESP)
            login(service, USERS[number // 100 % len(USERS)]).ask(PINGREQ, PINGRESP)
    for guesser in guessers:
        guesser.close()
    assert ACCEPTED not in answers
    assert set(answers) <= {WRONG_PASSWORD, UNAVAILABLE, None}
    assert answers.count(UNAVAILABLE) > answers.count(WRONG_PASSWORD)  # most guesses were never looked at


BROKEN = [
    ("passwords", b"", "there is no user in it"),
    ("passwords", b"ann:$argon2id$v=19$m=194", "passwords:1: not a hash such as"),
    ("passwords", b"\0\xff" * 50, "not UTF-8"),
    ("passwords", None, "there is no such file"),
    ("rules.toml", b"[[rule]]\nuser = ", "rules.toml:2: not TOML"),
    (
        "rules.toml",
        b'[[rule]]\nuser = "bob"\n',
        "rules.toml:2: rule[1].user: there is no such user in the password file",
    ),
    ("rules.toml", None, "there is no such file"),
]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(("name", "content", "complaint"), BROKEN)
def test_h61_broken_files_let_nobody_in(tmp_path, command, name, content, complaint):
    write_accounts(tmp_path, users=USERS if name != "passwords" else ())
    path = tmp_path / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    config = tmp_path / "appliance.toml"
    config.write_text(CONFIG + "[mqtt]\nport = 0\n" + ACCOUNTS)
    arguments = ("run", "--data", tmp_path / "data", "--config") if command == "run" else ("check",)
    ended = appliance(tmp_path, *arguments, config)
    assert ended.returncode == Exit.CONFIG
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert complaint in ended.stderr
    assert str(path) in ended.stderr
    assert "argon2id$" not in ended.stderr


def test_h63_of_everything_a_restricted_user_gets_what_it_may_read(service):
    ann = login(service, "ann")
    for topic in ("home/kitchen/relay/set", "home/attic/relay/set"):
        ann.send(publish(topic, b"kept", retain=True))
    ann.ask(PINGREQ, PINGRESP)
    esp = login(service, "esp-kitchen")
    esp.send(subscribe("#", "home/attic/#", "$SYS/#", "home/kitchen/relay/set"))
    assert esp.packet() == b"\x90\x06\x00\x01\x00\x80\x80\x00"  # [MQTT-3.9.3-2]
    for _ in range(2):  # each of its two subscriptions brings the retained one
        assert esp.packet() == publish("home/kitchen/relay/set", b"kept", retain=True)
    for topic in ("home/attic/relay/set", "home/kitchen/temperature", "home/kitchen/relay/set"):
        ann.send(publish(topic, b"live"))
    assert esp.packet() == publish("home/kitchen/relay/set", b"live")
    esp.silent()
    ann.send(*(publish(topic, b"", retain=True) for topic in ("home/kitchen/relay/set", "home/attic/relay/set")))


def test_h64_a_denied_message_is_answered_and_goes_nowhere(service):  # [MQTT-3.3.5-2]
    reader, esp = login(service, "ann"), login(service, "esp-kitchen")
    reader.ask(subscribe("home/#"), b"\x90\x03\x00\x01\x00")
    denied = [publish("home/attic/x", b"0"), publish("home/attic/x", b"1", 1, 1), publish("home/attic/x", b"2", 2, 2)]
    for _ in range(2):
        esp.send(*denied)
        assert esp.packets(2) == [puback(1), pubrec(2)]
        esp.ask(pubrel(2), pubcomp(2))
    esp.send(publish("home/attic/x", b"kept", retain=True), publish("home/kitchen/x", b"allowed"))
    assert reader.packet() == publish("home/kitchen/x", b"allowed")
    reader.silent()
    login(service, "ann").ask(subscribe("home/attic/#"), b"\x90\x03\x00\x01\x00")
    service.links[-1].silent()  # nothing was retained


def test_h49_a_will_where_its_user_may_not_publish(service):
    link = service.link()
    link.send(
        connect("esp", username="esp-kitchen", password=password("esp-kitchen"), will=("home/attic/x", b"gone", 0, 0))
    )
    assert link.until_closed() == NOT_AUTHORIZED
    link = service.link()
    link.send(five("esp", "esp-kitchen", password("esp-kitchen"), will="home/attic/x"))
    assert link.until_closed()[2:4] == b"\x00\x87"


def test_b20_a_user_name_is_no_pattern(service):
    reader = login(service, "ann")
    reader.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    for user in ("home/#", "+"):
        link = login(service, user, client_id=f"home/kitchen/{user}")
        for topic in ("home/kitchen/x", "own/hash", "own/plus", "x"):
            link.send(publish(topic, user.encode()))
        link.ask(PINGREQ, PINGRESP)
    assert reader.packet() == publish("own/hash", b"home/#")
    assert reader.packet() == publish("own/plus", b"+")
    reader.silent()


def test_45_a_session_is_taken_over_by_its_own_user_alone(service):
    owner = login(service, "ann", client_id="wanted")
    link = service.link()
    link.send(connect("wanted", username="esp-kitchen", password=password("esp-kitchen")))
    assert link.until_closed() == b"\x20\x02\x00\x02"
    owner.ask(PINGREQ, PINGRESP)
    login(service, "ann", client_id="wanted").ask(PINGREQ, PINGRESP)
    assert owner.until_closed() == b""
