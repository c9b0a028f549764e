"""Commands ask the service that runs, and find the files of one that does not."""

import errno
from pathlib import Path

import pytest
from processes import appliance, free_port, running

from appliance.cli import ask, main
from appliance.control import ControlClient, ControlUnavailable
from appliance.exits import Exit


@pytest.mark.parametrize("command", [("status",), ("history", "home/x")])
def test_nobody_there(tmp_path, command):
    done = appliance(tmp_path, *command, "--data", tmp_path / "none")
    assert done.returncode == Exit.UNAVAILABLE
    assert done.stderr.startswith("appliance: no appliance answers")
    assert done.stderr.endswith("or name its directory with --data\n")


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


def test_the_database_of_the_service_that_answers(tmp_path):
    data_dir = tmp_path / "d"
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", free_port(), "--http-port", "0") as service:
        service.line()
        assert ask.database_in_use(data_dir) == data_dir / "appliance.db"
        service.stop()
    assert ask.database_in_use(data_dir) == data_dir / "appliance.db"
    with pytest.raises(ask.CommandError, match="no appliance answers and there is no history"):
        ask.database_in_use(tmp_path / "none")
