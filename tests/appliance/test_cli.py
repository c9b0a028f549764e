"""The command line from outside: what it prints, how it ends, how quickly it starts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import PATIENCE_S, appliance, environment, eventually, free_port, running

from appliance import build
from appliance.cli import build_parser, main, service
from appliance.exits import CommandError, Exit

COMMANDS = [
    "demo",
    "run",
    "check",
    "setup",
    "doctor",
    "passwd",
    "devices",
    "pair",
    "status",
    "forget",
    "history",
    "prove",
    "export",
    "backup",
    "restore",
    "sub",
    "pub",
]


def test_version_and_help_come_from_standard_output(capsys):
    for arguments, text in ((["--version"], f"appliance {build.version()}\n"), (["--help"], "exit codes: 0 done;")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert text in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: appliance {command}" in capsys.readouterr().out


def test_these_are_all_commands():
    actions = {action.dest: action for action in build_parser()._actions}
    (commands,) = (action for action in actions.values() if action.choices)
    assert list(commands.choices) == COMMANDS


@pytest.mark.parametrize(
    "arguments", [[], ["dem"], ["run", "--mqtt", "1"], ["history"], ["demo", "--mqtt-port", "70000"]]
)
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == Exit.USAGE
    assert "error:" in capsys.readouterr().err


def command_that_raises(error):
    def command(_):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (CommandError("no\nroom; free some", Exit.DATA), Exit.DATA, "appliance: no room; free some\n"),
        (KeyboardInterrupt(), Exit.INTERRUPTED, ""),
    ],
)
def test_errors_become_a_line_and_a_code(monkeypatch, capsys, error, code, complaint):
    monkeypatch.setattr(service, "check_command", command_that_raises(error))
    assert main(["check"]) == code
    assert capsys.readouterr().err == complaint


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(service, "check_command", command_that_raises(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["check"])


def test_a_reader_that_has_seen_enough_is_no_error():
    schema = subprocess.Popen([sys.executable, "-m", "appliance", "check", "--schema"], stdout=-1, stderr=-1)
    with schema:
        schema.stdout.close()
        assert schema.stderr.read() == b""
        assert schema.wait() == 0


def redirected(tmp_path, redirection, *arguments, stdout=None):
    """Begin a command whose output goes where the shell's words say."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "appliance", *map(str, arguments)],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        stdout=stdout,
        text=True,
    )


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    with redirected(tmp_path, ">/dev/full", "check", "--schema") as schema:
        _, complaints = schema.communicate(timeout=PATIENCE_S)
    assert complaints.startswith("appliance: the output cannot be written (No space left on device); ")
    assert complaints.count("\n") == 1
    assert schema.returncode == Exit.DATA


@pytest.mark.parametrize(("redirection", "code"), [(">&-", Exit.CONFIG), (">&- 2>&-", Exit.CONFIG)])
def test_closed_outputs_change_nothing(tmp_path, redirection, code):
    with redirected(tmp_path, redirection, "check", tmp_path / "none.toml") as check:
        assert "Traceback" not in check.communicate(timeout=PATIENCE_S)[1]
    assert check.returncode == code


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "2>&-"])
def test_a_service_runs_on_where_nobody_hears_it(tmp_path, redirection):
    arguments = ("run", "--data", tmp_path, "--mqtt-port", 0, "--http-port", 0)
    read, write = os.pipe()
    os.close(read)  # where nothing else is said, a reader that has gone away
    with redirected(tmp_path, redirection, *arguments, stdout=write) as service:
        os.close(write)
        eventually((tmp_path / "control.sock").exists)
        time.sleep(0.1)  # it speaks right after
        os.kill(service.pid, signal.SIGINT)
        assert service.communicate(timeout=PATIENCE_S)[1] == ""
    assert service.returncode == Exit.OK


HEAVY = ("asyncio", "msgspec", "paho", "shutil", "sqlite3", "starlette", "uvicorn", "ssl", "http.client")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"], ["sub", "--help"]])
def test_commands_that_only_print_load_next_to_nothing(arguments):
    code = f"import sys\nfrom appliance.cli import main\ntry:\n main({arguments})\nexcept SystemExit: pass\n"
    code += f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


class TestRun:
    def test_a_file_and_what_overrides_it(self, tmp_path):
        config = tmp_path / "appliance.toml"
        ignored, port = free_port(), free_port()
        config.write_text(f'site = "farm"\ndata_dir = "here"\n[mqtt]\nport = {ignored}\n[web]\nport = 0\n')
        with running(tmp_path, "run", "--config", config, "--mqtt-port", port) as child:
            assert child.line() == f"appliance runs: MQTT on 127.0.0.1:{port}, no page, data in {tmp_path}/here\n"
            status = json.loads(appliance(tmp_path, "status", "--json", "--data", tmp_path / "here").stdout)
            assert status["site"] == "farm"
            assert child.stop() == (0, "")

    def test_without_a_file_loopback_is_served_from_the_users_own_directory(self, tmp_path):
        web, mqtt = free_port(), free_port()
        with running(tmp_path, "run", "--mqtt-port", mqtt, "--http-port", web) as child:
            assert child.line() == (
                f"appliance runs: MQTT on 127.0.0.1:{mqtt}, page at http://127.0.0.1:{web}/, "
                f"data in {tmp_path}/data/appliance\n"
            )
            assert child.stop() == (0, "")

    def test_a_broken_file(self, tmp_path):
        config = tmp_path / "appliance.toml"
        config.write_text("[mqtt]\nprot = 1\n")
        done = appliance(tmp_path, "run", "--config", config)
        assert (done.returncode, done.stdout) == (Exit.CONFIG, "")
        assert done.stderr == f'appliance: {config}:2: mqtt.prot: unknown key; did you mean "port"?\n'

    def test_a_data_directory_that_cannot_be(self, tmp_path):
        (tmp_path / "file").touch()
        done = appliance(tmp_path, "run", "--data", tmp_path / "file")
        assert done.returncode == Exit.DATA
        assert done.stderr.count("\n") == 1


class TestCheck:
    def test_a_good_file(self, tmp_path):
        config = tmp_path / "appliance.toml"
        config.write_text('site = "farm"\n')
        done = appliance(tmp_path, "check", config)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{config} is good\n", "")

    def test_a_bad_file(self, tmp_path):
        config = tmp_path / "appliance.toml"
        config.write_text("site = 5\n")
        done = appliance(tmp_path, "check", config)
        assert done.returncode == Exit.CONFIG
        assert done.stderr.startswith(f"appliance: {config}:1: site: 5 will not do; ")

    def test_the_published_schema_is_true(self, tmp_path):
        printed = appliance(tmp_path, "check", "--schema").stdout
        published = Path(__file__).parents[2] / "appliance" / "appliance.schema.json"
        assert printed == published.read_text(), "run: appliance check --schema > appliance/appliance.schema.json"
        schema = json.loads(printed)
        assert schema["$schema"].startswith("https://json-schema.org/")


def test_who_runs_the_service_does_not_keep_the_other_commands_in_memory():
    program = "import sys; from appliance.cli import build_parser; build_parser(*sys.argv[1:]); print(*sys.modules)"
    loaded = {
        word: subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True).stdout
        for word in ("run", "status")
    }
    assert "appliance.cli.status" in loaded["status"]
    assert "appliance.cli.status" not in loaded["run"]
