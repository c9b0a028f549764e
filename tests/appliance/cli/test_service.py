"""Arguments of run, demo and check; their work is tested in test_cli, test_app and test_demo."""

import argparse
from pathlib import Path

import pytest
from accounts import write_accounts
from authority import Authority

from appliance.cli import build_parser, service
from appliance.config import ConfigError
from appliance.exits import CommandError, Exit
from appliance.settings import Settings


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1883", 1883), ("65535", 65535)])
def test_ports(text, number):
    assert service.port(text) == number


@pytest.mark.parametrize("text", ["", "-1", "65536", "1e3", "٣", "000001", "http"])
def test_what_is_no_port(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a number from 0 to 65535"):
        service.port(text)


def parsed(*arguments):
    return build_parser().parse_args(arguments)


def test_options_have_their_way_over_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[mqtt]\nport = 1\n[web]\nport = 2\n")
    settings, _ = service._settings(parsed("run", "--config", str(path), "--http-port", "0"))
    assert (settings.mqtt.port, settings.web.port) == (1, 0)
    assert service._settings(parsed("run")) == (Settings(), b"")


def test_a_listener_that_may_not_be_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[[listener]]\nport = 1884\n\n[[listener]]\nport = 1885\naddress = "0.0.0.0"\n')
    with pytest.raises(CommandError) as caught:
        service._settings(parsed("run", "--config", str(path)))
    assert str(caught.value) == (
        f"{path}:6: listener[2].address: 0.0.0.0 is beyond this computer; "
        "set accounts.password_file or managed_file first: other computers are served with accounts only"
    )
    assert caught.value.exit_code == Exit.CONFIG
    with pytest.raises(CommandError, match=r"listener\[2\]"):
        service.check_command(parsed("check", str(path)))


def test_two_ports_that_are_one_are_named_with_their_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[mqtt]\nport = 8080\n[web]\nport = 8080\n")
    with pytest.raises(CommandError, match=rf"^{path}:4: web.port: 127.0.0.1:8080 is also that of mqtt.port; "):
        service.check_command(parsed("check", str(path)))
    assert service._settings(parsed("run", "--config", str(path), "--mqtt-port", "1884"))[0].mqtt.port == 1884
    with pytest.raises(CommandError, match=r"a.toml:4: web.port: 127.0.0.1:7 is also that of mqtt.port; "):
        service._settings(parsed("run", "--config", str(path), "--mqtt-port", "7", "--http-port", "7"))


def test_files_of_a_listener_lie_beside_the_configuration(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[[listener]]\ncertificate = "server.pem"\nkey = "server.key"\n')
    Authority(tmp_path)
    settings, _ = service._settings(parsed("run", "--config", str(path)))
    assert settings.listener[0].certificate == str(tmp_path / "server.pem")


def test_who_names_no_file_where_the_systems_is_missing_is_told_how(monkeypatch, tmp_path):
    monkeypatch.setattr(service, "SYSTEM_CONFIG", tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"none.toml: there is no such file; make it, or name yours$"):
        service.configured(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"other.toml: there is no such file; check the path$"):
        service.configured(tmp_path / "other.toml")


FILES = [
    (
        'site = "home"\n[[listener]]\ncertificate = "hub.pem"\n',
        "3: listener[1].certificate: {folder}/hub.pem cannot be read (No such file or directory); check its path",
    ),
    (
        '[[listener]]\nkey = "server.pem"\ncertificate = "server.pem"\n',
        "2: listener[1].key: {folder}/server.pem holds no private key in PEM form; ",
    ),
    (
        '[[listener]]\ncertificate = "server.pem"\n',
        "2: listener[1].certificate: {folder}/server.pem holds no private key in PEM form; name its file with key",
    ),
    (
        '[accounts]\n\npassword_file = "none"\n',
        "3: accounts.password_file: {folder}/none: there is no such file; check the path",
    ),
    (
        '[accounts]\npassword_file = "passwords"\nrules_file = "."\n',
        "3: accounts.rules_file: {folder}: this is a directory; name the file in it",
    ),
    (
        '[accounts]\nrules_file = "rules.toml"\n',
        "2: accounts.rules_file: rules without passwords would believe any name; set password_file too",
    ),
    ("[accounts]\nanonymous = false\n", "2: accounts.anonymous: false without passwords lets nobody in; set "),
]


@pytest.mark.parametrize(("text", "line"), FILES)
def test_a_file_that_will_not_do_is_named_with_its_setting_and_line(tmp_path, text, line):
    path = tmp_path / "a.toml"
    path.write_text(text)
    Authority(tmp_path)
    write_accounts(tmp_path)
    for command in (
        lambda: service.check_command(parsed("check", str(path))),
        lambda: service._settings(parsed("run", "--config", str(path))),
    ):
        with pytest.raises(CommandError) as caught:
            command()
        assert str(caught.value).startswith(f"{path}:{line.format(folder=tmp_path)}")
        assert caught.value.exit_code == Exit.CONFIG


def test_a_mistake_in_a_file_is_named_where_it_stands(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[accounts]\npassword_file = "passwords"\n')
    (tmp_path / "passwords").write_text("\nann\n")
    with pytest.raises(CommandError, match=rf"^{tmp_path}/passwords:2: not name:hash; "):
        service.check_command(parsed("check", str(path)))


@pytest.mark.parametrize(
    ("data", "in_file", "expected"),
    [
        (["--data", "/x"], "/y", Path("/x")),
        (["--data", "x"], "/y", Path.cwd() / "x"),
        ([], "/y", Path("/y")),
        ([], "y", Path("/etc/appliance/y")),
        ([], "", Path("/usual")),
    ],
)
def test_data_directory(monkeypatch, data, in_file, expected):
    monkeypatch.setattr(service, "usual_data_dir", lambda: Path("/usual"))
    arguments = parsed("run", "--config", "/etc/appliance/appliance.toml", *data)
    assert service.data_dir_of(arguments, Settings(data_dir=in_file)) == expected


def test_the_demo_needs_a_port_for_its_agent():
    with pytest.raises(CommandError, match="needs a port: give --mqtt-port another number") as caught:
        service.demo_command(parsed("demo", "--mqtt-port", "0"))
    assert caught.value.exit_code == Exit.USAGE


def test_addresses_of_ipv6_stand_in_brackets():
    assert service._host("::1") == "[::1]"
    assert service._host("127.0.0.1") == "127.0.0.1"


def test_the_certificate_is_renewed_for_the_same_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = service._renewal(parsed("run", "--config", "a.toml"), Path("/data"))
    assert command[1:] == ["-m", "appliance", "setup", "--config", f"{tmp_path}/a.toml", "--data", "/data"]
    build_parser().parse_args(command[3:])
    assert service._renewal(parsed("run"), Path("/data")) == []


def test_root_does_not_run_in_the_place_of_the_services_user(monkeypatch, tmp_path):
    monkeypatch.setattr(service, "SYSTEM_DATA_DIR", tmp_path)
    monkeypatch.setattr(service, "shut_out", lambda owner: f"user-{owner}")
    with pytest.raises(CommandError, match=f"belongs to user-{tmp_path.stat().st_uid}, .* `sudo -u user-") as caught:
        service.run_command(parsed("run", "--data", str(tmp_path)))
    assert caught.value.exit_code == Exit.DATA
    assert list(tmp_path.iterdir()) == []
