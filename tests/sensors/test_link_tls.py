"""The link over TLS, and to a broker that nobody configured: our own service and Mosquitto."""

import secrets
import socket
import ssl
import threading

import pytest
from accounts import PASSWORDS as ANONYMOUS
from accounts import write_accounts
from announcer import announced
from authority import Authority
from driven import driven
from mosquitto_peer import BINARY, Mosquitto
from processes import free_port, running

from sensors.discovery import PLAIN, SECURE, DiscoveryError, look
from sensors.trust import Trust

LISTENER = """
[[listener]]
port = {port}
certificate = "{authority.certificate}"
key = "{authority.key}"
client_ca = "{authority.ca}"
require_client_certificate = {must}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def service(authority, tmp_path_factory):
    """Our own service with two ports: one for everybody, one for those with a certificate."""
    home = tmp_path_factory.mktemp("service")
    write_accounts(home)
    config = home / "appliance.toml"
    ports = free_port(), free_port()
    both = [
        LISTENER.format(port=port, authority=authority, must=must)
        for port, must in zip(ports, ("false", "true"), strict=True)
    ]
    config.write_text(ANONYMOUS + "".join(both))
    arguments = ("run", "--config", config, "--data", home / "data", "--mqtt-port", free_port(), "--http-port", 0)
    with running(home, *arguments) as process:
        process.lines_until("appliance runs")
        yield ports


def trust(authority, pair=()):
    return Trust(ca_file=str(authority.ca), **dict(zip(("cert_file", "key_file"), map(str, pair), strict=False)))


def all_arrive(link, count=300):
    """Send many at once; over TLS some acknowledgements are decrypted before the loop asks the socket for them."""
    link.until_told("connected")
    for number in range(1, count + 1):
        assert link.link.publish("home/n", b"%d" % number, retain=False, tokens=(number,))
    link.until(lambda: link.link.idle)
    told = [event for event in link.told if isinstance(event, tuple)]
    assert [token for token, _ in told] == list(range(1, count + 1))
    assert all(reason < 0x80 for _, reason in told)


def test_our_service_with_tls(service, authority):
    with driven(service[0], trust=trust(authority)) as link:
        all_arrive(link)


def test_packets_that_came_in_one_record_are_all_taken(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    connack, command = b"\x20\x03\x00\x00\x00", b"\x30\x05\x00\x01a\x00%d"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        driven(server.getsockname()[1], trust=trust(authority)) as link,
    ):

        def answer():
            connection, _ = server.accept()
            with context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(4096)
                encrypted.sendall(connack + b"".join(command % number for number in range(5)))
                while encrypted.recv(4096):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        link.until_told(b"4")
        assert [event[1] for event in link.told if isinstance(event, tuple)] == [b"0", b"1", b"2", b"3", b"4"]
        link.link.drop()
        thread.join(10)


def test_our_service_with_client_certificates(service, authority):
    with driven(service[1], trust=trust(authority, authority.issue("house"))) as link:
        all_arrive(link, 50)
    with driven(service[1], trust=trust(authority)) as link:
        assert "a client certificate (broker.cert_file, broker.key_file)" in link.until_told("127.0.0.1")
        assert not link.link.up


def test_a_broker_that_is_not_ours_is_not_spoken_to(service, tmp_path):
    other = Authority(tmp_path / "other")
    with driven(service[0], trust=trust(other), password="secret", username="house") as link:
        assert "is not from the authorities of broker.ca_file" in link.until_told("certificate")
        assert link.link.next_deadline() > link.now  # and tried again later


def test_files_are_read_anew_for_each_connection(service, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(Authority(tmp_path / "old").ca.read_bytes())
    with driven(service[0], trust=Trust(ca_file=str(tmp_path / "ca.pem"))) as link:
        link.until_told("is not from the authorities")
        (tmp_path / "ca.pem").unlink()
        link.now = link.link.next_deadline()
        link.until_told("cannot be read (No such file or directory); check its path")
        (tmp_path / "ca.pem").write_bytes(authority.ca.read_bytes())
        link.now = link.link.next_deadline()
        link.until_told("connected")


def test_plain_where_tls_is_spoken_and_the_other_way_round(service, authority):
    with driven(service[0]) as link:
        assert "does it want TLS there? Set broker.tls = true" in link.until_told("127.0.0.1")
    with Mosquitto(authority.folder) as broker, driven(broker.port, trust=trust(authority)) as link:
        assert "while TLS began; check broker.port" in link.until_told("127.0.0.1")


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
@pytest.mark.parametrize("must", [False, True])
def test_mosquitto_with_tls(authority, tmp_path, must):
    settings = [f"cafile {authority.ca}", f"certfile {authority.certificate}", f"keyfile {authority.key}"]
    settings += ["require_certificate true", "use_identity_as_username true"] if must else []
    with Mosquitto(tmp_path, *settings) as broker:
        with driven(broker.port, trust=trust(authority, authority.issue("house") if must else ())) as link:
            all_arrive(link)
        if must:
            with driven(broker.port, trust=trust(authority)) as link:
                assert "client certificate" in link.until_told("127.0.0.1")


def look_here(service, site):
    """Look on the loopback interface alone."""
    return look(service, site, seconds=9.0, interface="127.0.0.1")


@pytest.fixture
def site():
    """A site that no other test on this computer has."""
    return f"s{secrets.token_hex(6)}"


def test_a_broker_is_found_by_mdns_and_again_when_it_has_moved(authority, tmp_path, site):
    name = f"hub-{site}"
    pair = authority.issue("hub", f"{name}.local")
    settings = [f"certfile {pair[0]}", f"keyfile {pair[1]}"]
    (tmp_path / "new").mkdir()
    with driven(1, host=None, look=look_here, site=site, trust=trust(authority)) as link:
        with Mosquitto(tmp_path, *settings) as broker, announced((SECURE, name, broker.port, site)):
            all_arrive(link, 10)
            assert str(link.link.place) == f"{name}.local (127.0.0.1:{broker.port}, found by mDNS)"
        link.until_told("closed the connection")
        with Mosquitto(tmp_path / "new", *settings) as broker, announced((SECURE, name, broker.port, site)):
            link.now = link.link.next_deadline()
            link.until(lambda: link.told.count("connected") == 2)
            assert link.link.place.port == broker.port


def test_who_says_it_is_our_broker_has_to_show_it(authority, tmp_path, site):
    stranger = Authority(tmp_path / "stranger")
    pair = stranger.issue("hub", f"hub-{site}.local")
    with (
        Mosquitto(tmp_path, f"certfile {pair[0]}", f"keyfile {pair[1]}") as broker,
        announced((SECURE, f"hub-{site}", broker.port, site), (PLAIN, f"hub-{site}", broker.port, site)),
        driven(1, host=None, look=look_here, site=site, trust=trust(authority)) as link,
    ):
        assert "found by mDNS) is not from the authorities of broker.ca_file" in link.until_told("certificate")
        assert "connected" not in link.told


def test_the_broker_on_this_computer_serves_where_none_is_found(tmp_path):
    def nobody(*_):
        raise DiscoveryError("looking for brokers by mDNS failed: no")

    with Mosquitto(tmp_path) as broker, driven(broker.port, host=None, look=nobody, anyone=True) as link:
        link.until_told("connected")
        assert str(link.link.place) == f"127.0.0.1:{broker.port}"
    with driven(free_port(), host=None, look=nobody, anyone=True) as link:
        said = link.until_told("looking for brokers by mDNS failed: no; no broker for site")
        assert said.endswith("set broker.host")
