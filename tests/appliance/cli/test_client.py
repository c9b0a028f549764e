"""A paho client from the arguments; what it does on a wire is tested with sub and pub."""

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from appliance.cli import build_parser
from appliance.cli.client import connect, new_client, refused
from appliance.exits import CommandError, Exit


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


def test_a_refusal_names_broker_and_cure():
    error = refused(parsed("sub -h pi -t a"), "the connection", "Not authorized")
    assert str(error).startswith("pi:1883 refused the connection (Not authorized); check -u, -P")
