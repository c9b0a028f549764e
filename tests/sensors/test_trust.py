"""What is wrong with the files of TLS, or with what the broker shows, is said in one line with the cure."""

import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from authority import Authority

import sensors.trust
from appliance.clock import SYNCED, UNSYNCED
from appliance.identity.names import names_of
from appliance.identity.setting_up import Clock, files_in, set_up
from sensors.trust import Trust, TrustError


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("theirs"))


def trust(ours, pair=(), **files):
    named = dict(zip(("cert_file", "key_file"), map(str, pair), strict=False))
    return Trust(ca_file=str(ours.ca), **{**named, **files})


@contextmanager
def served(pair, client_ca=None, newest=None):
    """A server that shakes hands once, says a byte and waits; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    if newest is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                try:
                    with context.wrap_socket(connection, server_side=True) as encrypted:
                        encrypted.sendall(b"x")
                        encrypted.recv(1)
                except OSError:
                    with suppress(OSError):
                        connection.recv(4096)  # closing with unread bytes would take the alert back

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(10)


def shaken(trust, port, name="127.0.0.1"):
    """Shake hands, and wait for the server's word; gives the error, or the version of TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with trust.context(name).wrap_socket(plain, server_hostname="whatever") as encrypted:
                version = encrypted.version()
                encrypted.recv(1)
                return version
        except ssl.SSLError as error:
            return trust.distrusted(f"127.0.0.1:{port}", name, error)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_broker_of_our_authority_is_trusted_by_its_name(ours, name):
    with served((ours.certificate, ours.key)) as port:
        assert shaken(trust(ours), port, name) == "TLSv1.3"


def test_the_agent_shows_its_certificate(ours):
    with served((ours.certificate, ours.key), client_ca=ours.ca) as port:
        assert shaken(trust(ours, ours.issue("house")), port) == "TLSv1.3"


def test_certificate_and_key_may_share_a_file(ours, tmp_path):
    certificate, key = ours.issue("both")
    (tmp_path / "both.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    with served((ours.certificate, ours.key), client_ca=ours.ca) as port:
        assert shaken(trust(ours, cert_file=str(tmp_path / "both.pem")), port) == "TLSv1.3"


def test_another_authority_is_not_trusted(ours, theirs):
    with served((theirs.certificate, theirs.key)) as port:
        said = shaken(trust(ours), port)
    assert "is not from the authorities of broker.ca_file; name its authority's file" in said
    with served((theirs.certificate, theirs.key)) as port:
        assert "that this system knows; name its authority's file with broker.ca_file" in shaken(Trust(), port)


def test_a_paired_agent_is_told_to_pair_anew(ours, theirs):
    """Whoever has the hub's address, or the hub itself after it was set up anew: the agent says nothing to it."""
    told = "is not that of the hub with which this agent was paired; pair anew with `sensors pair`"
    for whose, name in ((theirs, "127.0.0.1"), (ours, "other.local")):
        with served((whose.certificate, whose.key)) as port:
            assert told in shaken(trust(ours, is_paired=True), port, name)
    with served((theirs.certificate, theirs.key)) as port:
        assert told in shaken(Trust(is_paired=True), port)
    with served((ours.certificate, ours.key)) as port:
        assert shaken(trust(ours, is_paired=True), port, "localhost") == "TLSv1.3"


OTHER_TIMES = pytest.mark.parametrize(
    ("from_days", "to_days", "part"),
    [(-9, -2, "has expired; renew it on the broker"), (2, 9, "is not valid yet by this computer's clock")],
)


def another_time(ours, from_days, to_days):
    at = datetime.now(UTC)
    times = {"not_before": at + timedelta(days=from_days), "not_after": at + timedelta(days=to_days)}
    return ours.issue(f"another-time{to_days}", "127.0.0.1", **times)


@OTHER_TIMES
def test_a_certificate_of_another_time(ours, monkeypatch, from_days, to_days, part):
    monkeypatch.setattr(sensors.trust, "clock_quality", lambda: SYNCED)
    with served(another_time(ours, from_days, to_days)) as port:
        assert part in shaken(trust(ours), port)


@OTHER_TIMES
def test_a_clock_that_nobody_keeps_right_judges_no_certificate_of_the_homes_own(
    ours, theirs, monkeypatch, from_days, to_days, part
):
    monkeypatch.setattr(sensors.trust, "clock_quality", lambda: UNSYNCED)
    with served(another_time(ours, from_days, to_days)) as port:
        assert shaken(trust(ours), port) == "TLSv1.3"
    with served(another_time(ours, from_days, to_days)) as port:
        assert "for another name than hub.local" in shaken(trust(ours), port, "hub.local")
    with served(another_time(theirs, from_days, to_days)) as port:
        assert "is not from the authorities" in shaken(trust(ours), port)
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.ca))  # the system's own authorities are judged by any clock
    with served(another_time(ours, from_days, to_days)) as port:
        assert part in shaken(Trust(), port)


@pytest.mark.parametrize("at", ["1970-01-01 00:00:05", "2025-03-01 00:00:00", "2026-11-26 00:00:00"])
def test_the_hubs_own_certificate_is_good_to_every_clock_that_is_not_set(tmp_path, monkeypatch, at):
    """The hub may have made it before its own clock was set, or after; the agent wakes when it does."""
    monkeypatch.setattr(sensors.trust, "clock_quality", lambda: UNSYNCED)
    for is_set in (False, True):
        files = files_in(tmp_path / str(is_set))
        clock = Clock(datetime.fromisoformat(f"{at}+00:00"), is_set=is_set)
        set_up(files, names=names_of("hub", []), managed_file=None, admin=lambda: "admin", machine="a", clock=clock)
        with served((files.certificate, files.key)) as port:
            assert shaken(Trust(ca_file=str(files.ca)), port, "hub.local") == "TLSv1.3"


def test_a_certificate_for_another_name(ours):
    with served(ours.issue("elsewhere", "elsewhere.example.org")) as port:
        said = shaken(trust(ours), port, "hub.local")
    assert "is for another name than hub.local; set broker.host to a name that stands in it" in said
    with served(ours.issue("elsewhere", "elsewhere.example.org")) as port:
        assert "is for another name than 127.0.0.1" in shaken(trust(ours), port)


def test_a_broker_that_wants_a_certificate_says_so(ours, theirs):
    with served((ours.certificate, ours.key), client_ca=ours.ca) as port:
        said = shaken(trust(ours), port)
    assert said.endswith("wants a client certificate (broker.cert_file, broker.key_file)")
    with served((ours.certificate, ours.key), client_ca=ours.ca) as port:
        said = shaken(trust(ours, theirs.issue("stranger")), port)
    assert "does not accept our certificate" in said
    assert "whether it wants another certificate" in trust(ours, ours.issue("a")).ended("hub:8883", "UNEXPECTED_EOF")


def test_old_versions_of_tls_are_not_spoken(ours):
    with served((ours.certificate, ours.key), newest=ssl.TLSVersion.TLSv1_2) as port:
        assert shaken(trust(ours), port) == "TLSv1.2"
    context = trust(ours).context("127.0.0.1")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert "1.2 or later" in trust(ours).ended("hub:8883", "TLSV1_ALERT_PROTOCOL_VERSION")


def test_what_does_not_speak_tls_says_so(ours):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x20\x02\x00\x00" + bytes(8))
                connection.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        said = shaken(trust(ours), server.getsockname()[1])
        thread.join(10)
    assert "does not speak TLS" in said
    assert "broker.tls = false" in said


def broken(ours, theirs, tmp_path):
    certificate, key = ours.issue("agent")
    (tmp_path / "text.pem").write_text("hello\n")
    sealed = tmp_path / "sealed.key"
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-out", sealed, "-aes128", "-passout", "pass:x"], check=True, timeout=30
    )
    rsa = tmp_path / "rsa.key"
    subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True, timeout=30)
    text = str(tmp_path / "text.pem")
    return {
        "no ca": (Trust(ca_file="/no/such"), "ca_file", "/no/such cannot be read (No such file or directory)"),
        "ca is no pem": (Trust(ca_file=text), "ca_file", "holds no certificate in PEM form"),
        "no certificate": (trust(ours, ("/no/such", key)), "cert_file", "cannot be read"),
        "no key": (trust(ours, (certificate, "/no/such")), "key_file", "cannot be read"),
        "certificate is no pem": (trust(ours, (text, key)), "cert_file", "holds no certificate"),
        "key is no pem": (trust(ours, (certificate, text)), "key_file", "holds no private key"),
        "key not in the file": (trust(ours, (certificate,)), "cert_file", "holds no private key"),
        "key of another": (trust(ours, (certificate, theirs.key)), "key_file", "is not the key of"),
        "key of another kind": (trust(ours, (certificate, rsa)), "key_file", "is not the key of"),
        "key with a passphrase": (trust(ours, (certificate, sealed)), "key_file", "wants a passphrase"),
    }


def test_every_file_that_cannot_be_used_is_named_with_its_cure(ours, theirs, tmp_path):
    for case, (broken_trust, key, part) in broken(ours, theirs, tmp_path).items():
        with pytest.raises(TrustError) as caught:
            broken_trust.context("127.0.0.1")
        assert (caught.value.key, part in caught.value.problem) == (key, True), case
        assert str(caught.value) == f"broker.{key}: {caught.value.problem}; {caught.value.cure}"
        assert "\n" not in str(caught.value)
        assert caught.value.cure
