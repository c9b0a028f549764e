import threading
from itertools import pairwise

import pytest
from crews import Ears, Kind, Polled, Watched, World, worlds
from mosquitto_peer import eventually

from sensors.crew import BUILD_TIMEOUT_S, LOOK_EVERY_S, MAX_INBOX, Crew
from sensors.driver import Channel, Disconnected, DriverUnavailable
from sensors.keys import SensorKeys
from sensors.reading import Reading
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics
from sensors.worker import Inline


@pytest.fixture
def world():
    with worlds() as make:
        yield make


def test_a_polled_sensor_is_built_read_and_read_again(world):
    it = world(attic=lambda: Polled(20.0, 21.0))
    it.until(lambda: it.ears.readings == [("home/attic/temperature", "20.0")])
    assert it.ears.builds == ["attic"]
    assert it.ears.turns == [("attic", True)]
    assert it.crew.complete
    assert it.crew.next_deadline() > it.now
    it.pass_time(20.0)
    it.until(lambda: len(it.ears.readings) == 2)
    assert it.standing["attic"].ok == 2


def test_a_watched_sensor_says_its_state_and_says_it_again_when_asked(world):
    it = world(hall=Watched)
    states = [("home/hall/door", "ON"), ("home/hall/lock", "OFF")]
    it.until(lambda: it.ears.readings == states)
    it.crew.say_again(it.now, 5.0)
    assert it.ears.readings == states * 2


def test_missing_hardware_takes_the_sensor_offline_at_once_and_is_tried_again(world):
    answers = [DriverUnavailable("no library; install it"), None]

    def make():
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return Polled()

    it = world(attic=make)
    it.until(lambda: it.ears.turns == [("attic", False)])
    assert it.standing["attic"].trouble == "no library; install it"
    it.pass_time(60.0)
    it.until(lambda: it.ears.turns == [("attic", False), ("attic", True)])


def test_what_a_driver_tried_again_is_counted_beside_its_failures(world):
    driver = Polled(21.0, Disconnected("unplugged"))
    driver.retried = {"checksum": 2}
    it = world(kitchen=lambda: driver)
    standing = it.standing["kitchen"]
    it.until(lambda: standing.ok)
    assert standing.retried == {"checksum": 2}
    driver.retried = {"checksum": 2, "disconnected": 2}
    it.pass_time(20.0)
    it.until(lambda: standing.failed)
    assert standing.retried == {"checksum": 2, "disconnected": 2}


def test_three_failed_reads_take_it_offline_and_a_good_one_brings_it_back(world, caplog):
    it = world(attic=lambda: Polled(*[Disconnected("nothing answers on GPIO4")] * 3))
    for count in (1, 2, 3):
        it.until(lambda count=count: it.standing["attic"].failed["disconnected"] == count)
        it.pass_time(300.0)
    it.until(lambda: it.ears.turns == [("attic", False), ("attic", True)])
    assert caplog.text.count("nothing answers on GPIO4") == 1  # the same again is not said again


@pytest.mark.parametrize("nonsense", [None, 7, ["21.0"], [Reading("temperature", 10**400)]], ids=range(4))
def test_a_driver_that_gives_nonsense_fails_alone(world, nonsense):
    driver = Polled()
    driver.read = lambda: nonsense
    it = world(attic=lambda: driver, other=Polled)
    it.until(lambda: it.standing["attic"].failed and it.ears.readings)
    assert it.ears.readings == [("home/other/temperature", "21.0")]
    assert it.standing["attic"].trouble


def test_a_driver_that_is_none_fails_alone(world):
    it = world(attic=object, other=Polled)
    it.until(lambda: it.standing["attic"].failed and it.ears.readings)
    assert it.ears.builds == ["other"]


def test_a_read_that_gives_nothing_yet_is_neither_good_nor_bad(world):
    driver = Polled()
    answers = [(), Disconnected("gone"), [], [Reading("temperature", 21.0)]]
    asked = []

    def read():
        asked.append(answers.pop(0) if answers else [])
        if isinstance(asked[-1], Exception):
            raise asked[-1]
        return asked[-1]

    driver.read = read
    it = world({"offline_after": 1}, attic=lambda: driver)
    standing = it.standing["attic"]
    for count, told in ((1, []), (2, [False]), (3, [False]), (4, [False, True])):
        it.until(lambda count=count: len(asked) == count and not it.crew._workers["attic"].waiting)
        assert [online for _, online in it.ears.turns] == told
        it.pass_time(10.0)
    assert (standing.ok, standing.failed) == (1, {"disconnected": 1})


def test_an_unchanged_number_is_said_again_when_asked(world):
    it = world({"delta": 1.0, "heartbeat_s": 3600.0}, attic=Polled)
    it.until(lambda: len(it.ears.readings) == 1)
    it.pass_time(20.0)
    it.until(lambda: it.standing["attic"].ok == 2)
    assert len(it.ears.readings) == 1
    it.crew.say_again(it.now, 5.0)
    it.pass_time(5.0)
    it.until(lambda: len(it.ears.readings) == 2)


def test_a_read_that_hangs_is_given_up_and_not_asked_twice(world):
    release = threading.Event()
    driver = Polled(release)
    it = world(attic=lambda: driver, other=Polled)
    it.until(lambda: ("home/other/temperature", "21.0") in it.ears.readings and not driver.answers)
    for _ in range(3):
        it.pass_time(300.0)
    it.until(lambda: it.standing["attic"].online is False)
    assert it.standing["attic"].failed["timeout"] >= 3
    assert driver.answers == []
    release.set()
    it.until(lambda: not it.crew._workers["attic"].stuck)
    it.pass_time(300.0)
    it.until(lambda: it.standing["attic"].online)
    assert ("home/attic/temperature", "1.0") not in it.ears.readings  # too old to be told


class Clocked(Polled):
    """Writes down when it is asked."""

    def __init__(self, world, times, answer=21.0):
        super().__init__()
        self.world = world
        self.times = times
        self.answer = answer

    def read(self):
        self.times.append(self.world[0].now)
        self.answers = [self.answer]
        return super().read()


def played(it, until, hangs=()):
    """Go from deadline to deadline; the reads of those that hang are not waited for."""
    workers = it.crew._workers

    def idle():
        return not any(
            workers[sensor.name].waiting
            for sensor in it.crew.sensors
            if sensor.name not in hangs or sensor.driver is None
        )

    while (due := it.crew.next_deadline()) < until:
        it.now = max(due, it.now)
        eventually(lambda: it.crew.tick(it.now) or idle())


def test_of_twenty_sensors_no_two_are_read_at_once_and_none_waits_for_one_that_hangs_or_fails():
    release = threading.Event()
    answers = {"s3": release, "s7": Disconnected("nothing answers")}
    times = {f"s{number}": [] for number in range(20)}
    it = []
    makers = {name: lambda name=name: Clocked(it, times[name], answers.get(name, 21.0)) for name in times}
    it.append(World({"interval_s": 10.0, "offline_after": 2}, makers))
    try:
        played(it[0], 100.0 + 60.0, hangs=["s3"])
    finally:
        release.set()
        for thread in it[0].crew.close():
            thread.join(5)
    every = [at for reads in times.values() for at in reads]
    assert {at: [n for n, r in times.items() if at in r] for at in every if every.count(at) > 1} == {}
    rhythms = {name: reads for name, reads in times.items() if name not in answers}
    assert {len(reads) for reads in rhythms.values()} <= {6, 7}  # one at the start, then each 10 s
    assert all(b - a == pytest.approx(10.0) for reads in rhythms.values() for a, b in pairwise(reads[1:]))
    assert {name for name, standing in it[0].standing.items() if not standing.online} == set(answers)
    assert len(times["s3"]) == 1


class Air(Polled):
    channels = (Channel(measurement="temperature", decimals=1), Channel(measurement="humidity", low=0, high=100))

    def __init__(self):
        super().__init__()
        self.humidity = 50.0

    def read(self):
        return [*super().read(), Reading("humidity", self.humidity)]


class Greenhouse(Polled):
    """A thermometer that is seldom asked, while it grows warmer by 6 °C an hour."""

    channels = (Channel(measurement="temperature", max_step=5, decimals=1), Channel(measurement="light"))

    def __init__(self, world, channels):
        super().__init__()
        self.world = world
        self.channels = self.channels[:channels]
        self.asked = []

    def read(self):
        self.asked.append(self.world[0].now)
        return [Reading("temperature", 10.0 + 6.0 * (self.asked[-1] - 100.0) / 3600.0), Reading("light", 1.0)][
            : len(self.channels)
        ]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_jump_is_confirmed_soon_however_seldom_a_sensor_is_read(channels):
    it = []
    greenhouse = Greenhouse(it, channels)
    it.append(World({"interval_s": 3600.0}, {"greenhouse": lambda: greenhouse}))
    played(it[0], 100.0 + 4.5 * 3600.0)
    for thread in it[0].crew.close():
        thread.join(5)
    told = [float(payload) for topic, payload in it[0].ears.readings if topic.endswith("temperature")]
    assert told == pytest.approx([10.0, 16.0, 22.0, 28.0, 34.0], abs=0.1)
    assert it[0].ears.turns == [("greenhouse", True)]
    assert it[0].standing["greenhouse"].failed == {"jump": 4}
    doubted = [at for at, later in pairwise(greenhouse.asked) if later - at < 60.0]
    assert len(doubted) == 4
    assert len(greenhouse.asked) == 9


def test_a_jump_that_is_not_confirmed_is_not_asked_for_again_and_again(world):
    wild = Polled(10.0, 50.0, 90.0, 130.0, 11.0)
    wild.channels = Greenhouse.channels[:1]
    it = world({"interval_s": 600.0}, attic=lambda: wild)
    it.until(lambda: len(wild.answers) == 4 and it.ears.readings)
    played(it, 100.0 + 600.0 + 60.0)
    assert len(wild.answers) == 2  # the doubted one, and the one that was to confirm it
    played(it, 100.0 + 600.0 + 75.0)
    assert len(wild.answers) == 1  # a failure as any other from here
    played(it, 100.0 + 1200.0)
    assert wild.answers == []
    assert [payload for _, payload in it.ears.readings] == ["10.0", "11.0"]


def test_a_number_that_stays_away_takes_the_sensor_offline_and_brings_it_back(world):
    driver = Air()
    it = world({"timeout_s": 25.0, "interval_s": 10.0}, bath=lambda: driver)
    it.until(lambda: it.ears.turns == [("bath", True)])
    driver.humidity = 130.0
    played(it, it.now + 20.0)
    assert it.standing["bath"].online
    played(it, it.now + 20.0)
    assert it.ears.turns == [("bath", True), ("bath", False)]  # and not back because the temperature is sound
    assert it.standing["bath"].failed["range"] >= 3
    assert it.standing["bath"].failed["silent"] >= 1
    driver.humidity = 60.0
    played(it, it.now + 20.0)
    assert it.ears.turns[2:] == [("bath", True)]


def test_a_number_is_awaited_even_when_no_read_is_due(world):
    it = world({"timeout_s": 20.0, "interval_s": 600.0}, attic=Polled)
    it.until(lambda: it.ears.turns == [("attic", True)])
    played(it, it.now + 4 * LOOK_EVERY_S)
    assert it.ears.turns == [("attic", True)]
    played(it, it.now + 2 * LOOK_EVERY_S)
    assert it.ears.turns == [("attic", True), ("attic", False)]
    assert it.standing["attic"].failed == {"silent": 1}
    assert it.standing["attic"].trouble == "temperature: no believable value for 20 s"


def test_a_watched_number_that_stays_away_is_not_taken_for_sound(world):
    class Meter(Watched):
        channels = (Channel(measurement="power"),)

        def watch(self, report):
            self.report = report
            report(Reading("power", 100.0))

    driver = Meter()
    it = world({"timeout_s": 20.0}, meter=lambda: driver)
    it.until(lambda: it.ears.turns == [("meter", True)])
    for _ in range(8):
        it.pass_time(LOOK_EVERY_S)
    assert it.ears.turns == [("meter", True), ("meter", False)]
    driver.report(Reading("power", 90.0))
    it.pass_time(1.0)
    assert it.ears.turns[2:] == [("meter", True)]


def test_one_number_that_is_not_believed_spares_the_sensor(world):
    driver = Air()
    driver.humidity = 130.0
    it = world({"offline_after": 1}, bath=lambda: driver)
    standing = it.standing["bath"]
    it.until(lambda: standing.failed)
    played(it, it.now + 30.0)
    assert it.ears.turns == [("bath", True)]
    assert standing.failed == {"range": standing.ok}
    assert {topic for topic, _ in it.ears.readings} == {"home/bath/temperature"}


def test_air_of_zeros_is_a_failure_with_its_own_cause(world):
    driver = Air()
    driver.answers, driver.humidity = [0.0], 0.0
    it = world(bath=lambda: driver)
    it.until(lambda: it.standing["bath"].failed == {"all_zero": 1})
    assert it.ears.readings == []


def test_numbers_from_before_an_outage_are_not_mixed_with_those_after_it(world):
    driver = Polled(10.0, Disconnected("gone"), 30.0)
    it = world({"moving_average": 5, "offline_after": 1}, attic=lambda: driver)
    it.until(lambda: len(it.ears.readings) == 1)
    played(it, it.now + 40.0)
    assert [payload for _, payload in it.ears.readings[:2]] == ["10.0", "30.0"]


def test_a_driver_that_takes_too_long_to_build_is_taken_when_it_comes(world):
    release = threading.Event()

    def make():
        release.wait(30)
        return Polled()

    it = world(attic=make)
    it.pass_time(BUILD_TIMEOUT_S)
    assert it.standing["attic"].failed["timeout"] == 1
    release.set()
    it.until(lambda: it.ears.readings)


def test_a_sensor_that_cannot_be_watched_is_closed_and_built_again(world):
    drivers = [Watched(refuses=OSError(16, "Device or resource busy")), Watched()]
    it = world(hall=lambda: drivers.pop(0))
    it.until(lambda: it.standing["hall"].failed)
    assert "busy" in it.standing["hall"].trouble
    it.pass_time(60.0)
    it.until(lambda: it.ears.turns == [("hall", True)])


def test_trouble_of_a_watched_sensor_is_seen_and_passes(world):
    driver = Watched()
    it = world(hall=lambda: driver)
    it.until(lambda: it.ears.turns == [("hall", True)])
    driver.trouble = Disconnected("the chip is gone")
    it.pass_time(LOOK_EVERY_S)
    assert it.ears.turns[-1] == ("hall", False)
    driver.trouble = None
    it.pass_time(LOOK_EVERY_S)
    assert it.ears.turns[-1] == ("hall", True)
    told = len(it.ears.readings)
    it.crew.say_again(it.now, 5.0)
    assert it.ears.readings[told:] == [("home/hall/door", "ON")]  # what an actuator is, it has to say anew


def test_words_of_a_driver_that_was_replaced_are_not_heard(world):
    class Late(Watched):
        def watch(self, report):
            if self.refuses is not None:
                self.report_late = report
            super().watch(report)

    old = Late(refuses=OSError(16, "Device or resource busy"))
    drivers = [old, Watched()]
    it = world(hall=lambda: drivers.pop(0))
    it.until(lambda: it.standing["hall"].failed)
    it.pass_time(300.0)
    it.until(lambda: len(it.ears.readings) == 2)
    old.report_late(Reading("door", False))
    it.pass_time(1.0)
    assert it.ears.readings == [("home/hall/door", "ON"), ("home/hall/lock", "OFF")]


def test_a_state_that_a_broker_lost_during_trouble_is_told_when_that_is_over(world):
    driver = Watched()
    it = world(hall=lambda: driver)
    it.until(lambda: len(it.ears.readings) == 2)
    driver.trouble = Disconnected("the chip is gone")
    it.pass_time(LOOK_EVERY_S)
    it.crew.say_again(it.now, 5.0)  # to a broker that knows nothing any more
    assert len(it.ears.readings) == 2
    driver.trouble = None
    it.pass_time(LOOK_EVERY_S)
    assert it.ears.readings[2:] == [("home/hall/door", "ON")]  # of the lock nobody knows until it tells


def test_a_watch_that_hangs_takes_the_sensor_offline_and_one_that_comes_late_brings_it_back(world):
    release = threading.Event()
    driver = Watched()
    driver.watch = lambda _report: release.wait(30)
    it = world(hall=lambda: driver)
    it.until(lambda: it.crew._workers["hall"].awaits("watch"))
    it.pass_time(BUILD_TIMEOUT_S)
    assert it.ears.turns == [("hall", False)]
    assert it.standing["hall"].failed == {"timeout": 1}
    it.pass_time(LOOK_EVERY_S)
    release.set()
    it.until(lambda: it.ears.turns == [("hall", False), ("hall", True)])


def test_words_of_a_closed_driver_are_not_heard(world):
    driver = Watched()
    it = world(hall=lambda: driver)
    it.until(lambda: len(it.ears.readings) == 2)
    report = driver.report
    for thread in it.crew.close():
        thread.join(5)
    report(Reading("door", False))
    it.crew.tick(it.now)
    assert len(it.ears.readings) == 2


def test_the_last_state_of_an_actuator_is_heard_at_the_end(world):
    driver = Watched()
    hold = threading.Event()

    def close():
        hold.wait(30)
        driver.report(Reading("lock", True))

    driver.close = close
    it = world(hall=lambda: driver, attic=Polled)
    it.until(lambda: len(it.ears.readings) == 3)
    threads = it.crew.close()
    assert not it.crew.left
    hold.set()
    for thread in threads:
        thread.join(5)
    assert not it.crew.left
    it.pass_time(1000.0)  # nobody is read or built any more
    it.crew.hear_out(it.now)
    assert it.crew.left
    assert it.ears.readings[3:] == [("home/hall/lock", "ON")]


def test_of_a_flood_of_reports_the_last_count_and_no_other_state_is_lost(world):
    driver, other = Watched(), Watched()
    it = world(hall=lambda: driver, porch=lambda: other)
    it.until(lambda: len(it.ears.readings) == 4)
    driver.report(Reading("lock", True))
    for _ in range(MAX_INBOX + 100):
        driver.report(Reading("door", True))
    other.report(Reading("door", False))
    driver.report(Reading("door", False))
    assert len(it.crew._inbox) == MAX_INBOX + 1  # the other sensor's one is beyond the bound
    it.pass_time(1.0)
    last = dict(it.ears.readings)
    assert last["home/hall/lock"] == "ON"
    assert last["home/hall/door"] == last["home/porch/door"] == "OFF"


def test_actuators_are_told_of_the_broker(world):
    driver = Watched()
    links = []
    driver.link = lambda *, up, silent_s=0.0: links.append((up, silent_s))
    it = world(hall=lambda: driver, attic=Polled)
    it.until(lambda: it.crew.complete)
    it.crew.link(up=True)
    it.crew.link(up=True)
    it.crew.link(up=False, silent_s=60.0)
    it.crew.link(up=False, silent_s=90.0)  # an attempt that failed
    it.crew.link(up=True)
    assert links == [(True, 0.0), (False, 60.0), (True, 0.0)]


def test_an_actuator_that_stumbles_over_the_broker_fails_alone(world):
    broken, sound, links = Watched(), Watched(), []
    broken.link = lambda **_: 1 / 0
    sound.link = lambda *, up, silent_s=0.0: links.append(up)  # noqa: ARG005 as Linked has it
    it = world(hall=lambda: broken, porch=lambda: sound)
    it.until(lambda: it.crew.complete)
    it.crew.link(up=True)
    it.crew.link(up=False)
    assert links == [True, False]
    assert it.standing["hall"].trouble == "ZeroDivisionError: division by zero"


def test_an_actuator_built_later_is_told_as_well(world):
    driver = Watched()
    links = []
    driver.link = lambda *, up, silent_s=0.0: links.append((up, silent_s))
    it = world(hall=lambda: driver)
    it.crew.link(up=True)
    it.until(lambda: it.crew.complete)
    assert links == [(True, 0.0)]


def test_close_lets_go_of_every_driver_even_if_one_refuses(world, caplog):
    class Stubborn(Polled):
        def close(self):
            raise OSError(5, "Input/output error")

    good = Polled()
    it = world(attic=lambda: good, cellar=Stubborn)
    it.until(lambda: len(it.ears.readings) == 2)
    for thread in it.crew.close():
        thread.join(5)
    assert good.closed == 1
    assert "cellar could not be closed" in caplog.text


def test_a_driver_that_is_built_while_the_crew_closes_is_closed_as_well(world):
    """Its pin is taken by then, and a valve that starts open would stay so."""
    hold, closed = threading.Event(), threading.Event()
    driver = Watched()
    driver.close = closed.set

    def make():
        hold.wait(30)
        return driver

    it = world(hall=make)
    eventually(lambda: it.crew._workers["hall"].thread)
    it.crew.close()
    assert not it.crew.left
    hold.set()

    def left():
        it.crew.hear_out(it.now)
        return it.crew.left

    eventually(left)
    assert closed.is_set()


def test_a_driver_that_was_built_and_not_heard_of_when_the_crew_closes_is_closed(world):
    closed = threading.Event()
    driver = Watched()
    driver.close = closed.set
    it = world(hall=lambda: driver)
    eventually(lambda: it.crew._inbox)
    it.crew.close()
    it.crew.hear_out(it.now)
    assert closed.wait(10)


def test_outputs_are_taken_at_once_and_the_others_in_their_turn():
    built = []

    def make(name):
        built.append(name)
        return Watched()

    kinds = {name: Kind(lambda name=name: make(name)) for name in ("a", "b", "c", "d")}
    for name in "bd":
        kinds[name].switch = None
    configs = [
        SensorConfig(keys=SensorKeys(name=name, kind="test", room=name), driver=kind, options=None)
        for name, kind in kinds.items()
    ]
    ears = Ears()
    crew = Crew(configs, AgentTopics("home", "house"), ears, ears.woken.set, 100.0, worker=Inline)
    crew.tick(100.0)
    assert sorted(built) == ["a", "b", "d"]  # a is first in turn
    crew.tick(102.0)
    assert sorted(built) == ["a", "b", "c", "d"]
    crew.close()
