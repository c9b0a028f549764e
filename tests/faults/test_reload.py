"""61, 62 and 88: files gone bad and rights that change while the service runs. Everybody else stays connected."""

import base64
import contextlib
import os
import resource
import signal
import ssl
import time

import pytest
import raw5
from accounts import CONFIG as ACCOUNTS
from accounts import RULES, password, write_accounts
from authority import Authority
from msgspec.structs import replace
from processes import eventually, free_port
from raw import ACCEPTED, PINGREQ, PINGRESP, Raw, connect, puback, pubcomp, publish, pubrec, pubrel, subscribe
from service import CONFIG, Service
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as websocket

from appliance.auth.managed import Account, serialize
from appliance.control import ControlClient, ControlRefused
from appliance.devices import Device, Measurement, encode_about

REFUSED, WRONG_PASSWORD = b"\x20\x02\x00\x05", b"\x20\x02\x00\x04"
NOT_AUTHORIZED = 0x87
FEED_S = 60  # for a page's feed, of TLS and a slow hash, on a busy machine; nothing waits so long when all is well
LISTENERS = """
[mdns]
enabled = false

[[listener]]
port = {mqtt}
certificate = "server.pem"
key = "server.key"

[[listener]]
serve = "web"
address = "0.0.0.0"
port = {web}
certificate = "server.pem"
key = "server.key"
"""


class House:
    """A service with accounts and TLS, whose files a test changes."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.authority = Authority(scratch / "authority")
        self.mqtt, self.web = free_port(), free_port()
        write_accounts(scratch)
        hash_ = (scratch / "passwords").read_text().partition(":")[2].partition("\n")[0]  # of ann's password
        self.devices = {
            "attic": Account(password=hash_, role="device", publish=("home/attic/x",)),
            "tablet": Account(password=hash_, role="reader"),
        }
        self.put("accounts.json", serialize(self.devices))
        self.show("server")
        self.start()

    def start(self):
        accounts = ACCOUNTS + 'managed_file = "accounts.json"\n'
        self.service = Service(self.scratch, CONFIG + accounts + LISTENERS.format(mqtt=self.mqtt, web=self.web))

    def put(self, name, content):
        """Put a file in place as an administrator's tool does."""
        path = self.scratch / name
        beside = path.with_name(f"{name}.new")
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
        beside.replace(path)

    def show(self, name):
        """Put another certificate in place."""
        certificate, key = (self.authority.folder / f"{name}.{kind}" for kind in ("pem", "key"))
        self.put("server.pem", certificate.read_bytes())
        self.put("server.key", key.read_bytes())

    def control(self):
        return ControlClient(self.scratch / "data" / "control.sock")

    def reload(self):
        return self.control().post("/api/reload", {})

    def problems(self):
        return self.control().get("/api/status")["reload"]["problems"]

    def log(self):
        return self.service.log.read_text()

    def login(self, user, client_id="", **fields):
        return self.service.client(client_id, username=user, password=password(user), **fields)

    def answer(self, user, secret):
        link = self.service.link()
        link.send(connect(username=user, password=secret))
        return link.packet()

    def shown(self, port):
        """Give the serial number of the certificate that a new client is shown."""
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        with contextlib.closing(Raw(port)) as link:
            link.socket = context.wrap_socket(link.socket, server_hostname="127.0.0.1")
            return link.socket.getpeercert()["serialNumber"]

    def page(self):
        """Open a link to the page from beyond the loopback, as it were."""
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        return context.wrap_socket(Raw(self.web).socket, server_hostname="127.0.0.1")

    def watch(self, user, secret):
        """Open the page's live feed from beyond the loopback, as it were."""
        said = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return websocket(
            f"wss://127.0.0.1:{self.web}/api/live",
            ssl=ssl.create_default_context(cafile=str(self.authority.ca)),
            additional_headers={"Authorization": f"Basic {said}"},
            proxy=None,
            open_timeout=FEED_S,
        )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("reload"))
    yield house
    house.service.stop()


@pytest.fixture
def house(shared):
    """The house, with a bystander who must not notice anything; afterwards all is as it was."""
    files = {name: (shared.scratch / name).read_bytes() for name in ("passwords", "rules.toml", "accounts.json")}
    bystander = shared.login("ann", "bystander")
    bystander.ask(subscribe("bystander"), b"\x90\x03\x00\x01\x00")
    shared.service.links.remove(bystander)
    try:
        yield shared
        for name, content in files.items():
            shared.put(name, content)
        shared.show("server")
        assert shared.reload()["problems"] == []
        shared.login("ann").send(publish("bystander", b"still here"))
        bystander.expect(publish("bystander", b"still here"))
        shared.service.check()
        assert "Traceback" not in shared.log()
    finally:
        bystander.close()
        shared.service.close_links()


def without(house, *users):
    """The password file without these users."""
    lines = (house.scratch / "passwords").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.partition(":")[0] not in users)


def until_closed(feed):
    while True:
        feed.recv(timeout=FEED_S)


# --- files gone bad ---

BAD = [
    ("passwords", b""),
    ("passwords", b"ann:$argon2id$v=19$m=194"),
    ("passwords", b"\0\xff" * 50),
    ("passwords", None),
    ("rules.toml", b"[[rule]]\nuser = "),
    ("rules.toml", b'[[rule]]\nuser = "bob"\n'),
    ("rules.toml", None),
    ("accounts.json", b""),
    ("accounts.json", b'{"accounts": {"attic"'),
    ("accounts.json", None),
]


@pytest.mark.parametrize(("name", "content"), BAD)
def test_h61_a_bad_file_keeps_the_last_good_one_and_is_named(house, name, content):
    esp = house.login("esp-kitchen", "esp")
    if content is None:
        (house.scratch / name).unlink()
    else:
        house.put(name, content)
    (problem,) = house.reload()["problems"]
    assert str(house.scratch / name) in problem
    assert house.problems() == [problem]
    assert problem in house.log()
    assert "argon2id$" not in house.log()
    assert house.answer("ann", password("ann")) == ACCEPTED
    assert house.answer("attic", password("ann")) == ACCEPTED
    esp.ask(subscribe("home/attic/#", "home/kitchen/relay/set"), b"\x90\x04\x00\x01\x80\x00")
    house.login("esp-kitchen", "esp2").ask(subscribe("home/attic/#"), b"\x90\x03\x00\x01\x80")


def test_h61_nor_does_it_keep_a_good_one_from_acting(house):
    esp = house.login("esp-kitchen", "esp")
    house.put("passwords", without(house, "esp-kitchen"))  # the rules still name it, and so are bad
    told = house.reload()
    assert told["accounts"]["ousted"] == ["esp-kitchen"]
    assert "rules.toml" in told["problems"][0]
    assert esp.until_closed() == b""
    home = house.login("home/#")
    home.ask(subscribe("home/x"), b"\x90\x03\x00\x01\x80")  # the last good rules hold


def test_h61_without_free_descriptors_everything_stays_and_is_said(house):
    ann, esp = house.login("ann"), house.login("esp-kitchen", "esp")
    told = house.log().count("Too many open files")
    count = house.control().get("/api/status")["reload"]["count"]
    house.show("server")
    house.put("passwords", without(house, "esp-kitchen"))
    pid = house.service.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))  # those that are open stay
    try:
        os.kill(pid, signal.SIGHUP)
        # Of each certificate, of each of the three files of accounts, and of the configuration.
        eventually(lambda: house.log().count("Too many open files") >= told + 6)
        esp.ask(PINGREQ, PINGRESP)  # nothing was understood, so nothing was taken away
        ann.ask(PINGREQ, PINGRESP)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: house.control().get("/api/status")["reload"]["count"] == count + 1)
    assert len(house.problems()) == 6
    os.kill(pid, signal.SIGHUP)  # and now it can
    assert esp.until_closed() == b""


# --- rights that change ---


def shrink(house):
    """Leave esp-kitchen the relay alone, of all it could do in the kitchen."""
    rule = '[[rule]]\nuser = "esp-kitchen"\npublish = ["home/kitchen/relay"]\nsubscribe = ["home/kitchen/relay/set"]\n'
    house.put("rules.toml", rule + RULES[RULES.index('\n[[rule]]\nuser = "home') :])
    told = house.reload()
    assert told["accounts"]["changed"] == ["esp-kitchen"]
    assert told["problems"] == []


def test_h62_what_is_live_queued_retained_or_shared_stops(house):
    ann = house.login("ann", "ann")
    away = house.login("esp-kitchen", "away", clean=False)
    away.ask(subscribe("home/#", qos=1), b"\x90\x03\x00\x01\x01")
    away.close()
    ann.ask(publish("home/kitchen/lamp/set", b"kept", 1, 9, retain=True), puback(9))
    live = house.login("esp-kitchen", "live")
    live.ask(subscribe("home/kitchen/+/set"), b"\x90\x03\x00\x01\x00")
    live.expect(publish("home/kitchen/lamp/set", b"kept", retain=True))
    eventually(lambda: house.control().get("/api/status")["clients_now"] == 3)
    for number, topic in enumerate(("lamp", "relay")):
        ann.ask(publish(f"home/kitchen/{topic}/set", b"1", 1, number + 1), puback(number + 1))
        live.expect(publish(f"home/kitchen/{topic}/set", b"1"))
    shrink(house)
    for number, topic in enumerate(("lamp", "relay")):
        ann.ask(publish(f"home/kitchen/{topic}/set", b"2", 1, number + 1), puback(number + 1))
    live.expect(publish("home/kitchen/relay/set", b"2"))
    live.silent()
    live.ask(subscribe("home/kitchen/lamp/set"), b"\x90\x03\x00\x01\x80")
    live.silent()  # nor is it replayed
    back = house.service.link()
    back.send(connect("away", clean=False, username="esp-kitchen", password=password("esp-kitchen")))
    assert back.packet() == b"\x20\x02\x01\x00"
    assert [packet[4:26] for packet in back.packets(2)] == [b"home/kitchen/relay/set"] * 2
    back.silent()
    house.login("esp-kitchen", "away").silent()  # the session is gone
    ann.send(publish("home/kitchen/lamp/set", b"", 1, 3, retain=True))


def test_h62_what_a_publisher_began_or_left_stops(house):
    reader = house.login("ann")
    reader.ask(subscribe("home/kitchen/#", qos=0), b"\x90\x03\x00\x01\x00")
    will = ("home/kitchen/alarm", b"dead", 0, 0)
    esp = house.login("esp-kitchen", "esp", will=will)
    waiting = house.service.link()
    waiting.send(raw5.connect("waits", will=will, will_properties=raw5.will_delay(4), username="esp-kitchen",
                              properties=raw5.session_expiry(600), password=password("esp-kitchen")))  # fmt: skip
    assert raw5.reason_of(waiting.packet()) == 0
    esp.send(publish("home/kitchen/x", b"kept", retain=True), publish("home/kitchen/relay", b"begun", 2, 1))
    reader.expect(publish("home/kitchen/x", b"kept"), publish("home/kitchen/relay", b"begun"))
    esp.expect(pubrec(1))
    waiting.reset()  # so late that its will is not told before
    shrink(house)
    reader.expect(publish("home/kitchen/x"))  # cleared for who has seen it
    esp.send(publish("home/kitchen/y", b"new", 2, 2), pubrel(1), pubrel(2), publish("home/kitchen/relay", b"ON"))
    esp.expect(pubrec(2), pubcomp(1), pubcomp(2))
    reader.expect(publish("home/kitchen/relay", b"ON"))
    esp.reset()
    eventually(lambda: house.control().get("/api/status")["messages_dropped"].get("not allowed to publish", 0) >= 3)
    reader.silent()  # neither will was told
    late = house.login("ann")
    late.ask(subscribe("home/kitchen/#"), b"\x90\x03\x00\x01\x00")
    late.silent()


def test_h62_what_was_left_before_a_restart_stops_too(tmp_path):
    write_accounts(tmp_path)
    hash_ = (tmp_path / "passwords").read_text().partition(":")[2].partition("\n")[0]
    attic = Account(password=hash_, role="device", publish=("home/attic/x",))
    managed = tmp_path / "accounts.json"
    managed.write_text(serialize({"attic": attic}))
    config = CONFIG.replace("enabled = false", "enabled = true") + ACCOUNTS + 'managed_file = "accounts.json"\n'
    service = Service(tmp_path, config)
    try:
        device = service.client("passing", username="attic", password=password("ann"))
        ann = service.client("ann", username="ann", password=password("ann"))
        kitchen = Measurement(topic="home/kitchen/temperature", kind="pressure", unit="hPa", name="gone")
        about = Device(
            agent="attic", site="home", sensors=(kitchen, Measurement(topic="home/attic/x", kind="humidity"))
        )
        device.ask(publish("home/devices/attic/about", encode_about(about), 1, 1, retain=True), puback(1))
        device.ask(publish("home/attic/x", b"1", 1, 2, retain=True), puback(2))
        ann.ask(publish("home/kitchen/temperature", b"20.5", 1, 1, retain=True), puback(1))
    finally:
        service.close_links()
        service.stop()
    service = Service(tmp_path, config)
    try:
        control = ControlClient(tmp_path / "data" / "control.sock")
        series = {one["topic"]: (one["unit"], one["name"]) for one in control.get("/api/topics")}
        assert series == {"home/kitchen/temperature": (None, None), "home/attic/x": (None, None)}
        shown = {one["topic"]: one["agent"] for one in control.get("/api/rooms")["values"]}
        assert shown == {"home/kitchen/temperature": None, "home/attic/x": "attic"}
        reader = service.reader("home/#", username="ann", password=password("ann"))
        assert len(reader.packets(3)) == 3
        managed.write_text(serialize({}))
        assert control.post("/api/reload", {})["accounts"]["ousted"] == ["attic"]
        cleared = {packet[4:] for packet in reader.packets(2)}
        assert cleared == {b"home/devices/attic/about", b"home/attic/x"}
        reader.silent()
    finally:
        service.close_links()
        service.stop()


@pytest.mark.parametrize("how", ["removed", "another password"])
def test_h62_who_has_no_account_any_more_is_put_out(house, how):
    five = house.service.link()
    five.send(raw5.connect(f"five {how}", clean=False, properties=raw5.session_expiry(600), username="attic",
                           password=password("ann")))  # fmt: skip
    assert raw5.reason_of(five.packet()) == 0
    older = house.service.client(f"older {how}", username="attic", password=password("ann"), clean=False)
    attic = house.devices["attic"]
    others = {name: one for name, one in house.devices.items() if name != "attic"}
    changed = {"attic": replace(attic, password=attic.password.replace("19456", "19457"))}
    house.put("accounts.json", serialize(others if how == "removed" else others | changed))
    assert house.reload()["accounts"]["ousted"] == ["attic"]
    assert raw5.reason_of(five.packet()) == NOT_AUTHORIZED
    assert five.until_closed() == older.until_closed() == b""
    assert house.answer("attic", password("ann")) == WRONG_PASSWORD  # which was known a moment ago
    house.put("accounts.json", serialize(house.devices))
    house.reload()
    link = house.service.link()
    link.send(connect(f"older {how}", clean=False, username="attic", password=password("ann")))
    assert link.packet() == ACCEPTED  # nothing of its session was left


def test_h62_an_open_page_is_closed(house):
    with house.watch("ann", password("ann")) as ann, house.watch("tablet", password("ann")) as tablet:
        assert '"snapshot"' in ann.recv(timeout=FEED_S)
        tablet.recv(timeout=FEED_S)
        house.put("accounts.json", serialize({"attic": house.devices["attic"]}))
        assert house.reload()["accounts"]["ousted"] == ["tablet"]
        with pytest.raises(ConnectionClosed):
            until_closed(tablet)
        house.login("ann").send(publish("home/hall/temperature", b"20.5"))
        while "20.5" not in ann.recv(timeout=FEED_S):
            pass


def a_request(house, user, secret):
    """An open link to the page, and the head of a request for its live feed."""
    said = base64.b64encode(f"{user}:{secret}".encode())
    lines = (b"GET /api/live HTTP/1.1", b"Host: 127.0.0.1", b"Connection: Upgrade", b"Upgrade: websocket",
             b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)),
             b"Authorization: Basic " + said, b"", b"")  # fmt: skip
    return house.page(), b"\r\n".join(lines)


@pytest.mark.parametrize("frame", [b"\x81\x81\0\0\0\0\xff", b"\x81\x80\0\0\0\0", b"\xff" * 20])
def test_who_speaks_on_the_feed_before_its_password_was_judged_is_cut_off_without_a_word_in_the_log(house, frame):
    before = house.log()
    for _ in range(3):
        link, request = a_request(house, "ann", "wrong")
        with contextlib.closing(link):
            link.sendall(request)
            time.sleep(0.02)  # so that it does not come with the request
            with contextlib.suppress(OSError):
                link.sendall(frame)
                while link.recv(1000):
                    pass
    with house.watch("ann", password("ann")) as ann:
        assert '"snapshot"' in ann.recv(timeout=FEED_S)
    assert "ERROR" not in house.log()[len(before) :]


@pytest.mark.parametrize(
    ("user", "role", "ousted"), [("hand", "reader", []), ("hand", None, ["hand"]), ("hand", "admin", ["hand"])]
)
def test_h62_a_request_that_began_before_acts_no_more(house, user, role, ousted):
    hand = replace(house.devices["tablet"], role="admin")
    house.put("accounts.json", serialize(house.devices | {user: hand}))
    house.reload()
    reader = house.login("ann")
    reader.ask(subscribe("home/hall/#"), b"\x90\x03\x00\x01\x00")
    body = b'{"topic": "home/hall/lamp/set", "payload": "ON"}'
    said = base64.b64encode(f"{user}:{password('ann')}".encode())
    head = b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Basic "
    with contextlib.closing(house.page()) as link:
        link.sendall(head + said + b"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert b" 100 " in link.recv(100)  # it was judged, and its body is waited for
        link.sendall(body[:9])
        again = replace(hand, password=hand.password.replace("19456", "19457")) if role == "admin" else hand
        now = {} if role is None else {user: replace(again, role=role)}
        house.put("accounts.json", serialize(house.devices | now))
        assert house.reload()["accounts"]["ousted"] == ousted
        link.sendall(body[9:])
        assert b" 403 " in link.recv(100)
    reader.silent()


def test_the_page_reads_nothing_again(house):
    link = house.page()
    said = base64.b64encode(f"ann:{password('ann')}".encode())
    with contextlib.closing(link):
        link.sendall(
            b"POST /api/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nAuthorization: Basic " + said
            + b"\r\n\r\n"
        )  # fmt: skip
        assert b" 403 " in link.recv(100)
    with pytest.raises(ControlRefused):
        house.control().get("/api/reload")


# --- the configuration itself ---


def test_a_changed_configuration_is_said_to_wait_for_a_start_and_a_bad_one_is_named(house):
    path = house.scratch / "appliance.toml"
    whole = path.read_text()
    house.put("appliance.toml", "# nothing but a comment is new\n" + whole)
    assert house.reload()["waiting"] == ""
    house.put("appliance.toml", 'site = "cabin"\n' + whole)
    words = f"{path} was changed; its settings act when the service is started again"
    assert house.reload()["waiting"] == words
    assert house.control().get("/api/status")["reload"]["waiting"] == words
    house.put("appliance.toml", "site = 7\n" + whole)
    told = house.reload()
    assert (told["waiting"], told["problems"]) == ("", house.problems())
    assert told["problems"][0].startswith(f"{path}:1: site: 7 will not do; ")
    path.unlink()
    assert house.reload()["problems"] == [f"{path}: there is no such file; check the path"]
    house.put("appliance.toml", whole)
    told = house.reload()
    assert (told["waiting"], told["problems"]) == ("", [])
    assert house.log().count(words) == 1
    assert house.control().get("/api/status")["site"] == "home"


# --- certificates ---


def test_o88_new_certificates_are_shown_and_nobody_is_disconnected(house):
    context = house.authority.trust()
    link = Raw(house.mqtt)
    house.service.links.append(link)
    link.socket = context.wrap_socket(link.socket, server_hostname="127.0.0.1")
    link.ask(connect("tls", username="ann", password=password("ann")), ACCEPTED)
    before = house.shown(house.mqtt)
    assert house.shown(house.web) == before
    house.authority.issue("other", "127.0.0.1", "localhost")
    house.show("other")
    assert house.reload()["certificates"] == 2
    assert house.shown(house.mqtt) == house.shown(house.web) != before
    link.ask(PINGREQ, PINGRESP)


GARBAGE = {
    "a certificate of garbage": lambda house: house.put("server.pem", b"\0garbage" * 100),
    "half a certificate": lambda house: house.put("server.pem", house.authority.certificate.read_bytes()[:200]),
    "no certificate": lambda house: (house.scratch / "server.pem").unlink(),
    "a key of garbage": lambda house: house.put("server.key", b"garbage"),
    "no key": lambda house: (house.scratch / "server.key").unlink(),
    "another's key": lambda house: house.put("server.key", house.authority.issue("third")[1].read_bytes()),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_o88_garbage_leaves_the_certificate_that_was_good(house, what):
    before = house.shown(house.mqtt)
    GARBAGE[what](house)
    told = house.reload()
    assert len(told["problems"]) == 2
    assert all("server." in problem for problem in told["problems"])
    assert house.problems() == told["problems"]
    assert house.shown(house.mqtt) == house.shown(house.web) == before
    house.show("server")
    assert house.reload()["problems"] == house.problems() == []


def test_brackets_without_end_in_an_agents_words_end_neither_reload_nor_page_nor_the_next_start(tmp_path):
    house = House(tmp_path)
    try:
        deep = b'{"x":' + b"[" * 100_000
        attic = house.service.client(username="attic", password=password("ann"))
        topics = [f"home/devices/attic/{word}" for word in ("about", "availability", "health")]
        for number, topic in enumerate(topics, 1):
            attic.send(publish(topic, deep, 1, number, retain=True))
            attic.expect(puback(number))
        house.put("accounts.json", serialize(house.devices | {"new": house.devices["tablet"]}))
        assert house.reload()["accounts"]["new"] == ["new"]
        assert house.reload()["accounts"] == {"ousted": [], "changed": [], "new": []}  # the last was applied whole
        house.control().get("/api/rooms")
        house.service.close_links()
        house.service.stop()
        house.start()
        ann = house.login("ann")
        ann.ask(subscribe("home/devices/#"), b"\x90\x03\x00\x01\x00")
        ann.expect(*(publish(topic, deep, retain=True) for topic in topics))
        house.control().get("/api/rooms")
        assert house.control().post("/api/forget", {"agent": "attic"})["cleared"] == len(topics)
        assert "Traceback" not in house.log()
    finally:
        house.service.close_links()
        house.service.stop()
