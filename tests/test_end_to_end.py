"""Service and agent as processes of their own, stopped and killed in turn: what becomes of every single reading."""

import json
import signal
import sqlite3
import time
from contextlib import ExitStack, closing
from itertools import groupby
from pathlib import Path

import pytest
from accounts import CONFIG as ACCOUNTS
from accounts import password, write_accounts
from driven import driven
from processes import appliance, eventually, free_port, running

from appliance.control import ControlClient, ControlUnavailable
from appliance.store.database import StoreError, open_reader
from sensors.derived import absolute_humidity, dew_point

RELAY = "home/kitchen/relay"


class Agent:
    """One data directory and configuration, and the process that uses them."""

    def __init__(self, home: Path, name: str, port: int, processes: ExitStack):
        self.home, self.processes = home, processes
        self.config = home / f"{name}.toml"
        self.outbox = home / name / "home-house.outbox"
        self.process = None
        sensors = [
            f'[[sensor]]\nname = "{room}"\nroom = "{room}"\nkind = "simulated"\nmodel = "{model}"\n{more}'
            for room, model, more in (
                ("attic", "room", "interval_s = 0.1\n"),
                ("cellar", "room", "interval_s = 0.1\n"),
                ("kitchen", "relay", ""),
            )
        ]
        self.config.write_text(
            f'agent = "house"\ndata_dir = "{self.outbox.parent}"\n[broker]\nport = {port}\n{"".join(sensors)}'
        )

    def start(self, program="sensors"):
        self.process = self.processes.enter_context(running(self.home, "run", "--config", self.config, program=program))

    def know(self, password):
        """Give it an account."""
        secret = self.home / "secret"
        secret.write_text(password)
        known = f'[broker]\nusername = "house"\npassword_file = "{secret}"\n'
        self.config.write_text(self.config.read_text().replace("[broker]\n", known))

    def says(self, text):
        """Wait for a line of its log."""
        while text not in (line := self.process.process.stderr.readline()):
            assert line, f"ended without saying {text!r}"

    def meta(self, key):
        """Give what the outbox of a stopped agent says of itself."""
        with closing(sqlite3.connect(self.outbox)) as database:
            ((value,),) = database.execute("SELECT value FROM meta WHERE key = ?", (key,))
        return value

    def kept(self):
        """Readings in the outbox of a stopped agent, and the number that the next one would get."""
        with closing(sqlite3.connect(self.outbox)) as database:
            ((count,),) = database.execute("SELECT count(*) FROM readings")
        return count, self.meta("next_seq")


class House:
    """A service that is started and stopped at will, always on the same port, and what it recorded."""

    def __init__(self, home: Path, processes: ExitStack):
        self.home, self.processes = home, processes
        self.data_dir, self.port = home / "service", free_port()
        self.process = None
        self.options = ()

    def start(self):
        arguments = ("run", "--data", self.data_dir, "--mqtt-port", self.port, "--http-port", 0, *self.options)
        self.process = self.processes.enter_context(running(self.home, *arguments))
        self.process.lines_until("appliance runs")

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def stop(self):
        assert self.process.stop(signal.SIGTERM) == (0, "")

    def guard(self, rules):
        """Let nobody in but the agent and ann, from the next start on."""
        write_accounts(self.home, rules, users=["house", "ann"])
        config = self.home / "appliance.toml"
        config.write_text(ACCOUNTS)
        self.options = ("--config", config)

    def agent(self, name="house"):
        return Agent(self.home, name, self.port, self.processes)

    def availability(self):
        try:
            return ControlClient(self.data_dir / "control.sock").get("/api/status")["agents"].get("house")
        except ControlUnavailable:
            return None

    def publish(self, *arguments):
        assert appliance(self.home, "pub", "-p", self.port, *arguments).returncode == 0

    def hear(self, *topics):
        """Give what the agent said last of itself."""
        topics = [f"home/devices/house/{topic}" for topic in topics]
        heard = appliance(self.home, "sub", "-p", self.port, "-v", "-C", len(topics), "-W", 20, *topics)
        said = dict(line.split(" ", 1) for line in heard.stdout.splitlines())
        return [said[topic] for topic in topics]

    def ask(self, question, *values):
        try:
            with closing(open_reader(self.data_dir / "appliance.db")) as database:
                return database.execute(question, values).fetchall()
        except (StoreError, sqlite3.OperationalError):  # not made yet
            return []

    def count(self):
        return len(self.ask("SELECT 1 FROM history"))

    def ranges(self):
        """First and last number of every stretch that was recorded without a gap, run by run."""
        return self.ask(
            "SELECT run, min(seq), max(seq)"
            " FROM (SELECT run, seq, seq - row_number() OVER (PARTITION BY run ORDER BY seq) AS gaps FROM history)"
            " GROUP BY run, gaps ORDER BY run, gaps"
        )

    def complete(self):
        """Whether all that was numbered so far is recorded, but for what is on its way."""
        return len(self.ranges()) == 1

    def missing(self):
        """Why the agent's numbers that have no row have none, as `appliance prove` says."""
        proved = appliance(self.home, "prove", "house", "--since", "all", "--json", "--data", self.data_dir)
        (run,) = json.loads(proved.stdout)["runs"]
        return {one["cause"] for one in run["missing"]}

    def assert_nothing_twice(self):
        ((rows, readings, foreign),) = self.ask(
            "SELECT count(*), count(DISTINCT run || '/' || seq), count(*) - count(run) FROM history"
        )
        assert rows == readings
        assert foreign == 0  # nobody else published: a retained value that comes again is no reading


@pytest.fixture
def house(tmp_path):
    with ExitStack() as processes:
        yield House(tmp_path, processes)


def test_whatever_stops_in_order_loses_nothing_and_repeats_nothing(house):
    agent = house.agent()
    agent.start()
    agent.says("nothing listens")  # it reads all the same
    house.start()
    agent.says("connected")
    eventually(lambda: house.count() > 50 and house.complete())

    house.stop()
    gone_at = time.time()
    agent.says("readings are kept")
    house.start()
    back_at = time.time()
    away = "SELECT 1 FROM history WHERE tick / 16 BETWEEN ? AND ?"
    eventually(lambda: house.ask(away, gone_at * 1000, back_at * 1000))  # with the time they were measured at
    eventually(house.complete)

    before = house.count()
    house.stop()
    agent.says("nothing listens")
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    kept, _ = agent.kept()
    assert kept > 0
    house.start()
    agent.start()
    eventually(lambda: house.count() > before + kept and house.complete())
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    eventually(lambda: house.availability() == "offline")
    house.stop()
    kept, next_seq = agent.kept()
    ((_, first, last),) = house.ranges()
    assert first == 1
    # Some are recorded and kept, where the acknowledgement came too late for the agent's goodbye.
    assert next_seq - 1 - kept <= last <= next_seq - 1
    house.assert_nothing_twice()


def test_whatever_is_killed_nothing_comes_twice_and_all_goes_on(house):
    agent = house.agent()
    house.start()
    agent.start()
    eventually(lambda: house.count() > 20 and house.complete())

    # The agent alone: what it sent is there, its next numbers are new.
    agent.process.stop(signal.SIGKILL)
    eventually(lambda: house.availability() == "offline")
    agent.start()
    eventually(lambda: house.availability() == "online" and len(house.ranges()) == 2)

    # The service alone: what was committed is there. What it acknowledged in its last moments may be missing.
    house.kill()
    agent.says("readings are kept")
    before = house.count()
    house.start()
    agent.says("connected")
    eventually(lambda: house.count() > before + 20)
    assert house.availability() == "online"

    # Both, and the agent is the first to come back.
    house.kill()
    agent.process.stop(signal.SIGKILL)
    before = house.count()
    agent.start()
    agent.says("nothing listens")
    house.start()
    agent.says("connected")
    eventually(lambda: house.count() > before + 20)
    house.assert_nothing_twice()
    assert len({run for run, _, _ in house.ranges()}) == 1


def test_what_was_dropped_has_its_time_and_what_was_never_given_is_not_missing(house):
    agent = house.agent()
    agent.config.write_text(agent.config.read_text() + "[outbox]\nmax_readings = 100\n")

    def proof():
        proved = appliance(house.home, "prove", "house", "--since", "all", "--json", "--data", house.data_dir)
        return json.loads(proved.stdout), proved.returncode

    house.start()
    agent.start()
    eventually(lambda: house.count() > 20)
    house.kill()
    agent.says("readings are kept")
    dropped = 0
    while not dropped:  # a stop writes all that it has, and throws away what is too much
        time.sleep(1)
        assert agent.process.stop(signal.SIGTERM)[0] == 0
        dropped, first_new = agent.meta("dropped"), agent.meta("next_seq")
        agent.start()
    back_at = time.time()
    house.start()
    eventually(lambda: house.ask("SELECT 1 FROM history WHERE seq > ?", first_new))
    house.kill()
    agent.process.stop(signal.SIGKILL)
    house.start()
    agent.start()

    def explained():
        told, code = proof()
        (run,) = told["runs"]
        causes = {one["cause"] for one in run["missing"]} - {"lost with the agent"}
        return told if code == 0 and causes == {"dropped by limit"} and run["never_given"] else None

    told = eventually(explained)
    (gap,) = [gap for gap in told["gaps"] if gap["cause"] == "dropped by limit"]
    assert gap["since"] <= gap["until"] < back_at
    missing = [one for one in told["runs"][0]["missing"] if one["cause"] == "dropped by limit"]
    count = sum(one["last_seq"] - one["first_seq"] + 1 for one in missing)
    words = gap["detail"].removeprefix("its outbox was full: ").split()
    assert int(words[0]) >= count  # of what it dropped some may have come, and only their acknowledgement was lost


def test_commands_switch_the_relay_and_retained_ones_never(house):
    agent = house.agent()
    house.start()
    agent.start()

    def states():
        said = house.ask("SELECT value FROM history WHERE topic = ? ORDER BY seq", RELAY)
        return [value for (value,), _ in groupby(said)]  # it may say the same again

    eventually(lambda: states() == [0.0])
    house.publish("-t", f"{RELAY}/set", "-m", "ON")
    eventually(lambda: states() == [0.0, 1.0])
    assert agent.process.stop(signal.SIGTERM)[0] == 0

    house.publish("-t", f"{RELAY}/set", "-m", "ON", "-r")
    agent.start()
    agent.says("a retained command is not obeyed")
    eventually(lambda: states() == [0.0, 1.0, 0.0])
    house.publish("-t", f"{RELAY}/set", "-m", "TOGGLE")
    eventually(lambda: states() == [0.0, 1.0, 0.0, 1.0])
    house.assert_nothing_twice()


TREATED = """
[[sensor]]
name = "bath"
kind = "simulated"
room = "bath"
interval_s = 0.1
derived = ["dew_point", "absolute_humidity"]
temperature.offset = -5
humidity.calibrate = [[0, 0], [100, 50]]

[[sensor]]
name = "shed"
kind = "simulated"
room = "shed"
interval_s = 0.1
offline_after = 2
faults = ["unplugged"]
"""


def test_what_is_derived_comes_of_calibrated_values_and_what_fails_says_so_alone(house):
    agent = house.agent()
    agent.config.write_text(agent.config.read_text() + TREATED)
    house.start()
    agent.start()
    shed = eventually(lambda: (s := json.loads(*house.hear("health"))["sensors"]["shed"])["online"] is False and s)
    assert shed["ok"] == 0
    assert shed["failed"]["disconnected"] >= 2
    assert shed["trouble"] == "no answer: check power and wiring"
    of_bath = "SELECT topic, value, unit, seq FROM history WHERE topic GLOB 'home/bath/*' ORDER BY seq"
    rows = eventually(lambda: len(rows := house.ask(of_bath)) >= 40 and rows)
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    for read in (rows[i : i + 4] for i in range(0, 40, 4)):  # what one reading made has the next numbers
        (_, temperature, *_), (_, humidity, *_), (_, dew, *_), (_, grams, *_) = read
        assert [topic for topic, *_ in read] == [
            f"home/bath/{measurement}" for measurement in ("temperature", "humidity", "dew_point", "absolute_humidity")
        ]
        assert [unit for _, _, unit, _ in read] == ["°C", "%", "°C", "g/m³"]
        assert [seq - read[0][3] for *_, seq in read] == [0, 1, 2, 3]
        # Nearly: what is sent was rounded.
        assert dew == pytest.approx(dew_point(temperature, humidity), abs=0.2)
        assert grams == pytest.approx(absolute_humidity(temperature, humidity), abs=0.11)
        assert 0 < humidity <= 50
    assert house.hear("bath/availability", "shed/availability", "availability") == ["online", "offline", "offline"]
    assert house.ask("SELECT 1 FROM history WHERE topic GLOB 'home/shed/*'") == []


def test_a_cloned_agent_is_named_and_both_keep_their_readings(house):
    original, clone = house.agent(), house.agent("clone")
    house.start()
    original.start()
    eventually(lambda: house.count() > 20)
    clone.start()
    original.says("a second agent with the same site and agent? Give each its own agent")
    eventually(lambda: [first for _, first, _ in house.ranges()] == [1, 1])
    time.sleep(0.5)  # the original keeps away from the broker for half a minute, and goes on reading
    assert original.process.stop(signal.SIGTERM)[0] == 0
    assert clone.process.stop(signal.SIGTERM)[0] == 0
    kept, next_seq = original.kept()
    assert kept > 0
    original.start()
    eventually(lambda: any(last >= next_seq for _, _, last in house.ranges()) and len(house.ranges()) == 2)
    house.assert_nothing_twice()


AGENTS_RULES = """\
[[rule]]
user = "house"
publish = ["home/devices/house/#", "home/attic/+", "home/cellar/+", "home/kitchen/+"]
subscribe = ["home/kitchen/+/set"]
"""


def test_an_agent_with_an_account_and_the_rules_of_the_readme(house):
    house.guard(AGENTS_RULES)
    agent = house.agent()
    agent.know(password("house"))
    house.start()
    agent.start()
    eventually(lambda: house.count() > 20 and house.complete())
    assert house.availability() == "online"
    ann = ("-u", "ann", "-P", password("ann"))
    house.publish(*ann, "-t", f"{RELAY}/set", "-m", "ON", "-q", 1)
    eventually(lambda: house.ask("SELECT 1 FROM history WHERE topic = ? AND value = 1", RELAY))
    status = ControlClient(house.data_dir / "control.sock").get("/api/status")
    assert status["messages_dropped"] == {}  # it wants no more than it may

    as_agent = ("pub", "-p", house.port, "-u", "house", "-P", password("house"), "-V", "5", "-q", 1)
    assert appliance(house.home, *as_agent, "-t", "home/hall/temperature", "-m", "99").returncode == 69
    assert appliance(house.home, *as_agent, "-t", "home/devices/other/availability", "-m", "offline").returncode == 69
    backlog = "home/devices/house/backlog"
    own = b'[{"topic": "home/attic/forged", "value": 98}'
    with driven(house.port, username="house", password=password("house")) as link:
        link.until_told("connected")
        forged = own + b', {"topic": "home/hall/temperature", "value": 99}]'
        assert link.link.publish(backlog, forged, retain=False, tokens=(1,))
        link.until(lambda: (1, 0x87, "home/hall/temperature") in link.told)
        assert link.link.publish(backlog, own + b"]", retain=False, tokens=(2,))
        link.until(lambda: (2, 0) in link.told or (2, 0x10) in link.told)
    eventually(lambda: house.ask("SELECT 1 FROM history WHERE value = 98"))  # what it may say it may say later
    status = ControlClient(house.data_dir / "control.sock").get("/api/status")
    assert status["messages_dropped"]["holds what is not allowed to publish"] == 1
    stranger = appliance(house.home, "pub", "-p", house.port, "-t", "home/attic/temperature", "-m", "99")
    assert "Not authorized" in stranger.stderr
    assert house.ask("SELECT 1 FROM history WHERE value = 99") == []

    agent.process.stop(signal.SIGKILL)
    eventually(lambda: house.availability() == "offline")  # the will is among its own topics


def test_an_agent_that_is_not_let_in_says_where_to_look_and_loses_nothing(house):
    house.guard(AGENTS_RULES)
    agent = house.agent()
    agent.know("wrong")
    house.start()
    agent.start()
    agent.says("check broker.username and the file broker.password_file")
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    kept, _ = agent.kept()
    assert kept > 0
    (house.home / "secret").write_text(password("house"))
    agent.start()
    eventually(lambda: house.count() > kept and house.complete())


def test_an_agent_with_too_few_rights_says_so_and_counts_what_is_refused(house):
    house.guard('[[rule]]\nuser = "house"\npublish = ["home/devices/house/#", "home/attic/+"]\n')
    agent = house.agent()
    agent.know(password("house"))
    house.start()
    agent.start()
    agent.says("(reason code 0x87); they are set aside and counted. Check what house may publish there")
    refused = "(SELECT topic FROM history)"
    eventually(lambda: house.count() > 20 and house.ask(f"SELECT 1 WHERE 'home/attic/temperature' IN {refused}"))
    assert house.ask(f"SELECT 1 WHERE 'home/cellar/temperature' IN {refused}") == []  # which holds nothing else up
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    assert agent.kept()[0] == 0
    code, said = house.process.stop(signal.SIGTERM)
    told = {line.split("'")[1] for line in said.splitlines()}  # of what its description says of them
    assert (code, told) == (0, {"home/cellar/humidity", "home/cellar/temperature", "home/kitchen/relay"})
    house.guard(AGENTS_RULES)
    house.start()
    agent.start()
    agent.says("connected")
    eventually(lambda: house.ask(f"SELECT 1 WHERE 'home/cellar/temperature' IN {refused}"))
    assert agent.process.stop(signal.SIGTERM)[0] == 0
    missing = house.missing()
    assert "dropped by limit" in missing
    assert missing <= {"dropped by limit", "may still be with the agent"}  # which nobody can ask, as it is away
    house.assert_nothing_twice()
