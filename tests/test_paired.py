"""From nothing to readings over TLS: a real hub, a real agent, and a code that a person carries between them."""

import json
import stat
import subprocess
import sys
from contextlib import ExitStack

import pytest
from processes import PATIENCE_S, appliance, environment, eventually, free_port, running

from appliance.control import ControlClient
from sensors import credential
from sensors.config import load_config

HUB = """\
data_dir = "{data}"

[mqtt]
port = 0

[web]
port = 0

[mdns]
enabled = false

[accounts]
managed_file = "{data}/accounts.json"

[[listener]]
address = "127.0.0.1"
port = {mqtt}
certificate = "{data}/tls/server.pem"
key = "{data}/tls/server.key"

[[listener]]
serve = "web"
address = "127.0.0.1"
port = {web}
certificate = "{data}/tls/server.pem"
key = "{data}/tls/server.key"
"""
AGENT = """\
agent = "{name}"
data_dir = "{folder}"

[[sensor]]
name = "air"
room = "attic"
kind = "simulated"
model = "room"
interval_s = 0.2

[[sensor]]
name = "lamp"
room = "attic"
kind = "simulated"
model = "relay"
"""


class Home:
    """A hub as `appliance setup` makes it, and agents that a person pairs with it."""

    def __init__(self, folder, processes):
        self.folder, self.processes = folder, processes
        self.data, self.mqtt, self.web = folder / "data", free_port(), free_port()
        self.config = folder / "appliance.toml"
        self.config.write_text(HUB.format(data=self.data, mqtt=self.mqtt, web=self.web))
        done = appliance(folder, "setup", "--config", self.config)
        assert done.returncode == 0, done.stderr
        self.service = processes.enter_context(running(folder, "run", "--config", self.config))
        assert self.service.line()  # it can be used
        self.control = ControlClient(self.data / "control.sock")

    def configured(self, name="attic"):
        path = self.folder / f"{name}.toml"
        path.write_text(AGENT.format(name=name, folder=self.folder / "sensors"))
        return path

    def sensors(self, *arguments, stdin=""):
        return subprocess.run(
            [sys.executable, "-m", "sensors", *map(str, arguments)],
            env=environment(self.folder),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            text=True,
            input=stdin,
        )

    def paired(self, config, *arguments):
        """Have a person pair the agent; gives what both commands did."""
        with running(self.folder, "pair", "--data", self.data, "--json") as hub:
            code = json.loads(hub.line())["code"]
            asked = ("pair", f"127.0.0.1:{self.web}", "--config", config, *arguments)
            agent = self.sensors(*asked, stdin=f"{code.lower()}\n")
            out, _ = hub.process.communicate(timeout=PATIENCE_S)
        return agent, (hub.process.returncode, [json.loads(line) for line in out.splitlines()])

    def run(self, config):
        return self.processes.enter_context(running(self.folder, "run", "--config", config, program="sensors"))

    def says(self, agent, text):
        while text not in (line := agent.process.stderr.readline()):
            assert line, f"ended without saying {text!r}"
        return line

    def word(self, name="attic"):
        return self.control.get("/api/status")["agents"].get(name)

    def told(self, topic):
        return [one for one in self.control.get("/api/topics") if one["topic"] == topic]

    def ask(self, command, kept, *arguments):
        """Publish or subscribe as the agent may."""
        broker = ("-h", "localhost", "-p", self.mqtt, "--cafile", self.data / "tls" / "ca.pem", "-V", "mqttv5")
        return appliance(self.folder, command, *broker, "-u", kept.username, "-P", kept.secret, "-q", "1", *arguments)


@pytest.fixture
def home(tmp_path):
    with ExitStack() as processes:
        yield Home(tmp_path, processes)


def test_from_a_code_to_readings_and_to_the_end_of_the_account(home):
    config = home.configured()
    agent, (code, notes) = home.paired(config)
    assert (agent.returncode, agent.stderr) == (0, "")
    assert "paired as attic with " in agent.stdout
    assert (code, notes[-1]) == (0, {"state": "paired"})
    topics = "home/attic/temperature, home/attic/humidity, home/attic/relay and home/devices/attic/#"
    assert notes[-2] == {"note": f"attic may publish {topics}"}
    kept = credential.read(load_config(config).credential_path)
    for path in (load_config(config).credential_path, load_config(config).ca_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept.secret not in (home.data / "accounts.json").read_text()
    assert "with which it was paired" in home.sensors("check", "--config", config).stdout

    running_agent = home.run(config)
    eventually(lambda: home.word() == "online")
    eventually(lambda: home.told("home/attic/temperature"))

    # What was granted, and nothing else.
    for topic, may in (
        ("home/attic/temperature", True),
        ("home/devices/attic/health", True),
        ("home/attic/relay/set", False),
        ("home/kitchen/temperature", False),
        ("home/devices/loft/availability", False),
        ("homeassistant/x", False),
    ):
        done = home.ask("pub", kept, "-i", "other", "-t", topic, "-m", "1")
        assert (done.returncode == 0) is may, (topic, done.stderr)
        assert may or "Not authorized" in done.stderr
    for topic_filter, may in (("home/attic/relay/set", True), ("home/kitchen/+", False), ("$SYS/#", False)):
        done = home.ask("sub", kept, "-i", "other", "-t", topic_filter, "-W", "1" if may else "20")
        assert ("Not authorized" in done.stderr) is not may, (topic_filter, done.stderr)

    # Its end acts at once, and the agent says what to do.
    assert appliance(home.folder, "devices", "remove", "attic", "--config", home.config).returncode == 0
    told = home.says(running_agent, "pair this agent anew with `sensors pair`")
    assert "refuses the connection" in told

    # And pairing again is the way back, for one that runs on, too.
    again, (code, _) = home.paired(config, "--json")
    assert (again.returncode, code) == (0, 0)
    assert json.loads(again.stdout)["topics"] == list(kept.topics)
    assert credential.read(load_config(config).credential_path).secret != kept.secret
    home.says(running_agent, "connected")


def test_who_cannot_read_its_credential_keeps_its_readings_until_it_is_paired_anew(home):
    config = home.configured()
    home.paired(config)
    load_config(config).credential_path.write_text("half a fi")
    agent = home.run(config)
    told = home.says(agent, "holds no credential")
    assert "pair anew with `sensors pair`; readings are kept meanwhile" in told
    assert home.paired(config)[0].returncode == 0
    home.says(agent, "connected")
    eventually(lambda: home.told("home/attic/temperature"))


def test_topics_of_one_agent_are_no_others(home):
    home.paired(home.configured())
    agent, _ = _refused(home, home.configured("loft"))
    assert agent.returncode == 1
    assert agent.stderr.startswith("the hub refuses: home/attic/temperature belongs to the device attic; ")
    assert not load_config(home.configured("loft")).credential_path.exists()


def _refused(home, config):
    """As `paired`, for an agent that gets nothing: the window stays open until Ctrl-C."""
    with running(home.folder, "pair", "--data", home.data, "--json") as hub:
        code = json.loads(hub.line())["code"]
        agent = home.sensors("pair", f"127.0.0.1:{home.web}", "--config", config, stdin=f"{code}\n")
        return agent, hub.stop()


def test_a_person_without_the_code_gets_nothing(home):
    config = home.configured()
    asked = ("pair", f"127.0.0.1:{home.web}", "--config", config)
    closed = home.sensors(*asked, stdin="ACDE-FGHJ\n")
    assert (closed.returncode, closed.stdout) == (1, "")
    assert closed.stderr.startswith("pairing is not open there; run `appliance pair` on the hub")
    with running(home.folder, "pair", "--data", home.data, "--json") as hub:
        hub.line()
        wrong = home.sensors(*asked, stdin="ACDE-FGHJ\n")
        assert (wrong.returncode, wrong.stderr.endswith("the code is wrong; 4 tries are left\n")) == (1, True)
        misread = home.sensors(*asked, stdin="ACDE-FGH0\n")
        assert misread.stderr == "no code has a '0' in it; look at it again\n"
        told = home.sensors(*asked, "--json", stdin="")
        assert json.loads(told.stdout)["paired"] is False
        hub.stop()
    nobody = home.sensors("pair", "127.0.0.1:1", "--config", config)
    assert (nobody.returncode, "no hub answers at 127.0.0.1:1" in nobody.stderr) == (1, True)
    assert home.sensors("pair", "https://x/", "--config", config).returncode == 2
    damaged = load_config(config).credential_path
    assert not damaged.exists()
    damaged.parent.mkdir()
    damaged.write_text("half a fi")
    again = home.sensors(*asked, stdin="ACDE-FGHJ\n")  # which `sensors check` calls the cure
    assert (again.returncode, "pairing is not open there" in again.stderr) == (1, True)
