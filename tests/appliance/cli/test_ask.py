"""Commands ask the service that runs, and find the files of one that does not."""

import errno
from pathlib import Path

import pytest
from processes import appliance, free_port, running

from appliance.cli import ask, build_parser, main, service
from appliance.control import ControlClient, ControlUnavailable
from appliance.exits import Exit
from appliance.places import SYSTEM_DATA_DIR


@pytest.mark.parametrize("command", [("status",), ("history", "home/x")])
def test_nobody_there(tmp_path, command):
    done = appliance(tmp_path, *command, "--data", tmp_path / "none")
    assert done.returncode == Exit.UNAVAILABLE
    assert done.stderr.startswith("appliance: no appliance answers")
    assert done.stderr.endswith("or name it with --config or --data\n")


@pytest.mark.parametrize("command", [("status",), ("history", "home/x")])
def test_a_service_that_does_not_let_us_ask_says_why(tmp_path, monkeypatch, capsys, command):
    def refuse(*_, **__):
        raise ControlUnavailable("not allowed to open it; use sudo")

    def hide(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ControlClient, "get", refuse)
    monkeypatch.setattr(Path, "exists", hide)  # root may look everywhere, so a mode proves nothing
    assert main([*command, "--data", str(tmp_path)]) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "appliance: not allowed to open it; use sudo\n"


ASKING = [
    ("status",),
    ("pair",),
    ("forget", "kitchen"),
    ("history", "home/x"),
    ("prove", "kitchen"),
    ("export",),
    ("backup", "copy.db"),
    ("restore", "copy.db"),
    ("sub", "--at", "1h"),
    ("devices", "list"),
    ("doctor",),
    ("setup",),
    ("run",),
]


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_a_service_is_named_by_its_configuration_or_its_directory(command):
    named = build_parser().parse_args([*command, "--config", "own.toml", "--data", "d"])
    assert (named.config, named.data) == (Path("own.toml"), Path("d"))


def place(*options):
    return ask.place_of(build_parser().parse_args(["status", *map(str, options)]))


def test_the_configuration_names_the_directory(tmp_path, monkeypatch):
    config = tmp_path / "appliance.toml"
    config.write_text('data_dir = "d"\n')
    assert place() == (None, None)
    assert place("--config", config) == (tmp_path / "d", config)
    assert place("--config", config, "--data", "e") == (Path("e"), None)
    config.write_text('site = "cabin"\n')
    monkeypatch.setattr(service, "usual_data_dir", lambda: tmp_path / "usual")
    assert place("--config", config) == (tmp_path / "usual", config)
    monkeypatch.setattr(ask, "SYSTEM_CONFIG", config)
    assert place("--config", config) == (SYSTEM_DATA_DIR, None)  # whoever asks


def test_a_configuration_that_is_wrong_names_no_service(tmp_path):
    config = tmp_path / "appliance.toml"
    config.write_text("data_dir = 1\n")
    with pytest.raises(ask.CommandError, match=r"appliance.toml:1: data_dir: ") as caught:
        place("--config", config)
    assert caught.value.exit_code == Exit.CONFIG


def test_the_database_of_the_service_that_answers(tmp_path):
    data_dir = tmp_path / "d"
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", free_port(), "--http-port", "0") as one:
        one.line()
        assert ask.database_in_use(ask.Place(data_dir)) == data_dir / "appliance.db"
        one.stop()
    assert ask.database_in_use(ask.Place(data_dir)) == data_dir / "appliance.db"
    with pytest.raises(ask.CommandError, match="no appliance answers and there is no history"):
        ask.database_in_use(ask.Place(tmp_path / "none"))
