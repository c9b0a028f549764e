import errno
import os
from pathlib import Path

import pytest

from sensors.driver import BadFrame, CutShort, Disconnected, DriverUnavailable, SensorError
from sensors.hw.dht_child import SPACING_S
from sensors.hw.dht_iio import DhtIio, find
from sensors.hw.sysfs import FakeSysfs

DEVICES = "sys/bus/iio/devices"


def cells(*numbers):
    """Numbers as the device tree holds them."""
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def device(number, node=None, *, name="dht11@0", temperature="21400\n", humidity="48500\n"):
    directory = f"{DEVICES}/iio:device{number}"
    files = {
        f"{directory}/name": name,
        f"{directory}/in_temp_input": temperature,
        f"{directory}/in_humidityrelative_input": humidity,
    }
    return files | {f"{directory}/{path}": content for path, content in (node or {}).items()}


def at_pin(pin, place="of_node/gpios"):
    return {place: cells(7, pin, 0)}


@pytest.mark.parametrize("place", ["of_node/gpios", "../of_node/gpios", "of_node/gpio"])
def test_the_device_is_found_by_its_gpio(place):
    sysfs = FakeSysfs(device(0, at_pin(17, place)) | device(1, at_pin(4, place)))
    assert find(sysfs, 4) == f"{DEVICES}/iio:device1"
    assert find(sysfs, 17) == f"{DEVICES}/iio:device0"
    assert find(sysfs, 22) is None


NAMELESS = [
    (device(0), f"{DEVICES}/iio:device0"),
    (device(0, {"of_node/gpios": b"\0\0\0\7"}), f"{DEVICES}/iio:device0"),  # too short to tell
    (device(0, at_pin(17)) | device(1), f"{DEVICES}/iio:device1"),
    (device(0, at_pin(4)) | device(1), f"{DEVICES}/iio:device0"),
    (device(0, name="bme280"), None),
    (device(0, name=OSError(errno.ENODEV, "No such device")), None),
    ({}, None),
]


@pytest.mark.parametrize(("files", "found"), NAMELESS)
def test_one_that_tells_no_gpio_is_taken_where_it_is_the_only_one(files, found):
    assert find(FakeSysfs(files), 4) == found


def test_of_several_that_tell_nothing_none_is_taken():
    with pytest.raises(DriverUnavailable, match="several DHT sensors and does not tell which is on GPIO4"):
        find(FakeSysfs(device(0) | device(1)), 4)


class Waits:
    """A clock that moves when somebody waits."""

    def __init__(self):
        self.now = 50.0
        self.waited = []

    def clock(self):
        return self.now

    def wait(self, seconds):
        self.waited.append(seconds)
        self.now += seconds
        return False


def on(files, kind="DHT22", kernel_log=Path("/nowhere")):
    waits = Waits()
    sysfs = FakeSysfs(files)
    return DhtIio(sysfs, kind, 4, clock=waits.clock, wait=waits.wait, kernel_log=kernel_log), sysfs, waits


def test_thousandths_are_degrees_and_percent():
    sensor, _sysfs, _waits = on(device(0, temperature="-10100\n"))
    assert sensor.measure() == (-10.1, 48.5, "in_temp_input -10100, in_humidityrelative_input 48500")


def test_the_sensor_has_its_pause_also_after_a_failure():
    """Within 2 s the kernel would repeat the old values, and after a failure it would ask the sensor at once."""
    sensor, sysfs, waits = on(device(0))
    sensor.measure()
    waits.now += 0.5
    sysfs.files[f"{DEVICES}/iio:device0/in_temp_input"] = OSError(errno.EIO, "Input/output error")
    with pytest.raises(BadFrame):
        sensor.measure()
    with pytest.raises(BadFrame):
        sensor.measure()
    waits.now += 30
    with pytest.raises(BadFrame):
        sensor.measure()
    assert waits.waited == [pytest.approx(SPACING_S - 0.5), pytest.approx(SPACING_S), 0.0]
    assert SPACING_S > 2


FAILURES = [
    (errno.ETIMEDOUT, Disconnected, "no whole answer on GPIO4: check power"),
    (errno.EIO, BadFrame, "the answer on GPIO4 is damaged: wrong checksum or timing"),
    (errno.EACCES, DriverUnavailable, "not allowed to read"),
    (errno.ENODEV, Disconnected, "the kernel could not read the DHT sensor on GPIO4 (No such device)"),
]


@pytest.mark.parametrize("half", ["in_temp_input", "in_humidityrelative_input"])
@pytest.mark.parametrize(("number", "kind", "words"), FAILURES)
def test_what_the_kernel_answers_is_explained(half, number, kind, words):
    path = f"{DEVICES}/iio:device0/{half}"
    sensor, _sysfs, _waits = on(device(0) | {path: OSError(number, os.strerror(number))})
    with pytest.raises(SensorError) as caught:
        sensor.measure()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


class Talking(FakeSysfs):
    """A kernel that says in its log why it gives up."""

    def __init__(self, files, log, words):
        super().__init__(files)
        self.log, self.words = log, words

    def read(self, path):
        if path.endswith("in_temp_input"):
            with self.log.open("a") as log:
                log.write(self.words)
        return super().read(path)


OLD = "3,511,69182357,-;dht11 dht11@0: Only 0 signal edges detected\n"
EDGES = [  # what the kernel says, and what that is
    ("3,512,69182357,-;dht11 dht11@0: Only 0 signal edges detected\n", Disconnected, "no answer on GPIO4"),
    ("3,512,69182357,-;iio iio:device0: Only 2 signal edges detected\n", Disconnected, "no answer on GPIO4"),
    ("3,512,69182357,-;dht11 dht11@0: Only 3 signal edges detected\n", CutShort, "stopped after 3 of 84 edges"),
    (
        "3,512,69182357,-;dht11 dht11@0: Only 83 signal edges detected\n6,513,7,-;usb 1-1: new device\n",
        CutShort,
        "stopped after 83 of 84 edges",
    ),
    ("3,512,69182357,-;dht11 dht11@17: Only 40 signal edges detected\n", Disconnected, "no whole answer"),  # another's
    ("", Disconnected, "no whole answer"),
]


@pytest.mark.parametrize(("words", "kind", "told"), EDGES)
def test_the_kernels_log_tells_no_answer_from_one_cut_short(tmp_path, words, kind, told):
    log = tmp_path / "kmsg"
    log.write_text(OLD)
    files = device(0, temperature=OSError(errno.ETIMEDOUT, "Connection timed out"))
    sensor = DhtIio(Talking(files, log, words), "DHT22", 4, kernel_log=log)
    with pytest.raises(SensorError, match=told) as caught:
        sensor.measure()
    assert type(caught.value) is kind


def test_this_kernels_log_is_no_hindrance():
    """Whether it may be heard here or not."""
    files = device(0, temperature=OSError(errno.ETIMEDOUT, "Connection timed out"))
    with pytest.raises(Disconnected, match="no whole answer"):
        DhtIio(FakeSysfs(files), "DHT22", 4).measure()


def test_a_dht11_that_the_kernel_cannot_decode_is_named():
    broken = device(0, temperature=OSError(errno.EIO, "Input/output error"))
    for kind, named in (("DHT11", True), ("DHT22", False)):
        with pytest.raises(BadFrame) as caught:
            on(broken, kind)[0].measure()
        assert ("tells tenths or frost" in str(caught.value)) is named


def test_an_answer_that_is_no_number_is_a_bad_frame():
    with pytest.raises(BadFrame, match="is no number"):
        on(device(0, humidity="\n"))[0].measure()


def test_a_device_that_goes_and_comes_back():
    sensor, sysfs, _waits = on(device(0, at_pin(4)))
    sensor.measure()
    sysfs.files.clear()
    with pytest.raises(DriverUnavailable, match="dtoverlay=dht11,gpiopin=4"):
        sensor.measure()
    sysfs.files.update(device(3, at_pin(4)))
    assert sensor.measure().temperature == 21.4


def test_without_the_overlay_it_is_unavailable():
    with pytest.raises(DriverUnavailable, match="the kernel reads no DHT sensor on GPIO4"):
        DhtIio(FakeSysfs({}), "DHT22", 4)


def test_closing_ends_the_pause():
    sensor = DhtIio(FakeSysfs(device(0)), "DHT22", 4)
    sensor.measure()
    sensor.close()
    sensor.close()
    with pytest.raises(SensorError, match="is closed"):
        sensor.measure()
