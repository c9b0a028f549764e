"""A crew with drivers of the test's own, the test's own time, and what it told."""

import threading
from contextlib import contextmanager

import msgspec
from mosquitto_peer import eventually

from sensors.crew import Crew
from sensors.driver import Channel, DriverContext
from sensors.keys import SensorKeys
from sensors.reading import Reading
from sensors.schedule import APART_S
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics


class Kind:
    class Options(msgspec.Struct):
        pass

    def __init__(self, make):
        self.make = make

    def build(self, _options, context):
        assert isinstance(context, DriverContext)
        return self.make()


class Polled:
    channels = (Channel(measurement="temperature", decimals=1),)
    model = serial_number = None
    interval_s = 10.0
    min_interval_s = 1.0
    timeout_s = 2.0

    def __init__(self, *answers):
        self.answers = list(answers)
        self.closed = 0

    def read(self):
        answer = self.answers.pop(0) if self.answers else 21.0
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, threading.Event):
            answer.wait(30)
            return [Reading("temperature", 1.0)]
        return [Reading("temperature", answer)]

    def close(self):
        self.closed += 1


class Watched:
    channels = (Channel(measurement="door", role="binary_sensor"), Channel(measurement="lock", role="switch"))
    model = serial_number = None

    def __init__(self, refuses=None):
        self.trouble = None
        self.refuses = refuses
        self.report = None
        self.orders = []
        self.hold = None

    def watch(self, report):
        if self.refuses is not None:
            raise self.refuses
        self.report = report
        report(Reading("door", True))
        report(Reading("lock", False))

    def switch(self, measurement, on):
        if self.hold is not None:
            self.hold.wait(30)
        self.orders.append((measurement, on))

    def close(self):
        self.report = None


class Ears:
    """What a crew told."""

    def __init__(self):
        self.readings = []
        self.turns = []
        self.builds = []
        self.refused = []
        self.woken = threading.Event()

    def measured(self, outgoing, _at):
        self.readings += [(out.topic, out.payload) for out in outgoing]

    def turned(self, sensor):
        self.turns.append((sensor.name, sensor.standing.online))

    def built(self, sensor):
        self.builds.append(sensor.name)

    def not_obeyed(self, topic, payload, why):
        self.refused.append((topic, payload, why))


class World:
    """A crew with the test's own time."""

    def __init__(self, keys, makers):
        self.now = 100.0
        self.ears = Ears()
        configs = [
            SensorConfig(keys=SensorKeys(name=name, kind="test", room=name, **keys), driver=Kind(make), options=None)
            for name, make in makers.items()
        ]
        self.crew = Crew(configs, AgentTopics("home", "house"), self.ears, self.ears.woken.set, self.now)
        self.standing = {sensor.name: sensor.standing for sensor in self.crew.sensors}

    def until(self, condition):
        def turned():
            self.crew.tick(self.now)
            if self.now < self.crew.next_deadline() <= self.now + 2 * APART_S:
                self.pass_time(2 * APART_S)  # drivers that were built together are read one after the other
            return condition()

        return eventually(turned)

    def pass_time(self, seconds):
        self.now += seconds
        self.crew.tick(self.now)


@contextmanager
def worlds():
    """Give what makes a world of makers of drivers, by sensor."""
    made = []

    def make(keys=None, **makers):
        made.append(World(keys or {}, makers))
        made[-1].pass_time(2.0)  # everybody's first turn
        return made[-1]

    yield make
    for one in made:
        for thread in one.crew.close():
            thread.join(5)
