"""A real service and a real agent: what is gone from the configuration, or for good, is gone from every list."""

import signal
from contextlib import ExitStack
from queue import SimpleQueue

import pytest
from accounts import CONFIG as ACCOUNTS
from accounts import password, write_accounts
from mosquitto_peer import end
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from processes import PATIENCE_S, appliance, eventually, free_port, running

from appliance.control import ControlClient

OWN = "home/devices/pi"


class Home:
    """A service, and agents whose sensors change from start to start."""

    def __init__(self, path, processes):
        self.path, self.processes, self.port = path, processes, free_port()
        self.known = ""

    def serve(self, rules=None):
        options = ()
        if rules is not None:
            write_accounts(self.path, rules, users=["pi", "admin"])
            config = self.path / "appliance.toml"
            config.write_text(ACCOUNTS)
            options = ("--config", config)
            (self.path / "secret").write_text(password("pi"))
            self.known = f'username = "pi"\npassword_file = "{self.path}/secret"\n'
        arguments = ("run", "--data", self.path / "d", "--mqtt-port", self.port, "--http-port", 0, *options)
        self.service = self.processes.enter_context(running(self.path, *arguments))
        self.service.lines_until("appliance runs")

    def agent(self, *rooms, name="pi"):
        """Start an agent with a thermometer in each room; `hall:x` is the one in the hall under the name x."""
        sensors = [
            f'[[sensor]]\nname = "{called or room}"\nroom = "{room}"\nkind = "simulated"\nmodel = "room"\n'
            "interval_s = 0.2\n"
            for room, _, called in (one.partition(":") for one in rooms)
        ]
        config = self.path / f"{name}.toml"
        config.write_text(
            f'agent = "{name}"\ndata_dir = "{self.path / name}"\n'
            f"[broker]\nport = {self.port}\n{self.known}{''.join(sensors)}"
        )
        return self.processes.enter_context(running(self.path, "run", "--config", config, program="sensors"))

    def stop(self, agent, name="pi"):
        """Stop an agent in order, and wait until the service has heard all that it said."""
        assert agent.stop(signal.SIGTERM)[0] == 0
        eventually(lambda: self.ask("/api/status")["agents"][name] == "offline")

    def ask(self, path):
        return ControlClient(self.path / "d" / "control.sock").get(path)

    def rooms(self):
        """What the page shows: topics with a value, by agent where one lists them."""
        return {one["topic"]: one["agent"] for one in self.ask("/api/rooms")["values"] if one["value"] is not None}

    def publisher(self, topic):
        """The agent that what is retained there is from."""
        told = SimpleQueue()
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.on_message = lambda _client, _data, message: told.put(dict(message.properties.UserProperty)["agent"])
        client.connect("127.0.0.1", self.port)
        client.subscribe(topic)
        client.loop_start()
        try:
            return told.get(timeout=PATIENCE_S)
        finally:
            end(client)

    def devices(self):
        """Everything retained below the devices, as another client sees it; `end` comes behind it."""
        who = ("-u", "admin", "-P", password("admin")) if self.known else ()
        publish = ("pub", "-p", self.port, *who, "-t", "end", "-m", "x", "-r", "-q", 1)
        assert appliance(self.path, *publish).returncode == 0
        subscribe = ("sub", "-p", self.port, *who, "-t", "home/devices/#", "-t", "end", "-v")
        with running(self.path, *subscribe) as listener:
            lines = listener.lines_until("end x")[:-1]
        return {topic: payload for topic, _, payload in (line.rstrip("\n").partition(" ") for line in lines)}


@pytest.fixture
def home(tmp_path):
    with ExitStack() as processes:
        yield Home(tmp_path, processes)


def shown(home, *rooms, agent="pi"):
    """Whether the page shows the temperatures of these rooms and of no other."""
    found = {topic: by for topic, by in home.rooms().items() if topic.endswith("/temperature")}
    return found == {f"home/{room}/temperature": agent for room in rooms}


def said_until(agent, text):
    """Lines of its log up to the one that contains the text."""
    lines = [agent.process.stderr.readline()]
    while text not in lines[-1]:
        assert lines[-1], "".join(lines)
        lines.append(agent.process.stderr.readline())
    return lines


def test_sensors_that_were_removed_or_renamed_leave_nothing(home):
    home.serve()
    agent = home.agent("hall", "bath", "attic")
    eventually(lambda: shown(home, "hall", "bath", "attic"))
    assert f"{OWN}/bath/availability" in home.devices()
    agent.stop(signal.SIGKILL)  # and with it all that it had only in memory

    agent = home.agent("hall:corridor", "attic")  # one is renamed, one is gone
    said_until(agent, "home/bath/temperature: cleared")
    eventually(lambda: shown(home, "hall", "attic"))
    eventually(
        lambda: f"{OWN}/hall/availability" not in (own := home.devices()) and f"{OWN}/bath/availability" not in own
    )
    assert home.devices()[f"{OWN}/corridor/availability"] == "online"
    assert not [topic for topic in home.rooms() if topic.startswith("home/bath/")]
    home.stop(agent)
    assert [one for one in home.ask("/api/topics") if one["topic"] == "home/bath/temperature"]  # the history stays


def test_a_sensor_that_moved_to_another_computer_stays(home):
    home.serve()
    agent = home.agent("hall", "bath")
    eventually(lambda: shown(home, "hall", "bath"))
    home.stop(agent)
    other = home.agent("bath", name="other")
    eventually(lambda: home.publisher("home/bath/temperature") == "other")
    home.stop(other, "other")  # nothing is said on the topic again, were it cleared
    agent = home.agent("hall")
    eventually(lambda: f"{OWN}/bath/availability" not in home.devices())
    home.stop(agent)
    assert home.publisher("home/bath/temperature") == "other"

    # What moved is forgotten with the computer where it is now, and not with the one where it was.
    done = appliance(home.path, "forget", "pi", "--data", home.path / "d")
    assert done.stdout.startswith("pi is forgotten: ")
    assert shown(home, "bath", agent="other")
    assert list(home.ask("/api/status")["agents"]) == ["other"]


RULES = """\
[[rule]]
user = "pi"
publish = ["home/devices/pi/#", {granted}]
"""


def test_without_the_right_to_read_what_may_be_published_is_cleared_and_the_rest_is_told_once(home):
    home.serve(RULES.format(granted='"home/hall/+", "home/bath/+", "home/attic/+"'))
    agent = home.agent("hall", "bath", "attic")
    eventually(lambda: len(home.devices()) == 6)
    eventually(lambda: shown(home, "hall", "bath", "attic"))
    home.stop(agent)
    assert home.service.stop(signal.SIGTERM)[0] == 0
    home.serve(RULES.format(granted='"home/hall/+", "home/bath/+"'))
    agent = home.agent("hall")
    said = said_until(agent, "home/attic/temperature: no sensor of agent pi publishes there any more")
    assert "the broker does not let it be cleared (not authorized); grant it, or" in said[-1]
    assert "appliance pub -r -n -t home/attic/temperature" in said[-1]
    eventually(lambda: "home/bath/temperature" not in home.rooms())
    assert "home/attic/temperature" in home.rooms()
    home.stop(agent)


def test_a_device_that_is_gone_is_forgotten(home):
    home.serve()
    agent = home.agent("hall", "bath")
    eventually(lambda: shown(home, "hall", "bath"))
    forget = ("forget", "pi", "--data", home.path / "d")
    refused = appliance(home.path, *forget)
    assert (refused.returncode, refused.stdout) == (69, "")
    assert "pi is online; stop its agent first" in refused.stderr
    home.stop(agent)
    done = appliance(home.path, *forget)
    assert done.returncode == 0, done.stderr
    assert home.devices() == {}
    assert home.rooms() == {}
    assert home.ask("/api/status")["agents"] == {}
    assert home.service.stop(signal.SIGTERM)[0] == 0
    home.serve()  # and stays so
    assert home.devices() == {}
    assert [one for one in home.ask("/api/topics") if one["topic"] == "home/hall/temperature"]
