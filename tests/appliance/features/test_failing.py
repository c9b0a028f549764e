"""What becomes of a sensor that fails, over a real broker: the gaps of its topics."""

import asyncio
import json

import pytest
from sockets import loopback, until

from appliance.devices import Device, Measurement, encode_about
from appliance.features import failing as module
from appliance.features.failing import CAUSE_WAIT_S, MOST_WHY, FailingWatch
from appliance.net.local import LocalClient
from appliance.store.gaps import SENSOR_FAILING, SERIES, GapNote
from appliance.store.open_gaps import Failing

WARM, WET, DOOR = "home/bath/temperature", "home/bath/humidity", "home/hall/door"
OWNERS = {WARM: "dht", WET: "dht", DOOR: "reed"}


def opened(topic, at, why=""):
    return GapNote(SERIES, topic, SENSOR_FAILING, at, None, why)


def closed(topic, at, why=""):
    return GapNote(SERIES, topic, SENSOR_FAILING, None, at, why)


def about(*topics, agent="attic"):
    measured = (
        Measurement(topic=topic, kind="x", availability_topic=f"home/devices/{agent}/{OWNERS[topic]}/availability")
        for topic in topics
    )
    return encode_about(Device(agent=agent, site="home", sensors=tuple(measured)))


class House:
    """An agent as the broker hears it; what is said before `watch` is retained."""

    def __init__(self, hub):
        self.local, self.now, self.notes = LocalClient(hub, "test"), 100.0, []

    def watch(self, *known):
        self.watched = FailingWatch(site="home", note=self.notes.append, known=known, clock=lambda: self.now)
        self.watched.start(self.local)

    def say(self, leaf, payload, agent="attic"):
        self.local.publish(f"home/devices/{agent}/{leaf}", payload, retain=True)

    def agent(self, word):
        self.say("availability", word)

    def sensor(self, word, name="dht"):
        self.say(f"{name}/availability", word)

    def health(self, **sensors):
        parts = {name: {"online": why is None, "cause": why or ""} for name, why in sensors.items()}
        self.say("health", json.dumps({"sensors": parts}).encode())

    def told(self):
        told, self.notes[:] = [*self.notes], []
        return told


@pytest.fixture
def play():
    """Run a scenario(house), on a broker and with an agent that is there."""

    def run(scenario):
        async def on_a_broker():
            async with loopback() as server:
                house = House(server.hub)
                house.agent(b"online")
                house.say("about", about(WARM, WET, DOOR))
                house.health(dht=None, reed=None)
                try:
                    await scenario(house)
                finally:
                    house.watched.close()
                    house.watched.close()

        asyncio.run(on_a_broker())

    return run


def test_each_topic_of_a_failing_sensor_has_a_gap_with_the_cause(play):
    async def scenario(house):
        house.watch()
        assert house.told() == []
        house.sensor(b"offline")
        assert house.told() == []  # why it fails comes a moment later
        house.now = 101.0
        house.health(dht="all_zero", reed=None)
        assert house.told() == [opened(WARM, 100.0, "all zero"), opened(WET, 100.0, "all zero")]
        house.health(dht="checksum", reed=None)
        house.sensor(b"offline")
        house.sensor(b"perhaps")
        assert house.told() == []
        house.now = 160.0
        house.sensor(b"online")
        assert house.told() == [closed(WARM, 160.0, "all zero"), closed(WET, 160.0, "all zero")]
        house.sensor(b"offline")  # what the last health says is of the time before
        assert house.told() == []
        house.sensor(b"", name="dht")
        assert house.told() == [GapNote(SERIES, one, SENSOR_FAILING, 160.0, 160.0) for one in (WARM, WET)]

    play(scenario)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"online": False, "trouble": "no pulses " * 20}, ("no pulses " * 20)[:MOST_WHY]),
        ({"online": False}, ""),
        ({"online": False, "cause": "cut_short", "trouble": "one bit"}, "cut short"),
    ],
)
def test_a_cause_in_words(play, part, why):
    async def scenario(house):
        house.watch()
        house.sensor(b"offline", "reed")
        house.say("health", json.dumps({"sensors": {"reed": part}}).encode())
        assert house.told() == [opened(DOOR, 100.0, why)]

    play(scenario)


def test_nobody_has_to_say_why(play, monkeypatch):
    monkeypatch.setattr(module, "CAUSE_WAIT_S", 0.0)

    async def scenario(house):
        house.watch()
        house.sensor(b"offline", "reed")
        assert house.told() == [opened(DOOR, 100.0)]

    play(scenario)


def test_a_cause_is_not_waited_for_without_end(play, monkeypatch):
    async def scenario(house):
        monkeypatch.setattr(module, "CAUSE_WAIT_S", 0.001)
        house.watch()
        house.sensor(b"offline", "reed")
        house.now += 0.001
        await until(lambda: house.notes)
        assert house.told() == [opened(DOOR, 100.0)]

    play(scenario)


def test_a_stop_waits_for_no_cause(play):
    async def scenario(house):
        house.watch()
        house.sensor(b"offline", "reed")
        house.now += CAUSE_WAIT_S / 2
        house.watched.close()
        house.sensor(b"online", "reed")
        assert house.told() == [opened(DOOR, 100.0)]

    play(scenario)


def test_while_its_agent_is_away_the_gap_is_the_agents(play):
    async def scenario(house):
        house.watch()
        house.sensor(b"offline")
        house.health(dht="checksum", reed=None)
        house.told()
        house.now = 130.0
        house.agent(b"offline")
        assert house.told() == [closed(WARM, 130.0, "checksum"), closed(WET, 130.0, "checksum")]
        house.now = 150.0
        house.agent(b"online")  # what its sensors said is of before, until they say it again
        house.health(dht=None, reed=None)
        assert house.told() == []
        house.now = 180.0
        house.sensor(b"offline")
        house.health(dht="disconnected", reed=None)
        assert house.told() == [opened(WARM, 150.0, "disconnected"), opened(WET, 150.0, "disconnected")]
        house.agent(b"online")  # it was thrown out by itself, or is back sooner than its Last Will
        assert house.told() == []
        house.now = 190.0
        house.agent(b"")
        assert house.told() == [closed(WARM, 190.0, "disconnected"), closed(WET, 190.0, "disconnected")]
        house.agent(b"online")
        house.sensor(b"online")
        assert house.told() == []

    play(scenario)


def test_what_is_retained_at_a_start_goes_on(play):
    async def scenario(house):
        house.sensor(b"offline")
        house.health(dht="checksum", reed=None)
        house.watch(Failing(WARM, "attic", "cut short"), Failing(DOOR, "attic", ""), Failing("home/x", "gone", "jump"))
        assert house.told() == [
            closed(DOOR, 100.0),
            opened(WET, 100.0, "checksum"),
            closed("home/x", 100.0, "jump"),
        ]
        house.now = 120.0
        house.sensor(b"online")
        assert house.told() == [closed(WARM, 120.0, "cut short"), closed(WET, 120.0, "checksum")]

    play(scenario)


def test_an_agent_that_is_away_at_a_start_has_no_failing_sensors(play):
    async def scenario(house):
        house.sensor(b"offline")
        house.agent(b"offline")
        house.watch(Failing(WARM, "attic", "cut short"))
        assert house.told() == [closed(WARM, 100.0, "cut short")]

    play(scenario)


def test_a_sensor_that_is_taken_from_the_configuration_fails_no_longer(play):
    async def scenario(house):
        house.watch()
        house.sensor(b"offline")
        house.health(dht="checksum", reed=None)
        house.told()
        house.say("about", about(WARM, DOOR))  # it measures one thing less
        assert house.told() == [closed(WET, 100.0, "checksum")]
        house.say("about", about(DOOR))  # it could not be built yet: health still has it
        assert house.told() == []
        house.health(reed=None)
        assert house.told() == [closed(WARM, 100.0, "checksum")]

    play(scenario)


def test_an_agent_without_health_has_the_sensors_it_describes(play):
    async def scenario(house):
        house.say("health", b"")
        house.watch()
        house.sensor(b"offline", "reed")
        house.watched._look()
        house.now += CAUSE_WAIT_S
        house.watched._look()
        assert house.told() == [opened(DOOR, 100.0)]
        house.say("about", b"")
        assert house.told() == [closed(DOOR, 105.0)]

    play(scenario)


def test_a_gap_of_a_sensor_that_nothing_describes_since_the_start_lasts_while_it_may_be_its(play):
    async def scenario(house):
        house.say("about", about(DOOR))
        house.sensor(b"offline")
        house.watch(Failing(WARM, "attic", "checksum"), Failing(WET, "attic", "checksum"))
        assert house.told() == []  # dht cannot be built: nobody knows what it measures
        house.say("about", about(WARM, DOOR))
        assert house.told() == [closed(WET, 100.0, "checksum")]

    play(scenario)


def test_what_strangers_say_is_no_failing_sensor(play, monkeypatch):
    monkeypatch.setattr(module, "MAX_AGENTS", 2)
    monkeypatch.setattr(module, "MAX_SENSORS", 2)

    async def scenario(house):
        house.watch()
        for nonsense in (b"[1]", b"\xff", b'{"sensors": 7}'):
            house.say("health", nonsense)
            house.say("about", nonsense)
        foreign = Measurement(topic="home/cellar/door", kind="door", availability_topic="home/devices/x/y/availability")
        house.say("about", encode_about(Device(agent="attic", site="home", sensors=(foreign,))))
        house.say("y/availability", b"offline", agent="x")
        for number in range(9):
            house.sensor(b"offline", f"s{number}")
            house.say("reed/availability", b"offline", agent=f"a{number}")
        assert len(house.watched._agents) == 2
        assert len(house.watched._agents["attic"].down) == 2
        house.say("about", about(WARM, WET, DOOR))
        assert house.told() == []

    play(scenario)
