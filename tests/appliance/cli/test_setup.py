"""`appliance setup`: what it says, and with which exit code."""

import errno
import json
import ssl

import pytest

from appliance import private_file
from appliance.auth.managed import parse
from appliance.auth.passwords import hashed, is_right
from appliance.cli import build_parser, main, setup
from appliance.exits import CommandError, Exit
from appliance.hostname import local_name, own_name
from appliance.identity import first_secret, names, setting_up

CONFIG = """\
data_dir = "data"
{more}
[accounts]
managed_file = "data/accounts.json"

[[listener]]
address = "::"
certificate = "data/tls/server.pem"
key = "data/tls/server.key"

[[listener]]
serve = "web"
address = "::"
certificate = "data/tls/server.pem"
key = "data/tls/server.key"
names = ["hub.example.org"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "appliance.toml"
    path.write_text(CONFIG.format(more=""))
    return path


def setup_with(config, *more):
    arguments = build_parser().parse_args(["setup", "--config", str(config), *more])
    return arguments.command(arguments)


def test_a_first_run_says_what_it_made_and_a_second_that_it_made_nothing(config, capsys):
    assert setup_with(config) == Exit.OK
    said = capsys.readouterr().out
    folder = config.parent / "data"
    secret = (folder / "admin-secret").read_text().strip()
    assert secret not in said
    assert (
        f"made the account admin in {folder}/accounts.json; `appliance setup --config {config} --show-secret` shows"
        in said
    )
    for name in ("hub.example.org", local_name(), own_name()):
        assert name in said
    context = ssl.create_default_context(cafile=str(folder / "tls" / "ca.pem"))
    assert context.cert_store_stats()["x509_ca"] == 1
    assert setup_with(config) == Exit.OK
    assert capsys.readouterr().out == "nothing to do: everything is there, and nothing is due\n"


def test_as_json_it_says_whether_anything_changed(config, capsys):
    setup_with(config, "--json")
    first = json.loads(capsys.readouterr().out)
    setup_with(config, "--json")
    assert (first["changed"], len(first["made"])) == (True, 3)
    assert json.loads(capsys.readouterr().out) == {"changed": False, "made": []}


def test_the_first_password_is_shown_once(config, capsys):
    setup_with(config)
    capsys.readouterr()
    assert setup_with(config, "--show-secret") == Exit.OK
    shown = capsys.readouterr()
    account = parse((config.parent / "data" / "accounts.json").read_text())["admin"]
    assert is_right(account.password, shown.out.strip().encode())
    assert shown.out.strip() not in shown.err
    assert "password of admin" in shown.err
    with pytest.raises(
        CommandError, match=rf"it was shown, or .*; `appliance devices secret admin --config {config}` makes one"
    ) as caught:
        setup_with(config, "--show-secret")
    assert caught.value.exit_code == Exit.NOTHING


def test_who_wants_the_first_password_too_early_hears_what_makes_it(config):
    with pytest.raises(CommandError, match=f"or not made yet, by `appliance setup --config {config}`; ") as caught:
        setup_with(config, "--show-secret")
    assert caught.value.exit_code == Exit.NOTHING


def test_a_password_that_could_not_be_shown_is_kept(config, monkeypatch):
    setup_with(config)

    def full(_text):
        raise CommandError("standard output: full", Exit.DATA)

    monkeypatch.setattr(setup, "say", full)
    with pytest.raises(CommandError, match="full"):
        setup_with(config, "--show-secret")
    assert (config.parent / "data" / "admin-secret").exists()


def test_somebody_else_may_be_called_admin(config, tmp_path):
    (tmp_path / "passwords").write_text(f"admin:{hashed(b'secret')}\n")
    config.write_text(
        CONFIG.format(more="").replace("[accounts]", f'[accounts]\npassword_file = "{tmp_path}/passwords"')
    )
    setup_with(config)
    managed = tmp_path / "data" / "accounts.json"
    assert list(parse(managed.read_text())) == ["hub-admin"]
    for name in ("hub-admin", "hub-admin-2"):
        with (tmp_path / "passwords").open("a") as file:
            file.write(f"{name}:{hashed(b'secret')}\n")
    managed.unlink()
    setup_with(config)
    assert list(parse(managed.read_text())) == ["hub-admin-3"]


def test_the_first_password_is_of_the_account_that_was_made(config, tmp_path, capsys):
    setup_with(config)  # which made admin, a name that is taken in another file since
    (tmp_path / "passwords").write_text(f"admin:{hashed(b'secret')}\n")
    written = CONFIG.format(more="").replace("[accounts]", f'[accounts]\npassword_file = "{tmp_path}/passwords"')
    config.write_text(written)
    assert setup_with(config, "--show-secret") == Exit.OK
    assert "this is the password of admin; " in capsys.readouterr().err
    with pytest.raises(CommandError, match=r"`appliance devices secret admin .*makes one"):
        setup_with(config, "--show-secret")


def test_who_is_called_admin_is_asked_only_for_a_new_file(config, tmp_path, capsys):
    (tmp_path / "passwords").write_text("garbage\n")
    config.write_text(
        CONFIG.format(more="").replace("[accounts]", f'[accounts]\npassword_file = "{tmp_path}/passwords"')
    )
    with pytest.raises(CommandError, match=r"passwords:1: not name:hash; ") as caught:
        setup_with(config)
    assert caught.value.exit_code == Exit.CONFIG
    (tmp_path / "passwords").write_text("# nobody\n")
    setup_with(config)
    (tmp_path / "passwords").write_text("garbage\n")
    (tmp_path / "data" / "tls" / "server.pem").unlink()
    assert setup_with(config) == Exit.OK  # a certificate is renewed all the same
    assert "made the certificate" in capsys.readouterr().out


DAMAGED = [
    ("{{x", "not JSON; put a copy of it back, or remove it and make the accounts anew"),
    ("[[x", "not as `appliance devices` writes it (Expected `object`, got `array`); put a copy of it back"),
    ("", "it is empty; put a copy of it back"),
    (
        '{"accounts": {"x": {"password": "plain", "role": "admin"}}}',
        "account 'x': its password is not an argon2id hash",
    ),
]


@pytest.mark.parametrize(("text", "said"), DAMAGED)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_accounts_that_the_service_could_not_use_are_named_and_the_rest_is_made(config, capsys, text, said, options):
    setup_with(config)
    managed, certificate = config.parent / "data" / "accounts.json", config.parent / "data" / "tls" / "server.pem"
    managed.write_text(text)
    for made in ("the certificate", ""):
        if made:
            certificate.unlink()
        capsys.readouterr()
        with pytest.raises(CommandError) as caught:
            setup_with(config, *options)
        assert (str(caught.value).startswith(f"{managed}: {said}"), caught.value.exit_code) == (True, Exit.CONFIG)
        shown = capsys.readouterr().out
        assert certificate.exists()
        assert "nothing to do" not in shown
        assert (f"made {made} " in shown) == bool(made)
    assert managed.read_text() == text


def test_another_directory_is_named_in_what_is_to_be_done_next(config, tmp_path, capsys):
    config.write_text('[accounts]\nmanaged_file = "accounts.json"\n')
    setup_with(config, "--data", str(tmp_path / "a b"))
    assert f"`appliance setup --config {config} --data '{tmp_path}/a b' --show-secret` shows" in capsys.readouterr().out
    usual = setup._place(build_parser().parse_args(["setup", "--data", "/var/lib/appliance"]))
    assert usual == ""


def test_only_what_the_configuration_names_is_made(tmp_path, capsys):
    config = tmp_path / "appliance.toml"
    config.write_text('data_dir = "data"\n')
    assert setup_with(config) == Exit.OK
    assert capsys.readouterr().out == "nothing to do: everything is there, and nothing is due\n"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["machine-id", "setup.lock"]


def test_addresses_that_the_system_does_not_tell_are_left_out(config, monkeypatch, capsys):
    monkeypatch.setattr(names, "look", refuse)
    assert setup_with(config) == Exit.OK
    shown = capsys.readouterr()
    assert "the certificate names hosts alone" in shown.err
    assert "127.0.0.1, ::1, until" in shown.out


MISTAKES = [
    ("", "no such file"),
    ("data_dir = 1", r"appliance.toml:1: data_dir"),
    (
        CONFIG.format(more="").replace("tls/server.key", "tls/other.key"),
        r"appliance.toml:9: listener\[1\].key: .*set key",
    ),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_configuration_that_is_wrong(tmp_path, text, said):
    config = tmp_path / "appliance.toml"
    if text:
        config.write_text(text)
    with pytest.raises(CommandError, match=said) as caught:
        setup_with(config)
    assert caught.value.exit_code == Exit.CONFIG


def test_a_certificate_in_another_data_directory_is_no_riddle(config, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "SYSTEM_DATA_DIR", tmp_path / "system")
    config.write_text(CONFIG.format(more="").replace("data/tls", "system/tls"))
    with pytest.raises(
        CommandError, match=rf"it would not be made: .*/data; set data_dir = .{tmp_path}/system"
    ) as caught:
        setup_with(config)
    assert caught.value.exit_code == Exit.CONFIG


def refuse(*_arguments, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_nobody_from_what_was_made_before(config, monkeypatch, capsys):
    setup_with(config)
    monkeypatch.setattr(private_file, "write", refuse)
    monkeypatch.setattr(setup, "_is_ours", lambda *_: True)
    monkeypatch.setattr(setting_up.server_certificate, "due", lambda *_, **__: "it lacks a name")
    assert setup_with(config) == Exit.OK
    assert "No space left on device" in capsys.readouterr().err


def test_a_full_disk_is_an_error_while_something_is_missing(config, monkeypatch):
    monkeypatch.setattr(private_file, "write", refuse)
    with pytest.raises(CommandError, match=r"cannot be written \(No space left on device\); free some space") as caught:
        setup_with(config)
    assert caught.value.exit_code == Exit.DATA


def test_a_copied_card_does_not_go_on_with_the_originals_secrets(config, monkeypatch):
    setup_with(config)
    (config.parent / "data" / "machine-id").write_text("another\n")
    monkeypatch.setattr(setting_up.machine_mark, "this_machine", lambda: "mine")
    monkeypatch.setattr(private_file, "remove", refuse)
    with pytest.raises(CommandError) as caught:
        setup_with(config)
    assert caught.value.exit_code == Exit.DATA


def test_check_knows_what_is_still_to_be_made_and_run_asks_for_it(config, capsys):
    assert main(["check", str(config)]) == Exit.OK
    folder = config.parent / "data"
    rest = f"{folder}/tls/server.pem, {folder}/accounts.json"
    assert f"is good; `appliance setup --config {config}` has still to make {rest}" in capsys.readouterr().out
    assert main(["run", "--config", str(config)]) == Exit.CONFIG
    said = capsys.readouterr().err
    assert f"{config}:8: listener[1].certificate: {folder}/tls/server.pem is not there yet; " in said
    assert f"run `appliance setup --config {config}` first" in said
    setup_with(config)
    capsys.readouterr()
    assert main(["check", str(config)]) == Exit.OK
    assert capsys.readouterr().out == f"{config} is good\n"


def test_check_still_reads_the_files_that_are_there(config, capsys):
    setup_with(config)
    (config.parent / "data" / "tls" / "server.pem").unlink()
    (config.parent / "data" / "accounts.json").write_text("garbage")
    assert main(["check", str(config)]) == Exit.CONFIG
    assert "managed_file" in capsys.readouterr().err


def test_a_password_that_may_not_be_read(config, monkeypatch):
    def denied(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    setup_with(config)
    monkeypatch.setattr(first_secret, "kept", denied)
    with pytest.raises(CommandError, match=r"admin-secret cannot be read \(Permission denied\); .*with sudo") as caught:
        setup_with(config, "--show-secret")
    assert caught.value.exit_code == Exit.DATA
