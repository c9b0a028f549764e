"""Group O: clients that misuse TLS, and files gone bad. The service has 16 handshakes at a time, and gives each 1 s."""

import contextlib
import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from urllib.request import urlopen

import pytest
from accounts import CONFIG as ACCOUNTS
from accounts import password, write_accounts
from authority import Authority
from cryptography import x509
from cryptography.x509.oid import NameOID
from processes import eventually, free_port
from raw import ACCEPTED, PATIENCE_S, PINGREQ, Raw, connect, publish, subscribe
from service import CONFIG, Service

from appliance.exits import Exit

LISTENER = """
[[listener]]
port = {port}
certificate = "{authority.certificate}"
key = "{authority.key}"
"""
CLIENTS = 'client_ca = "{ca}"\nrequire_client_certificate = true\n'
LIMITS = "tls_handshake_s = 1.0\nmax_handshakes = 16\n"
UNHURRIED = CONFIG.replace("connect_timeout_s = 1.0", "max_handshakes = 16")

_numbers = itertools.count(1)


class Secure:
    """A service with TLS listeners: one for all, two that want client certificates, one of the page."""

    def __init__(self, scratch, config=CONFIG + LIMITS):
        self.authority = authority = Authority(scratch / "authority")
        self.revoked = authority.request("revoked", common_name("revoked"), revoked=True)
        self.open, self.closed, self.listed, self.page = (free_port() for _ in range(4))
        listeners = [
            LISTENER.format(port=self.open, authority=authority),
            LISTENER.format(port=self.closed, authority=authority) + CLIENTS.format(ca=authority.ca),
            LISTENER.format(port=self.listed, authority=authority)
            + CLIENTS.format(ca=authority.folder / "revocations.pem"),
        ]
        listeners.append(LISTENER.format(port=self.page, authority=authority) + 'serve = "web"\n')
        self.service = Service(scratch / "service", config + "".join(listeners))
        self.links = []

    def plain(self, port=None):
        """Open a socket to a TLS port, and say nothing yet."""
        link = Raw(port or self.open)
        self.links.append(link)
        return link

    def link(self, port=None, context=None):
        """Open a socket and shake hands; ssl.SSLError or OSError when the server refuses at once."""
        link = self.plain(port)
        link.socket = (context or self.authority.trust()).wrap_socket(link.socket, server_hostname="127.0.0.1")
        return link

    def client(self, client_id="", **how):
        link = self.link(**how)
        link.ask(connect(client_id), ACCEPTED)
        return link

    def is_refused(self, context, port=None):
        """Whether nobody is let in with this context; TLS 1.3 says so only after the client has done its part."""
        try:
            link = self.link(port or self.closed, context)
            link.socket.sendall(connect())
            return link.socket.recv(4) == b""
        except OSError:  # ssl.SSLError among them
            return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    secure = Secure(tmp_path_factory.mktemp("secure"))
    yield secure
    secure.service.stop()


@pytest.fixture
def secure(shared):
    """The service, with a bystander over TLS that is connected the whole time and must not notice anything."""
    bystander = shared.client()
    bystander.ask(subscribe("bystander/#"), b"\x90\x03\x00\x01\x00")
    shared.links.remove(bystander)
    try:
        yield shared
        payload = b"%d" % next(_numbers)
        shared.client().send(publish("bystander/topic", payload))
        bystander.expect(publish("bystander/topic", payload))
        shared.service.check_health()
    finally:
        for link in (bystander, *shared.links):
            link.close()
        shared.links.clear()


def hello():
    """What a client of ours says first."""
    said = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


def old_hello(minor):
    """A ClientHello that offers SSL 3.0 to TLS 1.2 (minor 0 to 3) at the most, and what each of them needs."""
    groups = b"\x00\x0a\x00\x04\x00\x02\x00\x17"
    signatures = b"\x00\x0d\x00\x04\x00\x02\x04\x03"
    extensions = groups + signatures
    ciphers = b"\xc0\x2b\xc0\x23\xc0\x09\x00\x2f"
    body = b"\x03" + bytes([minor]) + bytes(range(32)) + b"\x00" + len(ciphers).to_bytes(2, "big") + ciphers
    body += b"\x01\x00" + len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def answer(link):
    """Give all the server says until it closes."""
    heard = b""
    try:
        while data := link.socket.recv(65_536):
            heard += data
    except ConnectionError:
        pass
    return heard


SILENCES = [
    ("nothing", lambda: b""),
    ("half a hello", lambda: hello()[:100]),
    ("a hello", hello),
    ("a record that never ends", lambda: b"\x16\x03\x01\x40\x00" + bytes(100)),
]


doors = pytest.mark.parametrize("door", ["open", "page"])


@doors
@pytest.mark.parametrize(("name", "beginning"), SILENCES)
def test_o84_a_hello_and_then_silence(secure, door, name, beginning):  # noqa: ARG001
    links = [secure.plain(getattr(secure, door)) for _ in range(16)]
    for link in links:
        link.send(beginning())
    for link in links:
        answer(link)  # until it is closed


def test_o84_a_hello_that_trickles_in_buys_no_time(secure):
    link = secure.plain()
    link.socket.settimeout(0.05)
    for byte in hello():
        if not link.send(bytes([byte])):
            break
        try:
            if not link.socket.recv(100):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        raise AssertionError("it was never closed")


def test_o84_the_page_is_there_past_a_crowd_that_says_nothing(secure):
    crowd = [secure.plain(secure.page) for _ in range(40)]
    with urlopen(f"https://127.0.0.1:{secure.page}/healthz", context=secure.authority.trust()) as answered:
        assert answered.read() == b'{"alive":true}'
    for link in crowd:
        answer(link)


def test_o84_an_honest_client_gets_in_past_a_crowd_that_says_nothing(secure):
    crowd = [secure.plain() for _ in range(64)]
    secure.client("honest").silent()
    for link in crowd:
        answer(link)


@doors
def test_o84_no_more_than_the_crowd_that_is_let_in_costs_descriptors(secure, door):
    before = secure.service.descriptors()
    for _ in range(200):
        secure.plain(getattr(secure, door))
    assert secure.service.descriptors() - before <= 16 + 1


@doors
def test_o84_a_crowd_at_one_address_keeps_nobody_waiting_at_another(tmp_path, door):
    authority = Authority(tmp_path / "authority")
    ports = {"open": free_port(), "page": free_port()}
    listeners = [LISTENER.format(port=ports[name], authority=authority) for name in ("open", "page")]
    few = "tls_handshake_s = 60.0\nmax_handshakes = 16\nmax_handshakes_per_address = 4\n"
    service = Service(tmp_path / "service", CONFIG + few + "".join(listeners) + 'serve = "web"\n')
    with contextlib.ExitStack() as crowd:
        crowd.callback(service.stop)
        before = service.descriptors()
        closed = 0
        for number in range(40):
            link = crowd.enter_context(
                socket.create_connection(("127.0.0.1", ports[door]), 20, source_address=("127.0.0.2", 0))
            )
            if number >= 4:  # beyond its part: closed at once, which costs nothing that lasts
                closed += link.recv(1) == b""
        assert closed == 36
        eventually(lambda: service.descriptors() - before <= 4)  # the service may have a file open for a moment
        link = crowd.enter_context(socket.create_connection(("127.0.0.1", ports[door]), 20))
        crowd.enter_context(authority.trust().wrap_socket(link, server_hostname="127.0.0.1"))
        service.check_health()


GARBAGE = [
    bytes(range(256)),
    b"\x00" * 1_000,
    b"\xff" * 1_000,
    b"\x16\x03\x01\xff\xff" + bytes(1_000),
    b"\x16\x03\x01\x00\x00" * 100,
    b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
    b"\x17\x03\x03\x00\x10" + bytes(16),  # data before the handshake
    b"\x80\x2e\x01\x00\x02" + bytes(100),  # SSL 2
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    connect("plain") + PINGREQ,
]


@doors
@pytest.mark.parametrize("garbage", GARBAGE)
def test_o85_garbage_is_closed(secure, door, garbage):
    link = secure.plain(getattr(secure, door))
    link.send(garbage)
    assert answer(link)[:1] in {b"", b"\x15"}  # an alert at most


def test_o85_a_hello_with_every_byte_changed(secure):
    good = hello()
    for place in range(0, len(good), 7):
        link = secure.plain()
        link.send(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        with contextlib.suppress(OSError):  # it has closed already
            link.socket.shutdown(socket.SHUT_WR)
        answer(link)
        link.close()


def test_o85_garbage_after_the_handshake_is_closed_and_the_will_told(secure):
    watcher = secure.client("watcher")
    watcher.ask(subscribe("will/#"), b"\x90\x03\x00\x01\x00")
    link = secure.link()
    link.ask(connect("doomed", will=("will/it", b"offline", 0, False)), ACCEPTED)
    raw = socket.socket(fileno=link.socket.detach())
    with raw:
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        watcher.expect(publish("will/it", b"offline"))


@pytest.mark.parametrize("half", [False, True], ids=["reset or end", "half closed"])
def test_o85_an_end_without_close_notify_tells_the_will(secure, half):
    watcher = secure.client("watcher")
    watcher.ask(subscribe("will/#"), b"\x90\x03\x00\x01\x00")
    link = secure.link()
    link.ask(connect("doomed", will=("will/it", b"offline", 0, False)), ACCEPTED)
    with socket.socket(fileno=link.socket.detach()) as raw:
        if half:
            raw.shutdown(socket.SHUT_WR)
        else:
            raw.close()
        watcher.expect(publish("will/it", b"offline"))


@doors
@pytest.mark.parametrize(("minor", "good"), [(0, False), (1, False), (2, False), (3, True)])
def test_o85_what_is_older_than_tls_1_2_is_refused(secure, door, minor, good):
    link = secure.plain(getattr(secure, door))
    link.send(old_hello(minor))
    if good:
        assert link.socket.recv(1) == b"\x16"  # ServerHello: the hello was well made
    else:
        assert answer(link)[:1] in {b"", b"\x15"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_o85_what_is_not_is_taken(secure, version):
    context = secure.authority.trust()
    context.minimum_version = context.maximum_version = version
    secure.client(context=context).silent()


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificates(authority, folder):
    """Client certificates that will not do, by name."""
    stranger = Authority(folder / "stranger")
    return {
        "none": None,
        "expired": authority.expired(),
        "not yet valid": authority.not_yet(),
        "of another authority": stranger.issue("stranger"),
        "self-signed": (stranger.ca, write(folder / "self.key", stranger._ca.private_key_pem.bytes())),
        "with U+0000 in its name": authority.request("nul", common_name("hub\0.example.org")),
    }


def write(path, data):
    path.write_bytes(data)
    return path


def test_o86_client_certificates_that_will_not_do(secure, tmp_path):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for name, pair in certificates(secure.authority, tmp_path).items():
            context = secure.authority.trust(pair)
            context.maximum_version = version
            assert secure.is_refused(context), name
        good = secure.authority.trust(secure.authority.issue("good"))
        good.maximum_version = version
        secure.client(port=secure.closed, context=good).silent()


def test_o86_a_certificate_that_was_revoked(secure):
    revoked = secure.authority.trust(secure.revoked)
    secure.client(port=secure.closed, context=revoked).silent()  # who is not told cannot know
    try:
        link = secure.link(secure.listed, revoked)
        link.send(connect())
        assert answer(link) == b""
    except ssl.SSLError:
        pass
    good = secure.authority.trust(secure.authority.issue("listed"))
    secure.client(port=secure.listed, context=good).silent()


class Named(Secure):
    """A service whose clients are the users that their certificates name."""

    def __init__(self, scratch):
        self.authority = authority = Authority(scratch / "authority")
        self.open = free_port()
        who = "use_identity_as_username = true\n"
        listener = LISTENER.format(port=self.open, authority=authority) + CLIENTS.format(ca=authority.ca) + who
        write_accounts(scratch / "service")
        self.service = Service(scratch / "service", CONFIG + LIMITS + ACCOUNTS + listener)
        self.links = []

    def shown(self, *names):
        """Give the context of a client that shows a certificate of such a name, or of several."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
        return self.authority.trust(self.authority.request(f"named{len(self.links)}", subject))

    def user(self, name, answer=ACCEPTED, **fields):
        link = self.link(context=self.shown(name))
        link.ask(connect(**fields), answer)
        return link


@pytest.fixture(scope="module")
def all_named(tmp_path_factory):
    named = Named(tmp_path_factory.mktemp("named"))
    yield named
    named.service.stop()


@pytest.fixture
def named(all_named):
    yield all_named
    for link in all_named.links:
        link.close()
    all_named.links.clear()


def test_o86_a_client_is_whom_its_certificate_names_whatever_it_says(named):
    reader = named.user("ann")
    reader.ask(subscribe("home/#"), b"\x90\x03\x00\x01\x00")
    for said in ({}, {"username": "ann", "password": "wrong"}, {"username": "ann", "password": password("ann")}):
        kitchen = named.user("esp-kitchen", **said)
        kitchen.send(publish("home/attic/x", b"not allowed"), publish("home/kitchen/x", b"1"))
        reader.expect(publish("home/kitchen/x", b"1"))


def test_o86_letters_of_a_name_are_no_wildcards(named):
    reader = named.user("ann")
    reader.ask(subscribe("#"), b"\x90\x03\x00\x01\x00")
    named.user("+").send(publish("own/hash", b"not allowed"), publish("own/plus", b"1"))
    reader.expect(publish("own/plus", b"1"))


@pytest.mark.parametrize("name", ["stranger", "Ann", "anonymous"])
def test_o86_a_name_without_an_account_is_turned_away(named, name):
    said = {"username": "ann", "password": password("ann")}
    assert named.user(name, b"\x20\x02\x00\x04", **said).socket.recv(1) == b""


@pytest.mark.parametrize("names", [(), ("ann", "esp-kitchen"), ("ann\u200b",), ("ann ",)])
def test_o86_a_certificate_of_an_odd_name_does_not_even_come_in(named, names):
    assert named.is_refused(named.shown(*names), named.open)


def test_o86_whom_a_certificate_names_takes_nobodys_id(named):
    named.user("ann", client_id="theirs", clean=False)
    assert named.user("esp-kitchen", b"\x20\x02\x00\x02", client_id="theirs").socket.recv(1) == b""


def test_o86_an_account_that_is_gone_turns_its_certificate_away(tmp_path):
    named = Named(tmp_path)
    try:
        kitchen = named.user("esp-kitchen")
        write_accounts(tmp_path / "service", rules="", users=("ann",))
        os.kill(named.service.pid, signal.SIGHUP)
        assert answer(kitchen) == b""
        assert named.user("esp-kitchen", b"\x20\x02\x00\x04").socket.recv(1) == b""
        named.user("ann").silent()
    finally:
        for link in named.links:
            link.close()
        named.service.stop()


@pytest.fixture
def unhurried(tmp_path):
    """A service of one's own, which a test may keep busy or spoil the files of; nobody has to speak within 1 s."""
    secure = Secure(tmp_path, UNHURRIED)
    yield secure
    for link in secure.links:
        link.close()
    secure.service.stop()


def test_o87_five_hundred_handshakes_while_messages_go_on(unhurried):
    reader, writer = unhurried.client("reader"), unhurried.client("writer")
    reader.ask(subscribe("o87"), b"\x90\x03\x00\x01\x00")
    context = unhurried.authority.trust()
    context.options |= ssl.OP_NO_TICKET  # each is a whole one
    done, failures = [], []

    def shake():
        for _ in range(50):
            try:
                with (
                    socket.create_connection(("127.0.0.1", unhurried.open), timeout=30) as link,
                    context.wrap_socket(link, server_hostname="127.0.0.1") as shaken,
                ):
                    shaken.sendall(connect())
                    done.append(shaken.recv(4))
            except OSError as error:
                failures.append(error)

    crowd = [threading.Thread(target=shake) for _ in range(10)]
    for thread in crowd:
        thread.start()
    count = 0
    while any(thread.is_alive() for thread in crowd) or count < 500:
        writer.send(publish("o87", b"%d" % count))
        reader.expect(publish("o87", b"%d" % count))
        count += 1
    for thread in crowd:
        thread.join()
    assert failures == []
    assert done == [ACCEPTED] * 500
    unhurried.service.check_health()


def test_o88_files_that_turn_to_garbage_leave_the_old_certificate_at_work(unhurried):
    """They are read once, at the start; whoever renews them starts the service again."""
    before = unhurried.client("before")
    before.ask(subscribe("o88"), b"\x90\x03\x00\x01\x00")
    shown = before.socket.getpeercert(binary_form=True)
    for file in (unhurried.authority.certificate, unhurried.authority.key):
        file.write_bytes(bytes(range(256)))
    for number in range(3):
        after = unhurried.client()
        assert after.socket.getpeercert(binary_form=True) == shown
        after.send(publish("o88", b"%d" % number))
        before.expect(publish("o88", b"%d" % number))
    context = unhurried.authority.trust()
    with urlopen(f"https://127.0.0.1:{unhurried.page}/healthz", context=context) as answered:
        assert answered.read() == b'{"alive":true}'
    unhurried.service.check_health()


@pytest.mark.parametrize("spoiled", ["certificate", "key"])
def test_o88_no_start_with_garbage(tmp_path, spoiled):
    authority = Authority(tmp_path / "authority")
    file = getattr(authority, spoiled)
    file.write_bytes(bytes(range(256)))
    config = tmp_path / "appliance.toml"
    config.write_text(CONFIG + LISTENER.format(port=free_port(), authority=authority))
    run = [sys.executable, "-m", "appliance", "run", "--config", str(config), "--mqtt-port", str(free_port())]
    command = [*run, "--data", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == Exit.CONFIG, done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
