import io
import json
import os
import sys

import pytest

from appliance.auth.managed import parse
from appliance.auth.passwords import hashed, is_right
from appliance.cli import devices, main
from appliance.control import ControlRefused, ControlUnavailable
from appliance.exits import Exit


class Running:
    """Stands for services that run: what they were told, and how they answer."""

    def __init__(self):
        self.told = []
        self.answers = []

    def client(self, path, _timeout_s):
        running = self

        class Client:
            def post(self, target, body):
                running.told.append((path.name, target, body))
                answer = running.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        return Client()


@pytest.fixture
def running(monkeypatch):
    running = Running()
    monkeypatch.setattr("appliance.control.ControlClient", running.client)
    return running


@pytest.fixture
def command(monkeypatch, tmp_path, running, capsys):
    """Run `appliance devices` on a file of this test; gives exit code, output and complaints."""
    config = tmp_path / "appliance.toml"
    config.write_text('data_dir = "data"\n[accounts]\nmanaged_file = "accounts.json"\n')
    (tmp_path / "data").mkdir()

    def run(*arguments, stdin=b"", answers=None):
        running.answers = answers or []
        if answers:
            (tmp_path / "data" / "control.sock").touch()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["devices", "--config", str(config), *arguments])
        (tmp_path / "data" / "control.sock").unlink(missing_ok=True)
        return code, *capsys.readouterr()

    run.config = config
    run.file = tmp_path / "accounts.json"
    run.accounts = lambda: parse(run.file.read_text())
    return run


READ = {"certificates": 0, "accounts": {"ousted": [], "changed": [], "new": ["tablet"]}, "problems": ["rules.toml: x"]}
NOBODY = "appliance: no appliance answers: it goes by this when it is started\n"


def test_a_device_gets_a_secret_that_is_told_once(command):
    code, out, err = command(
        "add", "attic", "--role", "device", "--publish", "home/attic/a", "--publish", "home/attic/b"
    )
    assert (code, err) == (Exit.OK, NOBODY)
    words, secret, _ = out.split("\n")
    assert words == "attic may come in as device; its secret, told this once:"
    account = command.accounts()["attic"]
    assert is_right(account.password, secret.encode())
    assert (account.role, account.publish, account.by) == ("device", ("home/attic/a", "home/attic/b"), "command")
    assert account.made.endswith("Z")
    assert secret not in command.file.read_text()
    assert command.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("source", ["file", "-"])
def test_a_secret_may_be_given(command, tmp_path, source):
    given = tmp_path / "secret"
    given.write_bytes(b" p\xc3\xa4ss \r\nmore\n")
    code, out, _ = command(
        "add",
        "hass",
        "--role",
        "integration",
        "--secret",
        str(given) if source == "file" else "-",
        stdin=given.read_bytes(),
    )
    assert (code, out) == (Exit.OK, "hass may come in as integration\n")
    assert is_right(command.accounts()["hass"].password, " päss ".encode())


def test_the_same_again_changes_nothing(command):
    account = {"role": "device", "site": "home", "agent": "attic", "publish": ["home/attic/a"], "secret": "s3cret"}
    first = command("add", "attic-pi", "--from", "-", "--json", stdin=json.dumps(account).encode())
    assert first[0] == Exit.OK
    assert json.loads(first[1]) == {"name": "attic-pi", "changed": True, "running": False}
    before = command.file.read_bytes(), command.file.stat().st_ino
    for more in ({}, {"by": "command"}):
        again = command("add", "attic-pi", "--from", "-", "--json", stdin=json.dumps(account | more).encode())
        assert again[0] == Exit.OK
        assert json.loads(again[1]) == {"name": "attic-pi", "changed": False, "running": False}
    assert (command.file.read_bytes(), command.file.stat().st_ino) == before
    del account["secret"]
    assert not json.loads(command("add", "attic-pi", "--from", "-", "--json", stdin=json.dumps(account).encode())[1])[
        "changed"
    ]
    account["publish"].append("home/attic/b")
    _, out, _ = command("add", "attic-pi", "--from", "-", "--json", stdin=json.dumps(account).encode())
    assert json.loads(out) == {"name": "attic-pi", "changed": True, "running": False}
    assert is_right(command.accounts()["attic-pi"].password, b"s3cret")
    assert (
        command("add", "attic-pi", "--from", "-", stdin=json.dumps(account).encode())[1]
        == "attic-pi is as asked already\n"
    )


def test_an_account_from_a_file_without_a_secret_tells_the_one_that_it_made(command, tmp_path):
    (tmp_path / "account").write_text('{"role": "reader"}')
    _, out, _ = command("add", "tablet", "--from", str(tmp_path / "account"), "--json")
    told = json.loads(out)
    assert is_right(command.accounts()["tablet"].password, told["secret"].encode())
    assert command.accounts()["tablet"].by == "inventory"


def test_options_stand_before_or_behind(command):
    code = main(["devices", "add", "tablet", "--role", "reader", "--config", str(command.config)])
    assert code == Exit.OK
    assert list(command.accounts()) == ["tablet"]


def test_the_list_shows_everything_but_secrets(command):
    assert command()[1] == "there is no account yet; make one with `appliance devices add`\n"
    command("add", "tablet", "--role", "reader")
    command("add", "attic", "--role", "device", "--publish", "home/attic/a", "--publish", "home/attic/b")
    for arguments in ((), ("list",)):
        code, out, err = command(*arguments)
        assert (code, err) == (Exit.OK, "")
        heading, attic, tablet = out.splitlines()
        assert heading.split() == ["NAME", "ROLE", "AGENT", "MADE", "PUBLISHES"]
        assert attic.split() == ["attic", "device", "attic", attic.split()[3], "home/attic/a", "home/attic/b"]
        assert tablet.split()[:3] == ["tablet", "reader", "-"]
    listed = json.loads(command("list", "--json")[1])
    assert [one["name"] for one in listed] == ["attic", "tablet"]
    assert listed[0]["publish"] == ["home/attic/a", "home/attic/b"]
    assert "argon2" not in json.dumps(listed)


def test_removing(command):
    for name in ("one", "two"):
        command("add", name, "--role", "reader")
    code, out, err = command("remove", "one", "three")
    assert (code, out) == (Exit.NOTHING, "one has no account any more\n")
    assert err == NOBODY + (
        f"appliance: three has no account in {command.file}; `appliance devices` lists those that have\n"
    )
    assert list(command.accounts()) == ["two"]
    code, out, _ = command("remove", "one", "--json")
    assert (code, json.loads(out)) == (Exit.NOTHING, {"names": [], "changed": False, "running": False})
    assert command("remove", "two")[0] == Exit.OK
    assert command.accounts() == {}


def test_the_last_admin_does_not_go_unnoticed(command):
    for name in ("one", "two"):
        command("add", name, "--role", "admin")
    assert "no admin" not in command("remove", "one")[2]
    told = f"appliance: no admin is left in {command.file}; `appliance devices add NAME --role admin` makes one\n"
    assert command("remove", "two")[::2] == (Exit.OK, NOBODY + told)
    command("add", "hall", "--role", "reader")
    assert "no admin" not in command("remove", "hall")[2]


def test_another_secret(command):
    command("add", "attic", "--role", "device", "--publish", "home/attic/a")
    before = command.accounts()["attic"]
    code, out, _ = command("secret", "attic")
    secret = out.splitlines()[1]
    after = command.accounts()["attic"]
    assert is_right(after.password, secret.encode())
    assert (after.role, after.publish) == (before.role, before.publish)
    assert json.loads(command("secret", "attic", "--json", "--secret", "-", stdin=b"given\n")[1]) == {
        "name": "attic",
        "changed": True,
        "running": False,
    }
    assert is_right(command.accounts()["attic"].password, b"given")
    code, _, err = command("secret", "nobody")
    assert (code, "nobody has no account in" in err) == (Exit.NOTHING, True)


def test_a_running_service_is_told(command, running):
    code, out, err = command("add", "tablet", "--role", "reader", "--json", answers=[READ])
    assert (code, err, json.loads(out)["running"]) == (Exit.OK, "", True)
    assert running.told == [("control.sock", "/api/reload", {})]
    assert command("remove", "tablet", answers=[READ])[2] == ""
    assert command("list", answers=[])[0] == Exit.OK
    assert len(running.told) == 2  # a list changes nothing


def test_the_system_s_service_is_told_where_its_data_are_elsewhere(command, running, monkeypatch, tmp_path):
    """As with `data_dir = "/srv/disk"`: its socket is in systemd's runtime directory all the same."""
    monkeypatch.setattr("appliance.places.SYSTEM_CONFIG", command.config)
    monkeypatch.setattr("appliance.places.SYSTEM_RUNTIME_DIR", tmp_path)
    (tmp_path / "control.sock").touch()
    code, _, err = command("add", "tablet", "--role", "reader", answers=[READ, READ])
    assert (code, err) == (Exit.OK, "")
    assert len(running.told) == 2
    assert command("remove", "tablet", "--data", str(tmp_path / "data"))[2] == NOBODY  # an option names the only one


def test_a_service_without_accounts_is_not_meant(command):
    answer = {"certificates": 0, "accounts": None, "problems": []}
    code, _, err = command("add", "tablet", "--role", "reader", answers=[answer])
    assert (code, err) == (Exit.OK, NOBODY)


def test_a_service_that_cannot_use_the_file_is_named(command):
    problem = "accounts.managed_file: 'tablet' has an account here and one in the password file; remove one"
    code, _, err = command("add", "tablet", "--role", "reader", answers=[READ | {"problems": [problem]}])
    assert code == Exit.UNAVAILABLE
    assert err == f"appliance: a running service does not go by it yet ({problem}); {devices.RETRIED}\n"


@pytest.mark.parametrize("trouble", [ControlRefused(404, "not here"), ControlUnavailable("it does not answer")])
def test_a_service_that_does_not_go_by_it_is_named(command, trouble):
    command("add", "tablet", "--role", "reader")
    code, out, err = command("remove", "tablet", answers=[trouble])
    assert (code, out) == (Exit.UNAVAILABLE, "tablet has no account any more\n")
    assert err == f"appliance: a running service does not go by it yet ({trouble}); {devices.RETRIED}\n"
    assert command.accounts() == {}


def test_a_socket_that_nobody_serves_is_none(command):
    left = ControlUnavailable("no appliance is running at /x/control.sock; start it")
    code, _, err = command("add", "tablet", "--role", "reader", answers=[left])
    assert (code, err) == (Exit.OK, NOBODY)


BAD = [
    (("add", "attic", "--role", "device", "--agent", "Attic"), b"", "'Attic' cannot be an agent's name; name the"),
    (("add", "a:b", "--role", "reader"), b"", "a user name has no : in it; choose another"),
    (("add", "x", "--role", "reader", "--publish", "a"), b"", "x: a list of topics adds nothing"),
    (("add", "x", "--from", "-"), b"{", "--from: no account (Input data was truncated); write it as in {"),
    (("add", "x", "--from", "-"), b'{"role": "reader", "passwort": "geheim"}', "unknown field `passwort`"),
    (("add", "x", "--from", "-"), b'{"role": "king", "secret": "geheim"}', "Invalid enum value 'king'"),
    (("add", "x", "--from", "-", "--agent", "a"), b"{}", "--agent goes with --role; write it into the JSON"),
    (("add", "x", "--role", "reader", "--secret", "-"), b"\n", "no secret on the first line of -"),
    (("add", "x", "--role", "reader", "--secret", "-"), b"\xff\n", "no secret on the first line of -"),
    (("add", "x", "--role", "reader", "--secret", "/no/where"), b"", "/no/where cannot be read (No such file"),
]


@pytest.mark.parametrize(("arguments", "stdin", "complaint"), BAD)
def test_what_is_refused_changes_nothing(command, arguments, stdin, complaint):
    code, out, err = command(*arguments, stdin=stdin)
    assert (code, out) == (Exit.USAGE, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert "geheim" not in err
    assert not command.file.exists()


def test_a_role_is_not_changed_by_mistake(command):
    command("add", "admin", "--role", "admin")
    before = command.file.read_bytes()
    code, _, err = command("add", "admin", "--from", "-", stdin=b'{"role": "device"}')
    assert (code, "admin has an account as admin; remove that first" in err) == (Exit.USAGE, True)
    assert command.file.read_bytes() == before


def test_who_is_in_the_password_file_is_nobody_here(command):
    command.config.write_text(
        'data_dir = "data"\n[accounts]\nmanaged_file = "accounts.json"\npassword_file = "passwords"\n'
    )
    (command.config.parent / "passwords").write_text(f"ann:{hashed(b'x')}\n")
    code, _, err = command("add", "ann", "--role", "reader")
    assert (code, f"ann has an account in {command.config.parent}/passwords; delete it there" in err) == (
        Exit.USAGE,
        True,
    )
    assert command("add", "bob", "--role", "reader")[0] == Exit.OK
    (command.config.parent / "passwords").unlink()
    assert command("add", "eve", "--role", "reader")[0] == Exit.OK


def test_a_configuration_without_the_file(command):
    command.config.write_text('site = "home"\n')
    code, _, err = command()
    assert (code, "accounts.managed_file: there is none; name one under [accounts]" in err) == (Exit.CONFIG, True)
    command.config.unlink()
    assert command()[0] == Exit.CONFIG


def test_a_damaged_file_is_told_and_left_alone(command):
    command.file.write_text("{")
    for arguments in ((), ("add", "x", "--role", "reader"), ("remove", "x"), ("secret", "x")):
        code, _, err = command(*arguments)
        assert (code, "not JSON; put a copy of it back" in err) == (Exit.CONFIG, True)
    command.file.write_bytes(b"\xff")
    assert command("add", "x", "--role", "reader")[0] == Exit.CONFIG
    assert command.file.read_bytes() == b"\xff"


def test_a_folder_that_is_not_there_or_takes_nothing(command, monkeypatch):
    command.config.write_text('[accounts]\nmanaged_file = "no/where/accounts.json"\n')
    code, _, err = command("add", "x", "--role", "reader")
    assert (code, f"make {command.config.parent}/no/where" in err) == (Exit.DATA, True)
    command.config.write_text('data_dir = "data"\n[accounts]\nmanaged_file = "accounts.json"\n')

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = command("add", "x", "--role", "reader")
    assert (code, "cannot be written (No space left on device)" in err) == (Exit.DATA, True)
