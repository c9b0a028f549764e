"""An agent's way to a hub: which one, what it believes, and what it keeps. Whoever answers may be anybody."""

import asyncio
import socket
import ssl
import stat
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from authority import Authority
from pairing_hub import PairingHub, in_thread

from appliance.net.certificates import server_context
from appliance.pake import Grant, Hello, Proof, Sealed, Welcome, decoded, encoded, typed
from sensors import credential, pairing_client
from sensors.config import config_of
from sensors.discovery import DiscoveryError, Found
from sensors.pairing import PairingError
from sensors.pairing_client import Busy, Hub, UsageError, found_hub, hub_of, introduce, is_there, name_among, words_of

SENSORS = '[[sensor]]\nname = "air"\nroom = "attic"\nkind = "sht4x"\n'


def configured(folder, more="", sensors=SENSORS):
    text = f'agent = "attic"\ndata_dir = "{folder / "agent"}"\n{more}\n{sensors}'
    return config_of(text, folder / "sensors.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub.local", ("hub.local", 8443)),
        ("hub.local:9443", ("hub.local", 9443)),
        ("192.168.1.5", ("192.168.1.5", 8443)),
        ("192.168.1.5:1", ("192.168.1.5", 1)),
        ("fe80::1", ("fe80::1", 8443)),
        ("[fe80::1]", ("fe80::1", 8443)),
        ("[fe80::1]:9443", ("fe80::1", 9443)),
    ],
)
def test_a_hub_is_named_as_people_do(text, expected):
    hub = hub_of(text)
    assert (hub.name, hub.port) == expected
    assert hub_of(str(hub)) == hub


@pytest.mark.parametrize("text", ["", ":8443", "hub:0", "hub:65536", "hub:x", "https://hub", "a b", "[::1]:x", "u@hub"])
def test_what_names_no_hub_is_told(text):
    with pytest.raises(UsageError):
        hub_of(text)


def found(*names, site="home", services=("_https._tcp", "_secure-mqtt._tcp")):
    ports = {"_https._tcp": 9443, "_secure-mqtt._tcp": 8883}
    addresses = ("192.168.1.5", "fe80::1")
    return lambda service, _: [Found(one, ports[service], addresses, site) for one in names if service in services]


def test_without_a_name_the_one_of_our_site_is_taken_at_the_port_of_its_page(tmp_path):
    config = configured(tmp_path)
    hub = found_hub(config, found("hub.local"))
    assert hub == Hub(("192.168.1.5", "fe80::1"), 9443, "hub.local", "mDNS says")


def test_where_nothing_is_said_of_its_page_the_usual_port_is_tried_and_told(tmp_path):
    hub = found_hub(configured(tmp_path), found("hub.local", services=("_secure-mqtt._tcp",)))
    assert hub[:3] == (("192.168.1.5", "fe80::1"), 8443, "hub.local")
    told = "mDNS says, though not of its page; 8443 is the usual port, `sensors pair HOST:PORT` takes another"
    assert hub.said_by == told
    named = found_hub(configured(tmp_path, '[broker]\nhost = "192.168.1.7"'), found("hub.local"))
    assert named[:3] == (("192.168.1.7",), 8443, "192.168.1.7")
    assert named.said_by == told.replace("mDNS says, though not of its page", "broker.host says")


def test_where_it_is_not_clear_which_a_person_decides(tmp_path):
    config = configured(tmp_path)

    def nobody_can_look(_service, _site):
        raise DiscoveryError("no network")

    for look, words in (
        (found(), "no hub of site home is found by mDNS"),
        (found("hub.local", site=""), "no hub of site home is found by mDNS"),
        (found("a.local", "b.local"), "more than one says it is the hub of site home: a.local, b.local; name yours"),
        (nobody_can_look, "no network; name the hub"),
    ):
        with pytest.raises(PairingError, match=words):
            found_hub(config, look)


@pytest.mark.parametrize(
    ("names", "called", "address", "expected"),
    [
        (("hub", "hub.local", "192.168.1.5"), "hub.local", "192.168.1.5", "hub.local"),
        (("hub", "hub.local", "192.168.1.5"), "HUB.local.", "192.168.1.5", "hub.local"),
        (("192.168.1.5", "hub", "hub.local"), "192.168.1.5", "192.168.1.5", "hub.local"),
        (("hub", "localhost"), "127.0.0.1", "127.0.0.1", "hub"),
        (("localhost", "127.0.0.1"), "localhost", "127.0.0.1", "localhost"),
        (("hub.lan",), "other.name", "192.168.1.5", "hub.lan"),
        (("192.168.1.4", "192.168.1.5"), "192.168.1.5", "192.168.1.5", "192.168.1.5"),
        (("192.168.1.4",), "192.168.1.5", "192.168.1.5", "192.168.1.4"),
    ],
)
def test_the_name_by_which_it_is_known_again(names, called, address, expected):
    assert name_among(names, called, address) == expected


def test_what_it_got_is_used_from_then_on(tmp_path):
    hub = PairingHub(tmp_path / "hub")
    before = configured(tmp_path)
    assert (before.credential, before.endpoint.trust) == (None, None)

    async def scenario():
        async with hub.serving(tmp_path) as served:
            _, code = await hub.opened()
            return await in_thread(introduce, before, Hub(("127.0.0.1",), served.door, "127.0.0.1"), typed(code))

    kept = asyncio.run(scenario())
    after = configured(tmp_path)
    assert after.credential == kept == credential.read(after.credential_path)
    end = after.endpoint
    assert (end.username, end.password, end.name, end.known) == ("attic", kept.secret, "localhost", "127.0.0.1")
    assert (str(end.given), end.given.name, end.trust.ca_file) == ("127.0.0.1:18883", "localhost", str(after.ca_path))
    assert end.is_looked_for  # should the hub move: whoever is found is judged by its certificate
    assert stat.S_IMODE(after.credential_path.stat().st_mode) == 0o600


class Anybody(BaseHTTPRequestHandler):
    """Answers with what the test laid down: path -> (status, body)."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers[self.path]
        status, text = answer(body) if callable(answer) else answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def anybody(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Anybody)
    authority = Authority(tmp_path / "anybody")
    context = server_context(str(authority.certificate), str(authority.key), protocol="http/1.1")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answers = {}
    server.hub = Hub(("127.0.0.1",), server.server_port, "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


LARGE = b'{"error": "' + b"x" * 300_000 + b'"}'


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (200, b"", "is no message of pairing"),
        (200, b"<html>", "is no message of pairing"),
        (200, LARGE, "says more than a hub does"),
        (404, b"nothing", "pairing is not open there; run `appliance pair` on the hub"),
        (400, b'{"error": "update the\\u001b[2J agent"}', r"says: update the\[2J agent"),
        (500, b"[" * 9_000, "says: 500"),
        (500, b"[]", "says: 500"),
        (301, b"", "says: 301"),
        (500, LARGE, "says: 500"),
    ],
)
def test_whatever_is_answered_ends_in_one_line(tmp_path, anybody, status, text, words):
    anybody.answers["/pair/hello"] = (status, text)
    with pytest.raises(PairingError, match=words) as why:
        introduce(configured(tmp_path), anybody.hub, "ACDEFGHJ")
    assert "\n" not in str(why.value)
    assert not configured(tmp_path).credential_path.exists()


class Playing:
    """A hub that knows the code and grants what the test says."""

    def __init__(self, code, grant):
        from appliance.pake import Half

        self.half, self.grant, self.keys = Half("hub", code), grant, None

    def answers(self):
        return {"/pair/hello": self.hello, "/pair/prove": self.prove, "/pair/ask": self.ask}

    def hello(self, body):
        welcome = Welcome(version=1, site="home", hub="h", exchange=b"x" * 16, element=self.half.element)
        self.keys = self.half.keys(decoded(body, Hello).element, body, encoded(welcome))
        return 200, encoded(welcome)

    def prove(self, _body):
        return 200, encoded(Proof(exchange=b"x" * 16, proof=self.keys.of_hub))

    def ask(self, _body):
        return 200, encoded(Sealed(exchange=b"x" * 16, sealed=self.keys.seal("agent", self.grant)))


def test_a_grant_without_an_authority_uses_those_of_the_system(tmp_path, anybody):
    playing = Playing("ACDEFGHJ", Grant(username="attic", secret="s", names=("hub.example",), port=8883))
    anybody.answers = playing.answers()
    introduce(configured(tmp_path), anybody.hub, "ACDEFGHJ")
    config = configured(tmp_path)
    assert (config.credential.has_ca, config.trust.ca_file, config.endpoint.is_looked_for) == (False, "", False)


def test_an_authority_that_is_none_is_not_kept(tmp_path, anybody):
    playing = Playing("ACDEFGHJ", Grant(username="a", secret="s", names=("h",), port=8883, ca="no certificate"))
    anybody.answers = playing.answers()
    with pytest.raises(PairingError, match="no authority's certificate"):
        introduce(configured(tmp_path), anybody.hub, "ACDEFGHJ")
    assert not configured(tmp_path).credential_path.exists()


def test_a_hub_that_is_busy_is_asked_again(tmp_path, anybody, monkeypatch):
    monkeypatch.setattr(pairing_client, "LOOK_AGAIN_S", 0.01)
    playing = Playing("ACDEFGHJ", Grant(username="attic", secret="s", names=("h",), port=8883))
    elements = []

    def hello(body):
        elements.append(decoded(body, Hello).element)
        busy = (409, b'{"error": "another agent is being paired"}')
        return busy if len(elements) < 3 else playing.hello(body)

    anybody.answers = {**playing.answers(), "/pair/hello": hello}
    introduce(configured(tmp_path), anybody.hub, "ACDEFGHJ")
    assert len(set(elements)) == 3  # a run of its own each time

    monkeypatch.setattr(pairing_client, "BUSY_S", 0.0)
    elements.clear()
    with pytest.raises(Busy, match="another agent"):
        introduce(configured(tmp_path), anybody.hub, "ACDEFGHJ")


def test_nobody_there_is_told(anybody):
    is_there(anybody.hub)
    for hub, words in (
        (Hub(("127.0.0.1",), 1, "hub.local"), r"no hub answers at hub.local:1 \(Connection refused\)"),
        (Hub(("a..b",), 8443, "a..b"), r"no hub answers at a\.\.b:8443 .*; check the name, or give its address"),
    ):
        with pytest.raises(PairingError, match=words):
            is_there(hub)
    is_there(Hub(("127.0.0.2", "127.0.0.1"), anybody.server_port, "hub.local"))  # the next address


def test_a_name_that_nobody_knows_is_told(monkeypatch):
    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PairingError, match=r"known\); check the name, or give its address"):
        is_there(Hub(("hbu.local",), 8443, "hbu.local"))


def test_what_speaks_tls_and_is_no_page_is_told(tmp_path):
    folder = Authority(tmp_path).folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            link, _ = server.accept()
            with context.wrap_socket(link, server_side=True) as encrypted:
                encrypted.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            hub = Hub(("127.0.0.1",), server.getsockname()[1], "hub.local")
            with pytest.raises(PairingError, match=r"broke off .*; begin again, at the port of its page"):
                introduce(configured(tmp_path), hub, "ACDEFGHJ")
        finally:
            thread.join()


def test_what_speaks_no_tls_is_told():
    plain = HTTPServer(("127.0.0.1", 0), Anybody)
    thread = threading.Thread(target=plain.handle_request)
    thread.start()
    try:
        with pytest.raises(PairingError, match=r"no hub answers .* with TLS\?"):
            is_there(Hub(("127.0.0.1",), plain.server_port, "127.0.0.1"))
    finally:
        thread.join()
        plain.server_close()


def test_more_topics_than_a_hub_grants_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr("appliance.pake.MAX_TOPICS", 1)
    with pytest.raises(PairingError, match="2 topics are more than 1"):
        introduce(configured(tmp_path), Hub(("127.0.0.1",), 1, "h"), "ACDEFGHJ")


def test_words_of_a_stranger_are_shortened():
    assert words_of(b'{"error": "' + b"x" * 9_000 + b'"}') == "x" * 300


def test_a_certificate_is_not_looked_at_but_tls_is_new_enough(anybody):
    line = pairing_client.Line(anybody.hub)
    try:
        context = line._connection._context
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert line.address == "127.0.0.1"
    finally:
        line.close()
