import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from mosquitto_peer import BINARY, Mosquitto, end, eventually
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from appliance import notify
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PubAck, Publish
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import Version
from sensors import agent as agent_module
from sensors.agent import Agent
from sensors.config import SensorsConfig
from sensors.driver import BadFrame, Channel, DriverUnavailable, SensorError
from sensors.drivers.gpio_output import GpioOutput
from sensors.hw.gpio import FakeGpio
from sensors.hw.sysfs import SysfsTree
from sensors.keepsakes import Keepsakes
from sensors.keys import Broker, OutboxBounds, SensorKeys
from sensors.outbox import Outbox
from sensors.reading import Reading
from sensors.sensor_table import SensorConfig

pytestmark = [pytest.mark.interop, pytest.mark.skipif(BINARY is None, reason="needs mosquitto")]

ROOT = Path(__file__).parents[2]


class Kind:
    """A driver of the test's own, in place of a class: `build` gives what it is told to."""

    class Options(msgspec.Struct):
        pass

    def __init__(self, make):
        self.make = make

    def build(self, _options, _context):
        return self.make()


class Thermometer:
    channels = (Channel(measurement="temperature", unit="°C", low=-40, high=125, decimals=1),)
    model = "T1"
    serial_number = "42"
    interval_s = 0.05
    min_interval_s = 0.01
    timeout_s = 0.5

    def __init__(self, read=lambda: 21.4):
        self.ask = read
        self.closed = threading.Event()

    def read(self):
        value = self.ask()
        return [Reading("temperature", value)]

    def close(self):
        self.closed.set()


class Relay:
    channels = (Channel(measurement="relay", role="switch"),)
    model = None
    serial_number = None
    trouble = None

    def __init__(self):
        self.report = None
        self.switched = []
        self.fails = False

    def watch(self, report):
        self.report = report
        report(Reading("relay", False))

    def switch(self, measurement, on):
        if self.fails:
            raise SensorError("the relay is stuck")
        self.switched.append((measurement, on))
        self.report(Reading("relay", on))

    def close(self):
        self.report = None


class Bell(Relay):
    channels = (Channel(measurement="doorbell", role="event"),)

    def watch(self, report):
        self.report = report


def sensor(name, make, **keys):
    keys = {"room": name, **keys}
    return SensorConfig(keys=SensorKeys(name=name, kind="test", **keys), driver=Kind(make), options=None)


class Running:
    """An agent in a thread of the test; its goodbye ends when all is acknowledged, on a slow machine too."""

    def __init__(self, tmp_path, port, sensors, *, goodbye_s=20.0, **outbox):
        self.config = SensorsConfig(
            site="home",
            agent="house",
            name="Das Haus",
            data_dir=tmp_path,
            broker=Broker(port=port),
            password=None,
            outbox=OutboxBounds(),
            sensors=tuple(sensors),
        )
        self.goodbye_s = goodbye_s
        self.bounds = outbox
        self.error = None
        self.built = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        assert self.built.wait(10)

    def run(self):
        try:
            outbox = Outbox(self.config.outbox_path, **self.bounds)
            self.agent = Agent(self.config, outbox, goodbye_s=self.goodbye_s)
            self.built.set()
            self.agent.run()
        except Exception as error:
            self.error = error
            raise

    def stop(self):
        if self.thread.is_alive():
            self.agent.stop()
            self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.error is None


class Listener:
    """Another client, with every message in order."""

    def __init__(self, port, topics=(("#", 1),)):
        self.messages = []
        self.subscribed = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, f"listener-{id(self)}", protocol=MQTTv5)
        self.client.on_connect = lambda *_: self.client.subscribe(list(topics))
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _client, _data, message: self.messages.append(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.subscribed.wait(10)

    def on(self, topic):
        return [message for message in list(self.messages) if message.topic == topic]

    def payloads(self, topic):
        return [message.payload for message in self.on(topic)]

    def wait(self, topic, payload=None, after=0):
        """Wait for a message on the topic; gives it."""

        def found():
            fits = [m for m in self.on(topic)[after:] if payload is None or m.payload == payload]
            return fits and fits[-1]

        return eventually(found)

    def publish(self, topic, payload, **flags):
        self.client.publish(topic, payload, qos=1, **flags).wait_for_publish(10)

    def end(self):
        end(self.client)


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def listener(broker):
    listener = Listener(broker.port)
    yield listener
    listener.end()


@pytest.fixture
def run(tmp_path, broker):
    running = []

    def start(*sensors, **outbox):
        running.append(Running(tmp_path, broker.port, sensors, **outbox))
        return running[-1]

    yield start
    for agent in running:
        agent.stop()


def retained(broker, topic):
    """What a newcomer is told."""
    newcomer = Listener(broker.port, [(topic, 1), ("end", 1)])
    try:
        newcomer.publish("end", b"")
        newcomer.wait("end")
        return {m.topic: m.payload for m in newcomer.messages if m.retain}
    finally:
        newcomer.end()


def provenance(message):
    return dict(message.properties.UserProperty)


AVAILABILITY = "home/devices/house/availability"


@pytest.fixture
def heard(monkeypatch):
    """What systemd hears, whose watchdog wants a word every 20 ms."""
    words = []
    for name in ("ready", "status", "watchdog", "stopping"):
        monkeypatch.setattr(notify, name, lambda status="", name=name: words.append((name, status)))
    monkeypatch.setattr(notify, "watchdog_interval_s", lambda: 0.02)
    return words


def test_systemd_hears_how_the_agent_is_with_counts(heard, run, broker):
    agent = run(sensor("kitchen", Thermometer))
    well = f"connected to 127.0.0.1:{broker.port}"
    eventually(lambda: ("watchdog", f"{well}; 1 of 1 sensors online, 0 readings wait") in heard)
    assert ("ready", well) in heard
    broker.stop()
    cut_off = r"127\.0\.0\.1:\d+ .+; 1 of 1 sensors online, [1-9]\d* readings wait"
    eventually(lambda: [text for name, text in heard if name == "watchdog" and re.fullmatch(cut_off, text)])
    agent.stop()
    assert heard[-1][0] == "stopping"


def test_readings_are_plain_retained_and_carry_their_provenance(run, listener, broker):
    run(sensor("kitchen", Thermometer))
    listener.wait(AVAILABILITY, b"online")
    message = listener.wait("home/kitchen/temperature", b"21.4")
    facts = provenance(message)
    assert facts.keys() == {"agent", "run", "seq", "time", "quality", "clock"}
    assert (facts["agent"], facts["quality"]) == ("house", "ok")
    assert facts["clock"] in ("synced", "unsynced")
    assert facts["time"].endswith("Z")
    assert abs(time.mktime(time.strptime(facts["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - time.time()) < 60
    assert message.qos == 1
    assert retained(broker, "home/kitchen/temperature") == {"home/kitchen/temperature": b"21.4"}
    numbers = [int(provenance(m)["seq"]) for m in listener.on("home/kitchen/temperature")]
    assert numbers == sorted(set(numbers))


def test_about_tells_everything_and_health_counts(run, listener, broker):
    run(sensor("kitchen", Thermometer, title="Küche", interval_s=7.0), sensor("fan", Relay))
    about = json.loads(listener.wait("home/devices/house/about").payload)
    assert (about["agent"], about["site"], about["name"]) == ("house", "home", "Das Haus")
    kitchen, fan = about["sensors"]
    assert kitchen == {
        "topic": "home/kitchen/temperature",
        "kind": "temperature",
        "name": "Küche",
        "unit": "°C",
        "interval_s": 7.0,
        "availability_topic": "home/devices/house/kitchen/availability",
        "model": "T1",
        "serial_number": "42",
    }
    assert fan["command_topic"] == "home/fan/relay/set"
    assert fan["role"] == "switch"
    listener.wait("home/devices/house/health")
    eventually(lambda: json.loads(listener.on("home/devices/house/health")[-1].payload)["sensors"]["kitchen"]["ok"] > 0)
    told = retained(broker, "home/devices/#")
    assert told["home/devices/house/kitchen/availability"] == b"online"
    assert {"home/devices/house/about", "home/devices/house/health", AVAILABILITY} <= told.keys()


def test_commands_switch_and_the_state_comes_back(run, listener):
    relay = Relay()
    run(sensor("fan", lambda: relay))
    listener.wait("home/fan/relay", b"OFF")
    listener.publish("home/fan/relay/set", b"ON")
    listener.wait("home/fan/relay", b"ON")
    listener.publish("home/fan/relay/set", b"TOGGLE")
    listener.wait("home/fan/relay", b"OFF", after=len(listener.on("home/fan/relay")) - 1)
    eventually(lambda: relay.switched == [("relay", True), ("relay", False)])


def test_state_is_published_only_after_the_driver_reported_it(run, listener, caplog):
    relay = Relay()
    relay.fails = True
    run(sensor("fan", lambda: relay))
    listener.wait("home/fan/relay", b"OFF")
    listener.publish("home/fan/relay/set", b"ON")
    eventually(lambda: "the relay is stuck" in caplog.text)
    assert listener.payloads("home/fan/relay")[-1] == b"OFF"
    assert b"ON" not in listener.payloads("home/fan/relay")


def refusals(listener):
    """What the last message on the health topic says of refused commands."""
    messages = listener.on("home/devices/house/health")
    return json.loads(messages[-1].payload)["refused"] if messages else []


def test_retained_and_unknown_commands_are_refused_and_told_on_the_health_topic(run, listener):
    relay = Relay()
    listener.publish("home/fan/relay/set", b"ON", retain=True)
    run(sensor("fan", lambda: relay))
    eventually(lambda: len(refusals(listener)) == 1)
    listener.publish("home/fan/relay/set", b"make coffee")
    eventually(lambda: len(refusals(listener)) == 2)
    listener.publish("home/fan/relay/set", b"ON", retain=True)  # though somebody listens just now
    eventually(lambda: len(refusals(listener)) == 3)
    told = refusals(listener)
    assert [(one["topic"], one["payload"]) for one in told] == [
        ("home/fan/relay/set", "ON"),
        ("home/fan/relay/set", "make coffee"),
        ("home/fan/relay/set", "ON"),
    ]
    assert "publish without retain, and delete this one" in told[0]["why"]
    assert "ON, OFF and TOGGLE are" in told[1]["why"]
    assert all(one["time"].endswith("Z") for one in told)
    assert relay.switched == []


class Real(Kind):
    """The real driver of outputs, on pins that are not there."""

    switch = GpioOutput.switch
    channels_of = GpioOutput.channels_of

    def __init__(self, gpio, keys):
        self.gpio = gpio
        self.options = msgspec.convert({"pin": 17, "output": "valve", **keys}, GpioOutput.Options)

    def build(self, _options, context):
        return GpioOutput.build(self.options, replace(context, gpio=self.gpio))


def valve(gpio, name="garden", **keys):
    driver = Real(gpio, keys)
    return SensorConfig(keys=sensor(name, None).keys, driver=driver, options=driver.options)


def test_a_burst_of_commands_ends_in_the_last_one(run, listener, broker):
    gpio = FakeGpio()
    run(valve(gpio))
    listener.wait("home/garden/valve", b"OFF")
    for payload in [b"ON", b"OFF"] * 25 + [b"ON"]:
        listener.publish("home/garden/valve/set", payload)
    listener.publish("home/garden/valve/set", b"?")
    eventually(lambda: refusals(listener))
    eventually(lambda: retained(broker, "home/garden/valve") == {"home/garden/valve": b"ON"})
    assert gpio.outputs[17].levels[-1] is True
    assert len(refusals(listener)) == 1


@pytest.fixture
def unhurried(monkeypatch):
    """At the end drivers have as long as a slow machine needs."""
    monkeypatch.setattr(agent_module, "FAREWELL_S", 10.0)
    monkeypatch.setattr(agent_module, "LAST_SWITCH_S", 20.0)


@pytest.mark.usefixtures("unhurried")
def test_the_state_for_the_end_is_there_and_told_before_offline(run, listener, broker):
    gpio = FakeGpio()
    agent = run(valve(gpio, start="last"))
    listener.wait("home/garden/valve", b"OFF")
    listener.publish("home/garden/valve/set", b"ON")
    listener.wait("home/garden/valve", b"ON")
    agent.stop()
    assert gpio.outputs[17].levels == [False, True, False]
    assert retained(broker, "home/garden/valve") == {"home/garden/valve": b"OFF"}
    run(valve(gpio, start="last"))
    eventually(lambda: retained(broker, "home/garden/valve") == {"home/garden/valve": b"ON"})
    assert gpio.outputs[17].levels == [True]


def test_a_state_is_told_when_it_would_outlast_a_power_cut(run, listener, tmp_path):
    agent = run(valve(FakeGpio(), start="last")).agent
    listener.wait("home/garden/valve", b"OFF")
    told = agent.measured
    kept = []

    def telling(outgoing, at):
        told(outgoing, at)
        if not kept or kept[-1][0] != outgoing[-1].payload:  # of what is said twice the first counts
            kept.append((outgoing[-1].payload, Keepsakes(tmp_path / "home-house.kept").get("garden", "on")))

    agent.measured = telling
    for payload in (b"ON", b"OFF") * 5:
        listener.publish("home/garden/valve/set", payload)
        eventually(lambda payload=payload: kept and kept[-1][0] == payload.decode())
    assert all((payload == "ON") is on for payload, on in kept)


def test_a_last_state_that_cannot_be_kept_is_told(run, listener, tmp_path, caplog):
    blocked = tmp_path / "home-house.kept.new"
    blocked.mkdir()
    run(valve(FakeGpio(), start="last"))
    listener.wait("home/garden/valve", b"OFF")
    listener.publish("home/garden/valve/set", b"ON")

    def told():
        return json.loads(listener.wait("home/devices/house/health").payload).get("keepsakes_problem")

    assert "home-house.kept cannot be written (Is a directory)" in eventually(told)
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.usefixtures("unhurried")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_agent_that_breaks_leaves_no_valve_open(run, listener):
    gpio = FakeGpio()
    agent = run(valve(gpio, start="on"))
    listener.wait("home/garden/valve", b"ON")

    def broken(_now):
        raise RuntimeError("a bug")

    agent.agent._sender.tick = broken
    agent.thread.join(60)
    assert str(agent.error) == "a bug"
    agent.error = None
    assert gpio.outputs[17].levels == [True, False]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_agent_that_breaks_at_its_end_keeps_what_waits(tmp_path):
    agent = Running(tmp_path, 1, [sensor("n", Thermometer)])
    eventually(lambda: agent.agent._outbox.waiting)

    def broken(*_):
        raise RuntimeError("a bug")

    agent.agent._until = broken  # to say goodbye with, and to let go of the hardware
    agent.agent._keepsakes.put("n", "total", 1.0)
    agent.agent.stop()
    agent.thread.join(10)
    assert str(agent.error) == "a bug"
    assert Keepsakes(agent.config.keepsakes_path).get("n", "total") == 1.0
    outbox = Outbox(agent.config.outbox_path)
    assert outbox.waiting
    outbox.close(0.0)


def test_a_pin_that_is_slow_is_waited_for_at_the_end_without_a_broker_too(tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "LAST_SWITCH_S", 20.0)  # and FAREWELL_S stays shorter than the pin needs
    gpio = FakeGpio()
    agent = Running(tmp_path, 1, [valve(gpio, start="on")])
    eventually(lambda: agent.agent._outbox.waiting)
    line, swift, slow = gpio.outputs[17], gpio.outputs[17].set, threading.Event()
    line.set = lambda level: (slow.wait(0.8), swift(level))
    agent.stop()
    assert line.levels == [True, False]


def test_a_pin_that_fails_is_offline_and_no_state_is_claimed(run, listener):
    gpio = FakeGpio()
    run(valve(gpio))
    listener.wait("home/garden/valve", b"OFF")
    gpio.outputs[17].tied_to = False
    listener.publish("home/garden/valve/set", b"ON")
    listener.wait("home/devices/house/garden/availability", b"offline")
    eventually(lambda: refusals(listener))
    assert "GPIO17 does not go to 3.3 V" in refusals(listener)[0]["why"]
    assert b"ON" not in listener.payloads("home/garden/valve")


def test_a_command_to_an_output_that_could_not_be_taken_is_told_and_told_once(run, listener):
    gpio = FakeGpio()
    taken = gpio.open_input(17, "up")
    listener.publish("home/garden/valve/set", b"OFF", retain=True)
    agent = run(valve(gpio))
    listener.wait("home/devices/house/garden/availability", b"offline")
    listener.publish("home/garden/valve/set", b"ON")
    eventually(lambda: len(refusals(listener)) == 2)
    assert refusals(listener)[1]["why"].startswith(
        "not switched, sensor garden fails: GPIO17 is used by another sensor"
    )
    taken.close()
    agent.agent._crew._schedule.again("garden", agent.agent._now)
    agent.agent._waker.wake()
    listener.wait("home/garden/valve", b"OFF")
    listener.publish("home/garden/valve/set", b"ON")
    listener.wait("home/garden/valve", b"ON")
    assert len(refusals(listener)) == 2


def test_commands_that_the_broker_keeps_from_the_agent_are_told(run, listener, broker):
    agent = run(valve(FakeGpio())).agent
    listener.wait("home/garden/valve", b"OFF")
    agent.refused("home/garden/valve/set", "Not authorized")
    agent._waker.wake()

    def told():
        return json.loads(listener.wait("home/devices/house/health").payload).get("unheard")

    assert eventually(told) == {"home/garden/valve/set": "Not authorized"}
    broker.stop()
    eventually(lambda: not agent.up)
    assert agent._unheard == {}  # the next connection may be better


def test_of_a_group_none_comes_on_while_the_pin_of_one_is_not_there(run, listener):
    gpio = FakeGpio()
    gpio.open_input(18, "up")
    run(valve(gpio, interlock="water"), valve(gpio, "yard", pin=18, interlock="water"))
    listener.wait("home/garden/valve", b"OFF")
    listener.wait("home/devices/house/yard/availability", b"offline")
    listener.publish("home/garden/valve/set", b"ON")
    eventually(lambda: refusals(listener))
    assert refusals(listener)[0]["why"].endswith("yard of the group water cannot be seen to be off")
    assert gpio.outputs[17].levels == [False]


@pytest.mark.usefixtures("unhurried")
def test_at_the_end_nobody_comes_on_because_another_of_the_group_goes_off(run, listener):
    gpio = FakeGpio()
    agent = run(
        valve(gpio, "heat", start="on", min_on_s=3600, interlock="air"),
        valve(gpio, "cool", pin=18, stop="last", interlock="air"),
    )
    listener.wait("home/heat/valve", b"ON")
    listener.wait("home/cool/valve", b"OFF")
    seen = len(listener.on("home/cool/valve"))
    listener.publish("home/cool/valve/set", b"ON")  # waits for the other
    listener.wait("home/cool/valve", b"OFF", after=seen)
    cool = next(sensor.driver for sensor in agent.agent._crew.sensors if sensor.name == "cool")
    close, heat = cool.close, gpio.outputs[17]

    def late():
        eventually(lambda: heat.closed)
        close()

    cool.close = late
    agent.stop()
    assert heat.levels[-1] is False
    assert gpio.outputs[18].levels == [False]


def test_without_the_broker_an_actuator_goes_to_its_safe_state_and_says_so_when_it_is_back(run, listener, broker):
    gpio = FakeGpio()
    run(valve(gpio, start="on", safe_after_s=4.0))  # which counts from the start until it is connected, too
    listener.wait("home/garden/valve", b"ON")
    broker.stop()
    eventually(lambda: gpio.outputs[17].levels == [True, False], seconds=30.0)
    broker.start()
    eventually(lambda: retained(broker, "home/garden/valve") == {"home/garden/valve": b"OFF"})
    assert gpio.outputs[17].levels == [True, False]


def test_a_broker_that_fell_silent_is_gone_since_its_last_word(run, listener, broker):
    gpio = FakeGpio()
    agent = run(valve(gpio, start="on", safe_after_s=600)).agent
    listener.wait("home/garden/valve", b"ON")
    link = agent._link

    def silence(now):
        link.heard_at = now - 700
        link._lost("Keep alive timeout")

    link.readable = silence
    broker.stop()
    eventually(lambda: gpio.outputs[17].levels == [True, False])


def test_events_are_never_retained(run, listener, broker):
    bell = Bell()
    run(sensor("hall", lambda: bell))
    listener.wait("home/devices/house/hall/availability", b"online")
    bell.report(Reading("doorbell", "press"))
    message = listener.wait("home/hall/doorbell", b"press")
    assert "seq" in provenance(message)
    assert retained(broker, "home/hall/doorbell") == {}


def test_a_raising_or_hanging_driver_stops_neither_the_agent_nor_the_others(run, listener):
    release = threading.Event()

    def raising():
        raise ZeroDivisionError

    try:
        run(
            sensor("raises", lambda: Thermometer(raising)),
            sensor("hangs", lambda: Thermometer(lambda: release.wait(30) and 1.0)),
            sensor("missing", lambda: (_ for _ in ()).throw(DriverUnavailable("no library; install it"))),
            sensor("works", Thermometer),
        )
        listener.wait("home/devices/house/missing/availability", b"offline")
        listener.wait("home/devices/house/raises/availability", b"offline")
        listener.wait("home/devices/house/hangs/availability", b"offline")
        seen = len(listener.on("home/works/temperature"))
        eventually(lambda: len(listener.on("home/works/temperature")) > seen + 3)
        assert listener.payloads("home/devices/house/works/availability") == [b"online"]
    finally:
        release.set()
    listener.wait("home/devices/house/hangs/availability", b"online")


def test_a_sensor_comes_back_by_itself(run, listener):
    broken = threading.Event()
    broken.set()

    def read():
        if broken.is_set():
            raise BadFrame("checksum of 01 02")
        return 5.0

    run(sensor("attic", lambda: Thermometer(read)))
    listener.wait("home/devices/house/attic/availability", b"offline")
    broken.clear()
    listener.wait("home/devices/house/attic/availability", b"online")
    listener.wait("home/attic/temperature", b"5.0")


def test_what_cannot_be_true_is_not_published(run, listener):
    run(sensor("attic", lambda: Thermometer(lambda: 500.0)))
    listener.wait("home/devices/house/attic/availability", b"offline")
    health = eventually(
        lambda: [
            json.loads(m.payload)
            for m in listener.on("home/devices/house/health")
            if json.loads(m.payload)["sensors"]["attic"].get("failed")
        ]
    )[-1]
    assert health["sensors"]["attic"]["failed"]["range"] > 0
    assert listener.on("home/attic/temperature") == []


def test_two_sensors_never_share_a_topic(run, listener, caplog):
    run(sensor("one", Thermometer, room="attic"), sensor("two", Thermometer, room="attic"))
    eventually(lambda: "give one of the two a label" in caplog.text)
    about = json.loads(listener.wait("home/devices/house/about").payload)
    assert [s["topic"] for s in about["sensors"]] == ["home/attic/temperature"]


def test_goodbye_says_offline_and_lets_go_of_the_hardware(run, listener, broker):
    thermometer = Thermometer()
    agent = run(sensor("kitchen", lambda: thermometer))
    listener.wait("home/kitchen/temperature")
    eventually(lambda: agent.agent._outbox.waiting == 0)  # what was read before the connection stood is backlog
    began = time.monotonic()
    agent.stop()
    assert time.monotonic() - began < agent.goodbye_s - 5  # it ends when all is acknowledged, and waits for no more
    listener.wait(AVAILABILITY, b"offline")
    assert thermometer.closed.wait(5)
    assert "sensors-home-house" in broker.log.read_text()
    outbox = Outbox(agent.config.outbox_path)
    assert outbox.waiting == 0
    outbox.close(0.0)


def test_a_hanging_driver_does_not_delay_the_end(run, listener):
    release = threading.Event()
    try:
        agent = run(sensor("hangs", lambda: Thermometer(lambda: release.wait(30) and 1.0)))
        listener.wait(AVAILABILITY, b"online")
        agent.agent.stop()
        agent.thread.join(15.0)
        assert not agent.thread.is_alive()
    finally:
        release.set()


def test_a_broker_that_was_away_gets_every_reading_exactly_once(tmp_path, broker):
    """The broker forgets everything: birth, about and states come again, the rest as backlog in order."""
    count = iter(range(1, 1_000_000))
    relay = Relay()
    before = Listener(broker.port, [("#", 0)])  # so that all that the broker acknowledges is on its way here at once
    agent = Running(
        tmp_path,
        broker.port,
        [sensor("n", lambda: Thermometer(lambda: next(count) % 100)), sensor("fan", lambda: relay)],
    )
    before.wait("home/n/temperature")
    link = agent.agent._link
    link._backoff.wait_s = lambda _: 3_600.0  # it comes back when somebody listens
    broker.stop()
    eventually(lambda: not before.client.is_connected())  # what the broker told before its end has been read
    before.end()
    waiting = eventually(lambda: agent.agent._outbox.waiting > 40 and agent.agent._outbox.waiting)
    broker.start()
    after = Listener(broker.port)
    try:
        del link._backoff.wait_s
        link._next_attempt_at = 0.0
        agent.agent._waker.wake()
        after.wait(AVAILABILITY, b"online")
        after.wait("home/devices/house/about")
        after.wait("home/fan/relay", b"OFF")
        after.wait("home/n/temperature")
        after.wait("home/devices/house/backlog")
        eventually(lambda: agent.agent._outbox.waiting < 5)
        agent.stop()
        outbox = Outbox(agent.config.outbox_path)
        left = [entry.seq for entry in outbox.backlog(10_000)]
        used = outbox._next_seq - 1
        outbox.close(0.0)
        backlog = [entry for m in after.on("home/devices/house/backlog") for entry in json.loads(m.payload)]
        assert len(backlog) >= waiting
        numbers = [entry["seq"] for entry in backlog]
        assert numbers == sorted(numbers)
        assert all(isinstance(e["value"], float) for e in backlog if e["topic"] == "home/n/temperature")
        assert not after.on("home/devices/house/backlog")[0].retain
        assert provenance(after.on("home/devices/house/backlog")[0])["run"]
        ours = ("home/n/temperature", "home/fan/relay")
        seen = [m for m in (*before.messages, *after.messages) if m.topic in ours]
        early = [e["seq"] for m in before.on("home/devices/house/backlog") for e in json.loads(m.payload)]
        everything = sorted({int(provenance(m)["seq"]) for m in seen} | {*early, *numbers, *left})
        assert everything == list(range(1, used + 1))  # no gap
        assert len(numbers) == len(set(numbers))  # and no repetition
        assert min(int(provenance(m)["seq"]) for m in after.on("home/n/temperature")) > numbers[0]  # live is live
    finally:
        after.end()
        agent.stop()


def test_stopping_without_a_broker_keeps_the_readings_for_the_next_start(tmp_path, broker):
    broker.stop()
    count = iter(range(100))
    agent = Running(tmp_path, broker.port, [sensor("n", lambda: Thermometer(lambda: next(count, 7)))])
    eventually(lambda: agent.agent._outbox.waiting >= 10)
    agent.stop()
    broker.start()
    listener = Listener(broker.port)
    again = Running(tmp_path, broker.port, [])
    try:
        message = listener.wait("home/devices/house/backlog")
        values = [entry["value"] for entry in json.loads(message.payload)]
        assert values[:10] == list(range(10))
        assert listener.on("home/n/temperature") == []
        eventually(lambda: again.agent._outbox.waiting == 0)
    finally:
        again.stop()
        listener.end()


def start_process(tmp_path, port):
    config = tmp_path / "sensors.toml"
    config.write_text(
        f'agent = "house"\ndata_dir = "{tmp_path}"\n[broker]\nport = {port}\n'
        '[[sensor]]\nname = "kitchen"\nkind = "simulated"\nroom = "kitchen"\ninterval_s = 0.1\n'
    )
    return subprocess.Popen(
        [sys.executable, "-m", "sensors", "run", "--config", config],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "NOTIFY_SOCKET": ""},
    )


def test_kill_9_fires_the_will_and_no_number_comes_twice(tmp_path, broker, listener):
    process = start_process(tmp_path, broker.port)
    try:
        first = provenance(listener.wait("home/kitchen/temperature"))
        process.kill()
        listener.wait(AVAILABILITY, b"offline")
        assert retained(broker, AVAILABILITY) == {AVAILABILITY: b"offline"}
    finally:
        process.kill()
        process.communicate(timeout=10)
    seen = len(listener.on("home/kitchen/temperature"))
    process = start_process(tmp_path, broker.port)
    try:
        again = provenance(listener.wait("home/kitchen/temperature", after=seen))
        assert again["run"] == first["run"]
        numbers = [int(provenance(m)["seq"]) for m in listener.on("home/kitchen/temperature")]
        assert len(numbers) == len(set(numbers))
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_a_clean_goodbye(number, tmp_path, broker, listener):
    process = start_process(tmp_path, broker.port)
    try:
        listener.wait("home/kitchen/temperature")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert b"Traceback" not in errors
    listener.wait(AVAILABILITY, b"offline")


def healths(listener):
    return [json.loads(message.payload) for message in listener.on("home/devices/house/health")]


def test_a_second_agent_with_our_name_is_named_after_the_first_cut(tmp_path, broker, listener, caplog):
    agents = []
    try:
        for name in ("original", "clone"):
            if agents:
                listener.wait("home/devices/house/health")
                listener.wait("home/devices/house/about")
                eventually(lambda: agents[0].agent._namesake._is_there)
            (tmp_path / name).mkdir()
            agents.append(Running(tmp_path / name, broker.port, [sensor("kitchen", Thermometer)]))
        eventually(lambda: "a second agent with the same site and agent, on " in caplog.text)
        said = next(line for line in caplog.messages if "a second agent" in line)
        assert f"{socket.gethostname()}, 127.0.0.1" in said
        assert "again and again" not in caplog.text
        clone = agents[1].agent._outbox.run
        # The original has thrown it out once, and it does not take that for a namesake of its own.
        eventually(lambda: {"run": clone, "connects": 2}.items() <= healths(listener)[-1].items())
    finally:
        for agent in agents:
            agent.stop()


class Grudging:
    """A broker of the test's own that gives `reason` for `offline` and takes everything else; keeps what it heard."""

    def __init__(self, reason):
        self.reason = reason
        self.heard = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        link, _ = self.server.accept()
        stream = PacketStream(Version.MQTT_5)
        with link:
            while data := link.recv(65_536):
                stream.feed(data)
                while (packet := stream.next_packet()) is not None:
                    self.heard.append(packet)
                    if (answer := self.answer(packet)) is not None:
                        link.sendall(codec.encode(answer, Version.MQTT_5))

    def answer(self, packet):
        match packet:
            case Connect():
                return ConnAck()
            case Publish(qos=1, payload=b"offline", packet_id=number):
                return PubAck(number, self.reason)
            case Publish(qos=1, packet_id=number):
                return PubAck(number)

    def end(self):
        self.thread.join(10)
        self.server.close()


@pytest.mark.parametrize(("reason", "goodbye"), [(0x00, 0x00), (0x97, 0x04)])
def test_a_goodbye_that_the_broker_does_not_take_is_left_to_the_will(tmp_path, reason, goodbye):
    broker = Grudging(reason)
    agent = Running(tmp_path, broker.port, [])
    eventually(lambda: [packet for packet in broker.heard if isinstance(packet, Publish)])
    agent.stop()
    broker.end()
    offline, last = [
        packet for packet in broker.heard if not isinstance(packet, Publish) or packet.topic == AVAILABILITY
    ][-2:]
    assert offline.payload == b"offline"
    assert last == Disconnect(reason_code=goodbye)


def alone(tmp_path):
    """The configuration of an agent without sensors or a broker."""
    return SensorsConfig(
        site="home",
        agent="house",
        name="",
        data_dir=tmp_path,
        broker=Broker(port=1),
        password=None,
        outbox=OutboxBounds(),
        sensors=(),
    )


@pytest.mark.parametrize("tells", [True, False])
def test_who_comes_back_to_a_second_agent_names_it_and_leaves_where_nobody_else_keeps_them_apart(
    tmp_path, caplog, tells
):
    agent = Agent(alone(tmp_path), Outbox(tmp_path / "house.outbox"))
    agent._namesake.arrived()
    agent._link.tells_of_takeovers = tells
    other = json.dumps({"run": "theirs", "computer": "attic, 192.0.2.7"}).encode()
    agent.commanded("home/devices/house/health", other, retained=True)
    assert ("the second agent with the same site and agent is on attic, 192.0.2.7" in caplog.messages) is tells
    assert any("with our client id" in line for line in caplog.messages) is not tells
    agent.stop()
    agent.run()


def test_a_card_from_another_computer_is_told_of(tmp_path, caplog):
    config = alone(tmp_path)
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    runs = []
    for serial in ("1000-pi", "1000-pi", "2000-pi"):
        (tmp_path / "proc/device-tree/serial-number").write_text(f"{serial}\0")
        agent = Agent(config, Outbox(config.outbox_path), sysfs=SysfsTree(tmp_path))
        agent.stop()
        agent.run()
        runs.append(agent._outbox.run)
    assert runs[0] == runs[1] != runs[2]
    assert f"the outbox comes from another computer: readings are numbered anew (run {runs[2]})" in caplog.text
    assert caplog.text.count("another computer") == 1
