"""The demo as a newcomer meets it: a service, a real agent as its child, and an end without losses."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import PATIENCE_S, appliance, environment, eventually, free_port, running

from appliance import demo, places
from appliance.control import ControlClient, ControlUnavailable
from appliance.exits import CommandError, Exit
from appliance.settings import Mqtt, Settings
from appliance.store.history_reader import HistoryReader
from sensors.config import load_config


def status(data_dir):
    try:
        return ControlClient(data_dir / "control.sock").get("/api/status")
    except ControlUnavailable:
        return {"agents": {}}


def is_agent(data_dir, state):
    return status(data_dir)["agents"].get("house") == state


def is_gone(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def rows_of(data_dir, topic="home/kitchen/temperature"):
    return HistoryReader(data_dir / "appliance.db").rows(topic, 0, 1e10)


def test_a_newcomers_quarter_of_an_hour(tmp_path):
    data_dir, port = tmp_path / "my data", free_port()
    arguments = ("demo", "--data", data_dir, "--mqtt-port", port, "--http-port", 0)
    with running(tmp_path, *arguments) as service:
        text = "".join(service.lines_until("Ctrl-C"))
        assert f"mqtt://127.0.0.1:{port}\n" in text
        assert str(data_dir) in text
        sub, pub, history = re.findall(r"^  (\S*python.* -m appliance .*)$", text, re.MULTILINE)
        eventually(lambda: is_agent(data_dir, "online"))

        # The printed commands work as they stand.
        def shell(command):
            return subprocess.run(
                ["/bin/sh", "-c", command],
                env=environment(tmp_path),
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )

        seen = shell(f"{sub} -C 20").stdout
        assert re.search(r"^home/devices/house/availability online$", seen, re.MULTILINE)
        relay = f"{shlex.quote(sys.executable)} -m appliance sub -p {port} -t home/kitchen/relay -C 1"
        assert shell(relay).stdout == "OFF\n"
        assert shell(pub).returncode == 0
        eventually(lambda: shell(relay).stdout == "ON\n")
        eventually(lambda: " °C" in shell(history).stdout)

        # Killed, the agent is offline at once and starts again by itself.
        (agent,) = service.children()
        os.kill(agent, signal.SIGKILL)
        eventually(lambda: is_agent(data_dir, "offline"))
        assert service.line() == (
            "the sensor agent was killed (SIGKILL); its devices are offline; it starts again in 5 s\n"
        )
        eventually(lambda: is_agent(data_dir, "online"))
        (agent,) = service.children()
        code, _ = service.stop()
        assert code == 0
        assert is_gone(agent)

    before = rows_of(data_dir)
    assert before

    # A second start goes on with the same history.
    with running(tmp_path, *arguments) as service:
        service.lines_until("Ctrl-C")
        eventually(lambda: len(rows_of(data_dir)) > len(before))
        (agent,) = eventually(service.children)
        service.process.kill()
        eventually(lambda: is_gone(agent))  # no agent is left to fight with the next one's
    assert rows_of(data_dir)[: len(before)] == before
    assert "°C" in appliance(tmp_path, "history", "home/kitchen/temperature", "--data", data_dir).stdout


def test_the_usual_demo_is_found_without_naming_it(tmp_path):
    port = free_port()
    with running(tmp_path, "demo", "--mqtt-port", port, "--http-port", 0) as service:
        text = "".join(service.lines_until("Ctrl-C"))
        assert f"{tmp_path}/data/appliance-demo\n" in text
        assert "--data" not in text
        assert appliance(tmp_path, "status").returncode == 0
        assert service.stop(signal.SIGTERM)[0] == 0


def test_a_taken_port_is_one_line_and_a_code(tmp_path):
    with running(tmp_path, "demo", "--mqtt-port", (port := free_port()), "--http-port", 0) as service:
        service.lines_until("Ctrl-C")
        second = appliance(tmp_path, "demo", "--data", tmp_path / "other", "--mqtt-port", port, "--http-port", 0)
    assert second.returncode == 69
    assert second.stderr == (
        f"appliance: port {port} on 127.0.0.1 is taken by another program; "
        "stop that one or choose another with --mqtt-port (0 for none)\n"
    )


def test_the_agents_file_is_one_that_the_agent_takes(tmp_path):
    path = tmp_path / 'a "quoted" höhle\\dir' / demo.AGENT_FILE
    path.parent.mkdir()
    demo.write(path, demo.agent_config(Settings(mqtt=Mqtt(port=1234)), path.parent))
    assert tomllib.loads(path.read_text())["data_dir"] == str(path.parent / "agent")
    config = load_config(path)
    assert (config.site, config.agent, config.broker.port) == ("home", "house", 1234)
    assert {sensor.keys.kind for sensor in config.sensors} == {"host", "simulated"}
    assert len({sensor.keys.room for sensor in config.sensors if sensor.keys.kind == "simulated"}) == 5


def test_a_directory_whose_name_the_agents_file_cannot_hold(tmp_path):
    done = appliance(tmp_path, "demo", "--data", f"{tmp_path}/\udcff", "--mqtt-port", free_port(), "--http-port", 0)
    assert done.returncode == Exit.DATA
    assert re.fullmatch(r"appliance: data directory \S+ has a name that is not UTF-8; .* --data\n", done.stderr)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / demo.AGENT_FILE).mkdir()
    with pytest.raises(CommandError, match=r"data directory .* cannot be used"):
        demo.write(tmp_path / demo.AGENT_FILE, "")


@pytest.mark.parametrize(
    ("returncode", "text"),
    [
        (0, "has stopped with exit code 0"),
        (78, "has stopped with exit code 78"),
        (-9, "was killed (SIGKILL)"),
        (-200, "was killed (signal 200)"),
    ],
)
def test_how_an_agent_ended(returncode, text):
    assert demo.cause(returncode) == text


class TestTheCommandToCopy:
    @pytest.fixture
    def on_path(self, monkeypatch, tmp_path):
        script = tmp_path / "bin" / "appliance"
        script.parent.mkdir()
        script.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(script.parent))
        return script

    def test_a_command_on_the_path_is_just_its_name(self, on_path):
        assert demo.command_name(str(on_path)) == "appliance"

    @pytest.mark.usefixtures("on_path")
    def test_a_script_elsewhere_is_named_in_full(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert demo.command_name(".venv/bin/appliance") == f"{tmp_path}/.venv/bin/appliance"

    @pytest.mark.parametrize("argv0", ["/x/appliance/__main__.py", "/usr/bin/pytest", "-c", ""])
    def test_a_module_is_run_as_one(self, argv0):
        assert demo.command_name(argv0) == f"{shlex.quote(sys.executable)} -m appliance"


@pytest.fixture
def homes(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(places, "SYSTEM_DATA_DIR", tmp_path / "lib")
    monkeypatch.setattr(places, "SYSTEM_RUNTIME_DIR", tmp_path / "run")


def fake(data_dir, mqtt_port=1883, web_port=8080):
    data_dir.mkdir(parents=True)
    (data_dir / "control.sock").touch()
    return SimpleNamespace(settings=Settings(), data_dir=data_dir, mqtt_port=mqtt_port, web_port=web_port)


@pytest.mark.usefixtures("homes")
class TestBanner:
    def test_defaults_need_no_options(self):
        text = demo.banner(fake(places.demo_data_dir()), "x")
        assert "-m appliance sub -v -t 'home/#'\n" in text
        assert "-m appliance pub -t home/kitchen/relay/set -m ON\n" in text
        assert "-m appliance history home/kitchen/temperature --since 1h\n" in text
        assert "http://127.0.0.1:8080/\n" in text

    def test_other_places_are_named(self, tmp_path):
        text = demo.banner(fake(tmp_path / "a b", mqtt_port=1884, web_port=None), "x")
        assert "sub -p 1884 -v" in text
        assert "pub -p 1884 -t" in text
        assert f"--since 1h --data '{tmp_path}/a b'\n" in text
        assert "page   off" in text

    def test_another_service_that_would_be_asked_first_makes_it_be_named(self, tmp_path):
        fake(tmp_path / "run")
        assert "--data" in demo.banner(fake(places.demo_data_dir()), "x")
