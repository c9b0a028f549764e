"""Group H, and 20 of B: who guesses, who may not, and files of accounts that are none."""

import asyncio
import contextlib
import itertools
import json
import socket

import pytest
import raw5
from accounts import CONFIG as ACCOUNTS
from accounts import USERS, password, write_accounts
from keeper import said
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
from sockets import until

from appliance.accounts import load_accounts
from appliance.auth.hashes import cost
from appliance.auth.managed import Account, serialize
from appliance.auth.passwords import hashed
from appliance.auth.turns import FREE, WAITING
from appliance.control import ControlClient
from appliance.devices import Device, Measurement, encode_about
from appliance.exits import Exit
from appliance.mqtt.types import ReasonCode
from appliance.settings import Accounts

WRONG_PASSWORD, NOT_AUTHORIZED, UNAVAILABLE = (b"\x20\x02\x00" + bytes([code]) for code in (4, 5, 3))
GUESSES = 1_000
FRESH = map("127.0.1.{}".format, itertools.count(1))
CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
DEAR = CHEAP.replace("m=8,t=1", "m=16,t=2")
DIGEST = "zZWcVuuYwhw2SxxOrCPvO2fxZbt8uBNXaW4z3nCH+S2h+TevJZUDanN9RdixjZgBDOOj94UxXZs4oQoM3Cwh4A=="
OLDER, OLD = f"$6$QNd2oT5s9lkVXFP7${DIGEST}", f"$7$101$QNd2oT5s9lkVXFP7${DIGEST}"
COSTS = sorted(cost(encoded) for encoded in (CHEAP, DEAR, OLD, OLDER))


def all_three(directory):
    """Write files whose hashes cost as much as those of four programs."""
    (directory / "passwords").write_text(f"ann:{CHEAP}\nold:{OLD}\nolder:{OLDER}\n")
    (directory / "rules.toml").write_text('[[rule]]\nuser = "ann"\nrole = "reader"\n')
    (directory / "accounts.json").write_text(serialize({"pi": Account(password=DEAR, role="device")}))
    names = {"password_file": "passwords", "rules_file": "rules.toml", "managed_file": "accounts.json"}
    return Accounts(**{key: str(directory / name) for key, name in names.items()})


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


def test_h59_ten_thousand_wrong_passwords_are_as_much_work_as_a_handful(tmp_path):
    checks = []

    async def scenario():
        passwords = load_accounts(all_three(tmp_path), "home").passwords
        passwords._check = lambda encoded, _: checks.append(cost(encoded)) is not None
        now = passwords._clock()
        passwords._clock = lambda: now  # nobody waits long enough for one more, however slow the machine is
        guesses = [
            asyncio.ensure_future(passwords.authenticate("", ("ann", "pi", "nobody")[n % 3], b"%d" % n, "10.0.0.66:1"))
            for n in range(10_000)
        ]
        await until(lambda: len(checks) == FREE * len(COSTS))
        for _ in range(200):
            await asyncio.sleep(0)
        for guess in guesses:
            guess.cancel()
        answers = await asyncio.gather(*guesses, return_exceptions=True)
        await passwords.close()
        return [answer for answer in answers if isinstance(answer, ReasonCode)]

    answers = asyncio.run(scenario())
    assert len(checks) == FREE * len(COSTS)
    assert answers.count(ReasonCode.BAD_USER_NAME_OR_PASSWORD) == FREE
    assert answers.count(ReasonCode.SERVER_BUSY) == 10_000 - WAITING


@pytest.mark.parametrize("name", ["ann", "old", "older", "pi", "nobody"])
def test_h60_the_same_work_for_every_name_among_hashes_of_other_cost(tmp_path, name):
    checks = []

    async def scenario():
        passwords = load_accounts(all_three(tmp_path), "home").passwords
        passwords._check = lambda encoded, _: checks.append(cost(encoded)) is not None
        answer = await passwords.authenticate("", name, b"guess", "10.0.0.66:1")
        await passwords.close()
        return answer

    assert asyncio.run(scenario()) is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert checks == COSTS


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
    ("rules.toml", b"", "there is no rule in it"),  # CVE-2018-12550: nobody may do everything for that
    ("rules.toml", b"\0" * 4_096, "not TOML"),  # as a file system leaves it after a power cut
    ("accounts.json", b"", "it is empty"),
    ("accounts.json", b'{"accounts": {"pi": {"pass', "not JSON"),
    ("accounts.json", b"\0" * 4_096, "not JSON"),
    ("accounts.json", b"\xff\xfe{", "not UTF-8"),
    ("accounts.json", b'{"accounts": {"pi": {"password": "secret", "role": "admin"}}}', "not an argon2id hash"),
    ("appliance.toml", b"", "it is empty"),
    ("appliance.toml", b"\0" * 4_096, "not TOML"),
    ("appliance.toml", b'[accounts]\npassword_file = "pass', "not TOML"),
    ("appliance.toml", None, "there is no such file"),
]
FOLDER = object()
BROKEN += [
    (name, FOLDER, "this is a directory") for name in ("passwords", "rules.toml", "accounts.json", "appliance.toml")
]


STARTS = [broken for broken in BROKEN if broken[1] == b""]  # a service and `check` read the files the same way


@pytest.mark.parametrize(
    ("command", "name", "content", "complaint"),
    [("check", *broken) for broken in BROKEN] + [("run", *broken) for broken in STARTS],
)
def test_h61_broken_files_let_nobody_in(tmp_path, command, name, content, complaint):
    write_accounts(tmp_path, users=USERS if name != "passwords" else ())
    (tmp_path / "accounts.json").write_text(serialize({}))
    config = tmp_path / "appliance.toml"
    config.write_text(CONFIG + "[mqtt]\nport = 0\n" + ACCOUNTS + 'managed_file = "accounts.json"\n')
    path = tmp_path / name
    path.unlink()
    if content is FOLDER:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
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


def test_f49_a_will_where_its_user_may_not_publish(service):
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


# --- roles ---

LISTED = ("home/hall/lamp",)
PEOPLE = {"boss": "admin", "tablet": "reader", "hass": "integration", "hall-pi": "device", "attic-pi": "device"}


@pytest.fixture(scope="module")
def staffed(tmp_path_factory):
    """A service whose accounts have roles, and whose written users may publish under their client id."""
    scratch = tmp_path_factory.mktemp("staffed")
    write_accounts(
        scratch,
        rules='[[rule]]\neverybody = true\npublish = ["%u/%c/#"]\nsubscribe = ["%u/%c/#"]\n',
        users=["ann", "esp-kitchen"],
    )
    accounts = {
        name: Account(password=hashed(password(name).encode()), role=role, publish=LISTED if name == "hall-pi" else ())
        for name, role in PEOPLE.items()
    }
    (scratch / "accounts.json").write_text(serialize(accounts))
    config = CONFIG + ACCOUNTS.replace("[accounts]", '[accounts]\nmanaged_file = "accounts.json"')
    service = Service(scratch, config.replace("[accounts]", "[mqtt]\nsys_interval_s = 1\n[accounts]", 1))
    yield service
    service.stop()


@pytest.fixture
def home(staffed):
    try:
        yield staffed
        staffed.check()
        assert "Traceback" not in staffed.last_words()
    finally:
        staffed.close_links()


OWN = "home/devices/{}/about"
MAY = [  # who, topics that it may publish to, of TOPICS
    ("boss", {"home/hall/lamp", "home/hall/lamp/set", OWN.format("hall-pi"), OWN.format("attic-pi"), "x"}),
    ("tablet", set()),
    ("hass", {"home/hall/lamp/set", "homeassistant/status"}),
    ("hall-pi", {"home/hall/lamp", OWN.format("hall-pi")}),
    ("attic-pi", {OWN.format("attic-pi")}),
]
TOPICS = ("home/hall/lamp", "home/hall/lamp/set", OWN.format("hall-pi"), OWN.format("attic-pi"), "x")


@pytest.mark.parametrize(("who", "allowed"), MAY)
def test_h64_each_role_publishes_its_own_and_nothing_else(home, who, allowed):
    reader, link = login(home, "boss"), login(home, who)
    reader.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    topics = [*TOPICS, "homeassistant/status"] if who == "hass" else TOPICS
    for topic in topics:
        link.send(publish(topic, who.encode()))
    link.ask(PINGREQ, PINGRESP)
    for topic in topics:
        if topic in allowed:
            assert reader.packet() == publish(topic, who.encode())
    reader.silent()


def test_h64_what_a_device_says_of_itself_grants_nothing(home):
    reader, link = login(home, "boss"), login(home, "attic-pi")
    reader.ask(subscribe("home/hall/#"), b"\x90\x03\x00\x01\x00")
    about = Device(agent="attic-pi", site="home", sensors=(Measurement(kind="lamp", topic="home/hall/lamp"),))
    link.send(publish(OWN.format("attic-pi"), encode_about(about), 1, 1, retain=True))
    assert link.packet() == puback(1)
    link.send(publish("home/hall/lamp", b"forged", 1, 2), subscribe("home/hall/lamp", "home/hall/lamp/set"))
    assert link.packet() == puback(2)
    assert link.packet() == b"\x90\x04\x00\x01\x80\x80"
    reader.silent()
    link.ask(publish(OWN.format("attic-pi"), b"", 1, 3, retain=True), puback(3))


READS = [
    ("boss", set(TOPICS)),
    ("tablet", set(TOPICS)),
    ("hass", set(TOPICS)),
    ("hall-pi", {"home/hall/lamp", "home/hall/lamp/set", OWN.format("hall-pi")}),
    ("attic-pi", {OWN.format("attic-pi")}),
]


@pytest.mark.parametrize(("who", "allowed"), READS)
def test_h63_of_everything_each_role_gets_what_it_may_read(home, who, allowed):
    writer, link = login(home, "boss"), login(home, who)
    link.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    for topic in TOPICS:
        writer.send(publish(topic, b"1"))
    writer.ask(PINGREQ, PINGRESP)
    for topic in TOPICS:
        if topic in allowed:
            assert link.packet() == publish(topic, b"1")
    link.silent()


@pytest.mark.parametrize("who", PEOPLE)
def test_h63_the_servers_own_figures_are_for_admins(home, who):
    link = login(home, who)
    link.send(subscribe("$SYS/#"))
    if who != "boss":
        assert link.packet() == b"\x90\x03\x00\x01\x80"
        return
    assert link.packet() == b"\x90\x03\x00\x01\x00"
    assert b"$SYS/broker/" in link.packet()


def test_45_a_client_id_gives_no_rights_to_another_user(home):
    """%c is what a client calls itself; under %u nobody else gets there, and a session's id is its user's alone."""
    owner = login(home, "ann", client_id="gate")
    owner.ask(subscribe("#", qos=1), b"\x90\x03\x00\x01\x01")
    thief = home.link()
    thief.send(connect("gate", username="esp-kitchen", password=password("esp-kitchen")))
    assert thief.until_closed() == b"\x20\x02\x00\x02"
    other = login(home, "esp-kitchen", client_id="other")
    for topic in ("ann/gate/x", "esp-kitchen/gate/x"):
        other.send(publish(topic, b"forged"))
    other.ask(PINGREQ, PINGRESP)
    odd = login(home, "ann", client_id="+")
    odd.send(publish("ann/gate/x", b"forged"), publish("ann/+/x".replace("+", "any"), b"forged"))
    odd.ask(PINGREQ, PINGRESP)
    owner.silent()
    owner.send(publish("ann/gate/x", b"own"))
    assert owner.packet() == publish("ann/gate/x", b"own")


def test_h62_an_account_that_a_command_makes_and_ends_counts_at_once(home, tmp_path):
    config = home.scratch / "appliance.toml"

    def devices(*arguments, stdin=None):
        return appliance(
            tmp_path, "devices", "--config", config, "--data", home.scratch / "data", *arguments, stdin=stdin
        )

    wanted = '{"role": "device", "publish": ["home/yard/gate"], "secret": "s3cret"}'
    made = devices("add", "yard-pi", "--from", "-", "--json", stdin=wanted)
    assert (made.returncode, json.loads(made.stdout)) == (0, {"name": "yard-pi", "changed": True, "running": True})
    link = home.client("yard", username="yard-pi", password="s3cret")
    reader = login(home, "boss")
    reader.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    link.send(publish("home/yard/gate", b"ON"), publish("home/hall/lamp", b"ON"))
    assert reader.packet() == publish("home/yard/gate", b"ON")
    again = devices("add", "yard-pi", "--from", "-", "--json", stdin=wanted)
    assert (again.returncode, json.loads(again.stdout)["changed"]) == (0, False)
    assert devices("remove", "yard-pi").returncode == 0
    assert link.until_closed() == b""
    refused = home.link()
    refused.send(connect("yard", username="yard-pi", password="s3cret"))
    assert refused.until_closed() == WRONG_PASSWORD
    reader.silent()


def test_a_device_cannot_use_up_the_numbers_of_another_agent(tmp_path):
    # What it says of itself is its own; what it says another agent has measured would cost that one its readings.
    encoded = hashed(b"secret")
    accounts = {
        name: Account(password=encoded, role="device", agent=name, publish=(f"home/{name}/x",))
        for name in ("attic", "hall")
    }
    (tmp_path / "accounts.json").write_text(serialize(accounts))
    named = '[accounts]\nmanaged_file = "accounts.json"\n'
    service = Service(tmp_path, CONFIG.replace("enabled = false", "enabled = true") + named)
    try:
        for name, value in (("attic", b"1"), ("hall", b"2")):
            link = service.link()
            link.send(raw5.connect(name, username=name, password="secret"))
            assert raw5.reason_of(link.packet()) == 0
            link.send(raw5.publish(f"home/{name}/x", value, 1, properties=said(agent="hall", run="r", seq="7")))
            assert link.packet()[:4] == b"\x40\x03\x00\x01"
        control = ControlClient(tmp_path / "data" / "control.sock")
        history = control.get("/api/status")["history"]
        assert (history["rows"], history["duplicates"], history["of_another_agent"]) == (2, 0, 1)
        service.check()
    finally:
        service.close_links()
        service.stop()
