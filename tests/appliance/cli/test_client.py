"""A paho client from the arguments; what it does on a wire is tested with sub and pub."""

import ssl

import pytest
from authority import Authority
from paho.mqtt.enums import MQTTProtocolVersion
from processes import appliance, free_port, running

from appliance.cli import build_parser
from appliance.cli.client import connect, new_client, refused
from appliance.exits import CommandError, Exit


def ssl_error(reason):
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def parsed(line):
    return build_parser().parse_args(line.split())


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("31", MQTTProtocolVersion.MQTTv31),
        ("mqttv311", MQTTProtocolVersion.MQTTv311),
        ("mqttv5", MQTTProtocolVersion.MQTTv5),
    ],
)
def test_the_version_is_the_one_asked_for(name, version):
    assert new_client(parsed(f"sub -t a -V {name}")).protocol == version


def test_a_password_alone_is_refused():
    with pytest.raises(CommandError, match="-P needs a user name: add -u NAME"):
        new_client(parsed("sub -t a -P x"))


@pytest.mark.parametrize("content", [b"secret\n", b"secret\r\nmore", b"secret"])
def test_a_password_from_a_file(tmp_path, content):
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert new_client(parsed(f"sub -t a -u ann --pw-file {file}"))._password == b"secret"


def test_a_password_from_a_credential_of_the_service(tmp_path, monkeypatch):
    (tmp_path / "mqtt").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert new_client(parsed("sub -t a -u ann --pw-file mqtt"))._password == b"from systemd"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read (No such file or directory); check its path"),
        (b"\nsecret", "has no password in its first line; write it there"),
        (b"\xff", "is not UTF-8; name a text file"),
    ],
)
def test_a_file_without_a_password(tmp_path, content, complaint):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError) as caught:
        new_client(parsed(f"sub -t a -u ann --pw-file {file}"))
    assert str(caught.value) == f"--pw-file: {file} {complaint}"
    assert caught.value.exit_code == Exit.USAGE


def test_a_password_in_a_file_alone_is_refused(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(CommandError, match="-P needs a user name: add -u NAME"):
        new_client(parsed(f"sub -t a --pw-file {tmp_path / 'secret'}"))


@pytest.mark.parametrize("flag", ["-i", "-u", "-P"])
def test_what_no_packet_can_carry_is_refused(flag):
    with pytest.raises(CommandError, match=f"{flag} is longer than 65535 bytes; MQTT takes no more"):
        new_client(parsed(f"sub -t a {flag} {'x' * 70_000}"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ConnectionRefusedError(111, "Connection refused"), "Connection refused"), (ValueError("no"), "no")],
)
def test_nobody_there(monkeypatch, error, reason):
    arguments = parsed("sub -h pi -t a")
    client = new_client(arguments)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(client, "connect", refuse)
    with pytest.raises(CommandError) as caught:
        connect(client, arguments)
    assert str(caught.value).startswith(f"no broker at pi:1883 ({reason}); start one with")
    assert caught.value.exit_code == Exit.UNAVAILABLE


def test_the_usual_port_is_a_number_that_the_system_takes(monkeypatch):
    asked = []
    client = new_client(parsed("sub -t a"))
    monkeypatch.setattr(client, "connect", lambda *arguments, **_: asked.append(arguments))
    connect(client, parsed("sub -t a"))
    assert asked == [("localhost", 1883, 60)]
    assert type(asked[0][1]) is int  # a subclass of it is refused


def test_a_refusal_names_broker_and_cure():
    error = refused(parsed("sub -h pi -t a"), "the connection", "Not authorized")
    assert str(error).startswith("pi:1883 refused the connection (Not authorized); check -u, -P")


def test_files_of_tls(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    pair = f"--cert {certificate} --key {key}"
    assert new_client(parsed(f"sub -t a --cafile {authority.ca} {pair} --insecure"))._tls_insecure
    for options, words in (
        (f"--cafile {tmp_path}/no", r"^--cafile: .* cannot be read \(No such file or directory\); check its path"),
        (f"--cafile {key}", "will not do .*; give PEM files that belong together"),
        (f"--cafile {authority.ca} --cert {certificate} --key {authority.key}", "give PEM files that belong together"),
        (f"--cafile {authority.ca} --key {key}", "--key belongs to a certificate: add --cert FILE"),
    ):
        with pytest.raises(CommandError, match=words):
            new_client(parsed(f"sub -t a {options}"))


def test_nobody_is_trusted(monkeypatch):
    arguments = parsed("sub -h pi -t a -L mqtts://pi")
    client = new_client(arguments)

    def refuse(*_, **__):
        error = ssl.SSLCertVerificationError(1, "x")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(client, "connect", refuse)
    with pytest.raises(CommandError) as caught:
        connect(client, arguments)
    assert str(caught.value).startswith("no trust between this client and pi:8883 (self-signed certificate); name the")
    assert caught.value.exit_code == Exit.UNAVAILABLE


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ways(home):
    """Every way to one running service, as options."""
    authority = Authority(home / "authority")
    mqtt, web, mqtts, https, strict = (free_port() for _ in range(5))
    files = f'certificate = "{authority.certificate}"\nkey = "{authority.key}"\n'
    config = home / "appliance.toml"
    config.write_text(
        f'[[listener]]\nport = {mqtts}\n{files}client_ca = "{authority.ca}"\n'
        f'[[listener]]\nserve = "web"\nport = {https}\n{files}'
        f'[[listener]]\nport = {strict}\n{files}client_ca = "{authority.ca}"\nrequire_client_certificate = true\n'
    )
    options = ["--config", config, "--data", home / "d", "--mqtt-port", mqtt, "--http-port", web]
    with running(home, "run", *options) as service:
        assert f"mqtts://127.0.0.1:{mqtts}, https://127.0.0.1:{https}/" in service.line()
        trust = ["--cafile", authority.ca]
        certificate, key = authority.issue("client")
        yield {
            "mqtt": ["-L", f"mqtt://127.0.0.1:{mqtt}"],
            "ws": ["-L", f"ws://127.0.0.1:{web}"],
            "mqtts": ["-L", f"mqtts://127.0.0.1:{mqtts}", *trust],
            "mqtts with a certificate": ["-h", "127.0.0.1", "-p", mqtts, *trust, "--cert", certificate, "--key", key],
            "wss": ["-L", f"wss://127.0.0.1:{https}/mqtt", *trust],
            "wrong path": ["-L", f"ws://127.0.0.1:{web}/wrong"],
            "wrong port": ["-L", f"ws://127.0.0.1:{mqtt}/mqtt"],
            "TLS to plain": ["-L", f"mqtts://127.0.0.1:{mqtt}", *trust],
            "TLS to the plain page": ["-L", f"wss://127.0.0.1:{web}", *trust],
            "plain to TLS": ["-L", f"mqtt://127.0.0.1:{mqtts}"],
            "no certificate": ["-L", f"mqtts://127.0.0.1:{strict}", *trust],
        }


@pytest.mark.parametrize("version", ["mqttv311", "5"])
@pytest.mark.parametrize("way", ["mqtt", "ws", "mqtts", "mqtts with a certificate", "wss"])
def test_every_way_to_the_broker(home, ways, way, version):
    sent = appliance(home, "pub", *ways[way], "-V", version, "-t", "way", "-m", way, "-q", "1", "-r")
    assert (sent.returncode, sent.stderr) == (0, "")
    heard = appliance(home, "sub", *ways[way], "-V", version, "-t", "way", "-C", "1", "-W", "20")
    assert (heard.returncode, heard.stdout, heard.stderr) == (0, f"{way}\n", "")


def test_without_the_authority_nobody_is_trusted(home, ways):
    done = appliance(home, "pub", *ways["mqtts"][:2], "-t", "a", "-m", "x")
    assert done.returncode == Exit.UNAVAILABLE
    assert "name the authority of its certificate with --cafile" in done.stderr


@pytest.mark.parametrize("command", [["pub", "-m", "x"], ["sub"]])
@pytest.mark.parametrize("way", ["plain to TLS", "no certificate"])
def test_who_is_shut_out_learns_so_at_once(home, ways, way, command):
    done = appliance(home, *command, "-t", "a", *ways[way])
    assert done.returncode == Exit.UNAVAILABLE
    place = ways[way][1].partition("://")[2]
    assert done.stderr == (
        f"appliance: {place} closed the connection before it answered; "
        "does it want TLS (--cafile), or a client certificate (--cert, --key)?\n"
    )


ELSEWHERE = [
    ("wrong path", "something answers at {place}, but not MQTT over WebSocket at /wrong; the path is /mqtt"),
    ("wrong port", "something answers at {place}, but not MQTT over WebSocket at /mqtt; use the page's port"),
    ("TLS to plain", "{place} does not speak TLS ("),
    ("TLS to the plain page", "{place} does not speak TLS ("),
]


@pytest.mark.parametrize(("way", "words"), ELSEWHERE)
def test_a_broker_that_is_there_in_another_way(home, ways, way, words):
    done = appliance(home, "pub", "-t", "a", "-m", "x", *ways[way])
    assert done.returncode == Exit.UNAVAILABLE
    place = ways[way][1].partition("://")[2].partition("/")[0]
    assert done.stderr.startswith(f"appliance: {words.format(place=place)}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "does not speak TLS (Connection reset by peer); "),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "does not speak TLS ("),
        (ssl_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "closed the connection before it answered; "),
    ],
)
def test_why_tls_did_not_come_about(monkeypatch, error, words):
    arguments = parsed("sub -h pi -t a -L mqtts://pi")
    client = new_client(arguments)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(client, "connect", refuse)
    with pytest.raises(CommandError) as caught:
        connect(client, arguments)
    assert str(caught.value).startswith(f"pi:8883 {words}")
