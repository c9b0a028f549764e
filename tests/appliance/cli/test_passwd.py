import getpass
import io
import sys

import pytest

from appliance.auth.password_file import parse
from appliance.auth.passwords import is_right
from appliance.cli import main
from appliance.exits import Exit

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture
def passwd(monkeypatch, tmp_path):
    """Run the command on one file; gives its exit code."""
    path = tmp_path / "passwords"

    def run(user, *more, stdin=b"", terminal=()):
        answers = iter(terminal)
        kind = Terminal if terminal else io.TextIOWrapper
        monkeypatch.setattr(sys, "stdin", kind(io.BytesIO(stdin)))
        monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))
        return main(["passwd", str(path), user, *more])

    run.path = path
    return run


def right(path, user, password):
    return is_right(parse(path.read_text())[user], password)


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (b"secret\n", b"secret"),
        (b"secret\r\nmore\n", b"secret"),
        (b"no end", b"no end"),
        (b" blanks \n", b" blanks "),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"x" * 65_535 + b"\n", b"x" * 65_535),
    ],
)
def test_the_password_is_the_first_line_of_standard_input(passwd, capsys, stdin, password):
    assert passwd("ann", stdin=stdin) == Exit.OK
    assert right(passwd.path, "ann", password)
    assert passwd.path.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out.startswith(f"ann has this password in {passwd.path}; a running service")


def test_a_terminal_is_asked_twice(passwd):
    assert passwd("ann", terminal=("pässwörd", "pässwörd")) == Exit.OK
    assert right(passwd.path, "ann", "pässwörd".encode())


def test_two_that_differ_change_nothing(passwd, capsys):
    assert passwd("ann", terminal=("one", "two")) == Exit.USAGE
    assert not passwd.path.exists()
    assert "not the same; try again" in capsys.readouterr().err


@pytest.mark.parametrize("stdin", [b"", b"\n", b"x" * 65_536])
def test_what_is_no_password(passwd, capsys, stdin):
    assert passwd("ann", stdin=stdin) == Exit.USAGE
    assert not passwd.path.exists()
    assert "a password has 1 to 65535 bytes; give one on a line" in capsys.readouterr().err


@pytest.mark.parametrize("user", ["", "a:b", "#a", "a\nb"])
def test_what_is_no_name(passwd, capsys, user):
    assert passwd(user, stdin=b"secret\n") == Exit.USAGE
    assert "user name" in capsys.readouterr().err


def test_change_and_delete(passwd, capsys):
    passwd("ann", stdin=b"one\n")
    passwd("home/#", stdin=b"two\n")
    passwd("ann", stdin=b"three\n")
    assert right(passwd.path, "ann", b"three")
    assert not right(passwd.path, "ann", b"one")
    assert passwd("ann", "--delete") == Exit.OK
    assert list(parse(passwd.path.read_text())) == ["home/#"]
    capsys.readouterr()
    before = passwd.path.read_text()
    assert passwd("ann", "--delete") == Exit.NOTHING
    assert capsys.readouterr().err == f"appliance: there is no user ann in {passwd.path}; check the name\n"
    assert passwd.path.read_text() == before
    assert passwd("home/#", "--delete") == Exit.OK
    assert passwd.path.read_text() == "# nobody\n"


@pytest.mark.parametrize(
    ("content", "complaint"), [(f"ann:{HASH}\nbob".encode(), ":2: not name:hash; "), (b"\xff", ": not UTF-8; ")]
)
def test_a_file_of_something_else_is_left_alone(passwd, capsys, content, complaint):
    passwd.path.write_bytes(content)
    assert passwd("ann", stdin=b"secret\n") == Exit.CONFIG
    assert passwd.path.read_bytes() == content
    error = capsys.readouterr().err
    assert complaint in error
    assert "secret" not in error


def test_a_directory_that_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    assert main(["passwd", str(tmp_path / "no" / "where"), "ann"]) == Exit.DATA
    complaint = f"cannot be written (No such file or directory); make the folder {tmp_path}/no\n"
    assert complaint in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    assert main(["passwd", "/proc/passwords", "ann"]) == Exit.DATA
    assert "run as its owner, and check its directory" in capsys.readouterr().err


def test_in_a_file_of_mosquittos_one_line_becomes_ours(passwd):
    digest = "zZWcVuuYwhw2SxxOrCPvO2fxZbt8uBNXaW4z3nCH+S2h+TevJZUDanN9RdixjZgBDOOj94UxXZs4oQoM3Cwh4A=="
    ann, bob = f"ann:$7$101$QNd2oT5s9lkVXFP7${digest}\n", f"bob:$6$QNd2oT5s9lkVXFP7${digest}\n"
    passwd.path.write_text(f"# of Mosquitto\n{ann}{bob}")
    assert right(passwd.path, "bob", b"right")
    assert passwd("ann", stdin=b"new\n") == Exit.OK
    comment, mine, other = passwd.path.read_text().splitlines(keepends=True)
    assert (comment, other) == ("# of Mosquitto\n", bob)
    assert mine.startswith("ann:$argon2id$")
    assert right(passwd.path, "ann", b"new")


@pytest.mark.parametrize("where", ["etc", "elsewhere"])
def test_what_root_makes_beside_the_services_configuration_the_service_reads(monkeypatch, tmp_path, where):
    etc, lib, given = tmp_path / "etc", tmp_path / "lib", []
    for folder in (etc, lib, tmp_path / "elsewhere"):
        folder.mkdir()
    monkeypatch.setattr("appliance.cli.passwd.SYSTEM_CONFIG", etc / "appliance.toml")
    monkeypatch.setattr("appliance.cli.passwd.SYSTEM_DATA_DIR", lib)
    monkeypatch.setattr("appliance.auth.password_file.edit", lambda _path, _change, like: given.append(like))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    assert main(["passwd", str(tmp_path / where / "passwords"), "ann"]) == Exit.OK
    assert given == [lib if where == "etc" else None]
