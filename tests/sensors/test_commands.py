import threading

import pytest
from crews import Watched, worlds

from sensors.commands import LOG_S, MOST_REASONS, SWITCH_TIMEOUT_S
from sensors.driver import Disconnected, DriverUnavailable


@pytest.fixture
def world():
    with worlds() as make:
        yield make


@pytest.fixture
def lock(world):
    """A hall with a door and a lock that obeys."""
    driver = Watched()
    it = world(hall=lambda: driver)
    it.until(lambda: len(it.ears.readings) == 2 and it.crew._workers["hall"].waiting == 0)
    it.say = lambda payload, **how: it.crew.command("home/hall/lock/set", payload, it.now, **{"retained": False, **how})
    it.idle = lambda: it.until(lambda: it.crew._commands.idle)
    return it, driver


def test_a_command_reaches_the_driver(lock):
    it, driver = lock
    it.say(b"TOGGLE")
    it.until(lambda: driver.orders == [("lock", True)])
    it.crew.command("home/hall/door/set", b"ON", it.now, retained=False)  # nothing to switch there
    it.idle()
    assert driver.orders == [("lock", True)]
    assert it.ears.refused == []


REFUSED = [  # payload, retained, why
    (b"ON", True, "retained command is not obeyed"),
    (b"open", False, "is no command; ON, OFF and TOGGLE are"),
    (b"", False, "is no command"),
    (b"\xff\x00" * 1000, False, "is no command"),
]


@pytest.mark.parametrize(("payload", "retained", "why"), REFUSED, ids=range(4))
def test_a_command_that_is_not_obeyed_is_told(lock, caplog, payload, retained, why):
    it, driver = lock
    it.say(payload, retained=retained)
    ((topic, told, reason),) = it.ears.refused
    assert (topic, told) == ("home/hall/lock/set", payload)
    assert why in reason
    assert why in caplog.text
    assert "b'" not in caplog.text
    assert caplog.messages[0].count('"') <= 2  # the payload, once
    assert driver.orders == []


def test_to_delete_a_retained_command_is_no_command(lock):
    it, driver = lock
    it.say(b"", retained=True)
    assert it.ears.refused == []
    assert driver.orders == []


def test_a_flood_of_refusals_does_not_flood_the_log(lock, caplog):
    it, _driver = lock
    for payload in [b"open", b"close"] * 100:
        it.say(payload)
    assert [record.args[1].partition(" ")[0] for record in caplog.records] == ['"open"', '"close"']
    for number in range(100):
        it.say(b"%d" % number)
    assert len(caplog.records) == MOST_REASONS
    it.now += LOG_S
    it.say(b"open")
    assert len(caplog.records) == MOST_REASONS + 1
    assert len(it.ears.refused) == 301


def test_of_a_burst_the_last_command_counts(lock):
    it, driver = lock
    driver.hold = threading.Event()
    for payload in [b"ON", *[b"OFF", b"ON"] * 50, b"OFF"]:
        it.say(payload)
    driver.hold.set()
    it.idle()
    assert driver.orders == [("lock", True), ("lock", False)]
    assert it.ears.refused == []


def test_toggles_of_a_burst_count_from_each_other(lock):
    it, driver = lock
    driver.hold = threading.Event()
    for _ in range(4):
        it.say(b"TOGGLE")
    driver.hold.set()
    it.idle()
    assert driver.orders == [("lock", True), ("lock", False)]


def test_a_driver_that_hangs_is_given_up_with_what_waited_and_told(lock):
    it, driver = lock
    driver.hold = threading.Event()
    it.say(b"ON")
    it.say(b"OFF")
    it.pass_time(SWITCH_TIMEOUT_S)
    it.say(b"ON")
    assert [(payload, why.partition(": ")[2]) for _, payload, why in it.ears.refused] == [
        (b"OFF", "it does not come back"),
        (b"ON", "it does not answer"),
    ]
    driver.hold.set()
    it.until(lambda: not it.crew._workers["hall"].stuck)
    it.say(b"OFF")
    it.until(lambda: driver.orders == [("lock", True), ("lock", False)])


def test_a_command_that_fails_is_told_and_takes_the_sensor_offline(lock):
    it, driver = lock

    def broken(_measurement, _on):
        driver.trouble = Disconnected("GPIO4 does not go to 3.3 V")
        raise driver.trouble

    driver.switch = broken
    it.say(b"ON")
    it.until(lambda: it.ears.refused)
    assert it.ears.refused == [
        ("home/hall/lock/set", b"ON", "sensor hall was not switched: GPIO4 does not go to 3.3 V")
    ]
    assert it.ears.turns[-1] == ("hall", False)
    it.say(b"TOGGLE")  # of what?
    assert "present state is not known" in it.ears.refused[-1][2]


def test_a_failure_with_a_later_command_behind_it_is_not_the_last_word(lock):
    it, driver = lock
    driver.hold = threading.Event()
    orders = []

    def switch(_measurement, on):
        driver.hold.wait(30)
        orders.append(on)
        if on:
            raise Disconnected("not now")

    driver.switch = switch
    it.say(b"ON")
    it.say(b"OFF")
    driver.hold.set()
    it.idle()
    assert orders == [True, False]
    assert it.ears.refused == []


def test_a_command_for_a_sensor_that_could_not_be_built_is_told(world):
    driver = Watched()
    makes = [lambda: driver]

    def make():
        if makes:
            return makes.pop()()
        raise DriverUnavailable("GPIO4 is held by another program")

    it = world(hall=make)
    it.until(lambda: len(it.ears.readings) == 2)
    sensor = it.crew.sensors[0]
    it.crew._close(sensor)
    it.crew._failed(sensor, DriverUnavailable("GPIO4 is held by another program"))
    it.crew.command("home/hall/lock/set", b"ON", it.now, retained=False)
    assert it.ears.refused[-1][2] == "not switched, sensor hall fails: GPIO4 is held by another program"


def test_a_sensor_that_stops_under_a_burst_says_so(lock):
    it, driver = lock
    driver.hold = threading.Event()
    it.say(b"ON")
    it.say(b"OFF")
    it.crew._close(it.crew.sensors[0])
    driver.hold.set()
    it.idle()
    assert it.ears.refused == [("home/hall/lock/set", b"OFF", "sensor hall was not switched: it has stopped")]
