import os
import resource
import threading

import pytest

from appliance.config import ConfigError
from sensors.config import load_config
from sensors.drivers.simulated import FAULTS, INSTRUMENTS
from sensors.fleet import HOUSE, Counted, Fleet, Wanted, allow_descriptors, configs, readings_per_round
from sensors.house.faults import parse
from sensors.outbox import Outbox, OutboxError

NOBODY = {"host": "127.0.0.1", "port": 9}  # the port of discard, where nothing listens


def played(tmp_path, **keys):
    return configs(Wanted(broker=NOBODY, **keys), tmp_path)


def test_every_house_is_an_agent_of_its_own(tmp_path):
    agents = played(tmp_path, devices=12, sensors=7, interval_s=3.5)
    assert [config.agent for config in agents[::11]] == ["house-1", "house-12"]
    assert len({config.outbox_path for config in agents}) == 12
    assert {len(config.sensors) for config in agents} == {7}
    kitchen = agents[0].sensors[0]
    assert (kitchen.name, kitchen.keys.room, kitchen.keys.interval_s) == ("kitchen-room", "kitchen-1", 3.5)
    assert len({config.sensors[0].options.seed for config in agents}) == 12


def test_a_house_has_something_of_everything():
    assert {model for _, model in HOUSE} == set(FAULTS)


def test_many_sensors_in_one_house_keep_their_topics_apart(tmp_path):
    (config,) = played(tmp_path, sensors=3 * len(HOUSE) + 1)
    places = [(sensor.keys.room, sensor.keys.label, sensor.options.model) for sensor in config.sensors]
    assert len(set(places)) == len(places) == 61
    assert config.sensors[-1].name == "kitchen-room-4"
    assert config.sensors[-1].keys.label == "4"


def test_faults_happen_to_what_can_have_them_and_to_the_clock_once(tmp_path):
    (config,) = played(tmp_path, faults=("checksum@5%", "bounce", "clock=-60"))
    for number, sensor in enumerate(config.sensors):
        kinds = {parse(text).kind for text in sensor.options.faults}
        assert kinds <= set(FAULTS[sensor.options.model])
        assert ("checksum" in kinds) is (sensor.options.model in INSTRUMENTS)
        assert ("clock" in kinds) is (number == 0)


def test_what_cannot_be_configured_is_refused_as_in_a_file(tmp_path):
    with pytest.raises(ConfigError, match="site"):
        played(tmp_path, site="My Home")
    with pytest.raises(ConfigError, match=r"broker\.password_file.*cannot be read"):
        configs(Wanted(broker={**NOBODY, "password_file": str(tmp_path / "none")}), tmp_path)


def test_text_in_the_configuration_is_text(tmp_path):
    secret = tmp_path / 'a "quoted" höhle\\dir'
    secret.write_text("word\n")
    (config,) = configs(Wanted(broker={**NOBODY, "username": "ä\tß", "password_file": str(secret)}), tmp_path)
    assert (config.broker.username, config.password) == ("ä\tß", "word")


def test_the_same_words_in_a_file_are_taken(tmp_path):
    path = tmp_path / "sensors.toml"
    path.write_text('agent = "a"\n[[sensor]]\nname = "x"\nkind = "simulated"\nroom = "y"\nfaults = ["checksum@5%"]\n')
    assert load_config(path).sensors[0].options.faults == ["checksum@5%"]


@pytest.mark.parametrize(("sensors", "readings"), [(1, 2), (2, 2), (5, 8), (20, 19), (40, 38)])
def test_a_round_of_reads_gives_so_many_readings(sensors, readings):
    assert readings_per_round(sensors) == readings


def test_an_outbox_counts(tmp_path):
    outbox = Counted(tmp_path / "x.outbox")
    seqs = [outbox.add("home/x", "1", 0.0, time="2026-11-25T20:00:00.000Z").seq for _ in range(5)]
    outbox.acknowledged(iter(seqs[:3]))
    assert (outbox.made, outbox.taken, outbox.waiting) == (5, 3, 2)
    outbox.acknowledged(seqs[3:])
    outbox.close(0.0)


def test_without_a_broker_everything_waits_and_is_kept(tmp_path):
    fleet = Fleet(played(tmp_path, devices=3, sensors=8, interval_s=0.1))
    stopping = threading.Event()
    count_waiting = []
    fleet.start(stopping)
    try:
        while fleet.count().made < 100:
            assert fleet.running
            stopping.wait(0.02)
        threads = {thread.name for thread in threading.enumerate()}
        assert {"house-1", "house-2", "house-3", "house"} <= threads
        assert not any(name.startswith("sensor-") for name in threads)  # nothing simulated waits
    finally:
        fleet.stop()
    count = fleet.count()
    assert (count.devices, count.connected, count.acknowledged, count.dropped) == (3, 0, 0, 0)
    assert count.waiting == count.made
    assert not fleet.running
    assert fleet.trouble == []
    for config in played(tmp_path, devices=3):
        outbox = Outbox(config.outbox_path)
        count_waiting.append(outbox.waiting)
        outbox.close(0.0)
    assert sum(count_waiting) == count.made


def test_agents_work_with_descriptors_above_a_thousand(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_descriptors(1500)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        fleet = Fleet(played(tmp_path, sensors=1, interval_s=0.1))
        stopping = threading.Event()
        fleet.start(stopping)
        while fleet.count().made < 6:
            assert fleet.running
            stopping.wait(0.02)
        fleet.stop()
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_fleet_that_is_told_to_stop_before_it_began(tmp_path):
    fleet = Fleet(played(tmp_path, devices=2))
    stopping = threading.Event()
    stopping.set()
    fleet.start(stopping)
    assert not fleet.running
    fleet.stop()
    assert not fleet.running
    assert list(tmp_path.iterdir()) == []


def test_an_outbox_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").touch()
    fleet = Fleet(played(tmp_path / "file", devices=2))
    fleet.start(threading.Event())
    fleet.stop()
    assert [type(error) for error in fleet.trouble] == [OutboxError, OutboxError]


def test_descriptors_are_asked_for_as_far_as_the_system_allows(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: asked.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 4096))
    allow_descriptors(1000)
    allow_descriptors(2000)
    allow_descriptors(8000)
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, resource.RLIM_INFINITY))
    allow_descriptors(8000)
    assert asked == [(2000, 4096), (4096, 4096), (8000, resource.RLIM_INFINITY)]
