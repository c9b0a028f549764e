import msgspec
import pytest
from dht_wire import Wire, attach, frame, pulses

from sensors.driver import (
    BadFrame,
    CutShort,
    Disconnected,
    DriverContext,
    DriverUnavailable,
    Implausible,
    Polled,
    Retrying,
    SensorError,
    TimedOut,
    WrongChecksum,
)
from sensors.drivers.dht import SHEETS, Dht
from sensors.hw import dht_child
from sensors.hw.dht import MEASURE_TIMEOUT_S, FakeDht, Measurement, explain, signed
from sensors.keys import SensorKeys
from sensors.sensor import Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics


def values(sensor):
    return {reading.measurement: reading.value for reading in sensor.read()}


def test_a_frame_is_two_readings():
    assert values(Dht(FakeDht([(21.4, 48.5)]), "DHT22")) == {"temperature": 21.4, "humidity": 48.5}


BELIEVED = [
    ("DHT22", -40.0, 0.0),
    ("DHT22", 80.0, 100.0),
    ("DHT22", 0.0, 50.0),  # freezing is no error
    ("DHT22", 21.0, 0.0),
    ("DHT11", 0.0, 20.0),
    ("DHT11", -5.0, 45.0),  # with its sign: see test_dht.py in hw
    ("AM2301", -10.1, 65.2),
]


@pytest.mark.parametrize(("model", "temperature", "humidity"), BELIEVED)
def test_what_the_sheet_allows_is_believed(model, temperature, humidity):
    assert values(Dht(FakeDht([(temperature, humidity)]), model)) == {"temperature": temperature, "humidity": humidity}


REFUSED = [
    ("DHT22", 0.0, 0.0, "a frame of zeros, which no air has; check the pull-up"),
    ("DHT11", 0, 0, "a frame of zeros"),
    ("DHT22", 150.0, 50.0, "temperature 150 °C is nothing that a DHT22 measures (no frame); is the model right?"),
    ("DHT11", -20.5, 50.0, "temperature -20.5 °C"),
    ("DHT22", -40.1, 50.0, "temperature -40.1 °C"),
    ("DHT11", 1.5, 2, "humidity 2 % is nothing that a DHT11 measures"),  # a DHT22's frame, read as a DHT11's
]


@pytest.mark.parametrize(("model", "temperature", "humidity", "words"), REFUSED)
def test_what_cannot_be_true_is_refused_whole(model, temperature, humidity, words):
    with pytest.raises(Implausible) as caught:
        Dht(FakeDht([(temperature, humidity)]), model).read()
    assert str(caught.value).startswith(words)


def test_failures_pass_through_and_the_next_reading_is_its_own():
    sensor = Dht(FakeDht([Disconnected("no answer"), BadFrame("checksum"), (21.4, 48.5)]), "DHT22")
    with pytest.raises(Disconnected):
        sensor.read()
    with pytest.raises(BadFrame):
        sensor.read()
    assert values(sensor) == {"temperature": 21.4, "humidity": 48.5}


@pytest.mark.parametrize("model", SHEETS)
def test_every_model_has_its_channels(model):
    sensor = Dht(FakeDht([]), model)
    assert isinstance(sensor, Polled)
    assert sensor.min_interval_s >= 2
    assert sensor.model == model
    assert [(channel.measurement, channel.unit) for channel in sensor.channels] == [
        ("temperature", "°C"),
        ("humidity", "%"),
    ]


def test_closing_lets_go_of_the_pin():
    fake = FakeDht([])
    Dht(fake, "DHT22").close()
    assert fake.closed


def test_without_pins_the_driver_is_unavailable():
    options = msgspec.convert({"pin": 4, "model": "DHT22", "pulses": "bitbang"}, Dht.Options)
    words = "GPIO4"
    try:
        Dht.build(options, DriverContext(name="cellar")).close()  # on a Pi
    except DriverUnavailable as error:
        words = str(error)
    assert "GPIO4" in words


@pytest.mark.parametrize("keys", [{}, {"pin": 4}, {"pin": 4, "model": "DHT33"}, {"pin": "4", "model": "DHT22"}])
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, Dht.Options)


@pytest.mark.parametrize(("told", "meant"), [(-3276.7, -0.1), (-3266.7, -10.1), (-3236.8, -40.0)])
def test_frost_in_twos_complement_is_frost(told, meant):
    """Of younger DHT22; no magnitude that the sheet allows is that large."""
    assert values(Dht(FakeDht([(told, 50.0)]), "DHT22")) == {"temperature": meant, "humidity": 50.0}


CAUSES = [
    (Disconnected("no answer"), "disconnected"),
    (CutShort("stopped short"), "cut_short"),
    (WrongChecksum("checksum"), "checksum"),
    (BadFrame("timing"), "bad_frame"),
    ((0.0, 0.0), "all_zero"),
    ((99.0, 50.0), "range"),
]


@pytest.mark.parametrize(("fault", "cause"), CAUSES)
def test_a_fault_is_tried_again_and_counted_by_its_cause(fault, cause):
    sensor = Dht(FakeDht([fault, (21.4, 48.5), fault, fault, (21.4, 48.5)]), "DHT22", tries=3)
    assert isinstance(sensor, Retrying)
    assert values(sensor)["temperature"] == 21.4
    assert sensor.retried == {cause: 1}
    assert values(sensor)["temperature"] == 21.4
    assert sensor.retried == {cause: 3}


@pytest.mark.parametrize(("fault", "cause"), CAUSES)
def test_a_fault_that_stays_is_the_failure_of_the_reading(fault, cause):
    sensor = Dht(FakeDht([(21.4, 48.5), fault, fault, fault]), "DHT22", tries=3)
    assert values(sensor)["temperature"] == 21.4
    with pytest.raises(SensorError) as caught:
        sensor.read()
    assert caught.value.cause == cause
    assert sensor.retried == {cause: 2}


@pytest.mark.parametrize("fault", [TimedOut("hung"), DriverUnavailable("no pin"), SensorError("closed")])
def test_what_another_try_does_not_mend_is_told_at_once(fault):
    sensor = Dht(FakeDht([fault, (21.4, 48.5)]), "DHT22", tries=3)
    with pytest.raises(type(fault)):
        sensor.read()
    assert sensor.retried == {}
    assert values(sensor)["temperature"] == 21.4


def test_the_time_of_a_read_covers_its_tries():
    one, three = (Dht(FakeDht([]), "DHT22", tries).timeout_s for tries in (1, 3))
    assert three - one == pytest.approx(2 * MEASURE_TIMEOUT_S)


FAULTS = [  # what comes over the wire, what it is called
    ("DHT22", [], "disconnected"),
    ("DHT22", pulses(frame(2, 140, 1, 95))[:8], "cut_short"),
    ("DHT22", pulses(frame(2, 140, 1, 95))[:60], "cut_short"),
    ("DHT22", pulses(bytes([2, 140, 1, 95, 1])), "checksum"),
    ("DHT22", pulses(frame(2, 140, 1, 95), one_us=20, zero_us=20), "all_zero"),
    ("DHT22", pulses(frame(4, 0, 1, 95)), "range"),  # 102.4 %
    ("DHT22", pulses(frame(2, 140, 3, 95)), "range"),  # 86.3 °C
    ("DHT22", pulses(frame(45, 0, 23, 4)), "range"),  # a DHT11's frame
    ("DHT11", pulses(frame(2, 140, 1, 95)), "range"),  # a DHT22's frame
    ("AM2301", pulses(bytes([2, 140, 1, 95, 1, 0, 0, 0])), "checksum"),
    ("AM2302", pulses(frame(2, 140, 129, 250)), "range"),  # -50.6 °C
]


class OnWire:
    """The library, in this process, on a wire of ours; what it answers is explained as that of a child process is."""

    def __init__(self, model, monkeypatch):
        self.kind = SHEETS[model].kind
        self.wire = attach(Wire(), monkeypatch.setattr)
        self.device = dht_child.open_device(self.kind, 4, "bitbang")

    def measure(self):
        self.wire.now += dht_child.SPACING_S
        answer = dht_child.measure(self.device)
        if "error" in answer:
            raise explain(answer, "GPIO4")
        sent = bytes.fromhex(answer["frame"])
        return Measurement(signed(self.kind, sent, answer["temperature"]), answer["humidity"], answer["frame"])

    def close(self):
        self.device.exit()


@pytest.mark.parametrize(("model", "levels", "cause"), FAULTS)
def test_every_fault_on_the_wire_has_its_name_and_hides_no_reading(monkeypatch, model, levels, cause):
    line = OnWire(model, monkeypatch)
    sensor = Dht(line, model, tries=2)
    good = frame(45, 0, 21, 0) if model == "DHT11" else frame(1, 194, 0, 210)
    line.wire.levels = pulses(good)
    before = values(sensor)
    assert before == {"temperature": 21.0, "humidity": 45.0}
    line.wire.levels = levels
    for _ in range(2):  # the library itself would give the old values once
        with pytest.raises(SensorError) as caught:
            sensor.read()
        assert caught.value.cause == cause
    line.wire.levels = pulses(good)
    assert values(sensor) == before
    assert line.wire.asked == 6


SIGNS = [
    ("DHT11", frame(45, 0, 5, 0x80), -5.0),
    ("DHT11", frame(45, 0, 5, 0x00), 5.0),
    ("DHT11", frame(45, 0, 0, 0x83), -0.3),
    ("DHT22", frame(1, 194, 0x80, 0x65), -10.1),
    ("DHT22", frame(1, 194, 0xFF, 0x9B), -10.1),
    ("AM2302", frame(1, 194, 129, 1), -25.7),
    ("DHT21", frame(1, 194, 129, 1) + bytes(3), -25.7),
    ("AM2301", frame(1, 194, 129, 1), -25.7),
]


@pytest.mark.parametrize(("model", "sent", "temperature"), SIGNS)
def test_frost_on_the_wire_is_frost(monkeypatch, model, sent, temperature):
    line = OnWire(model, monkeypatch)
    line.wire.levels = pulses(sent)
    warm, damp = Dht(line, model).read()
    assert (warm.value, damp.value) == (pytest.approx(temperature), 45.0)
    assert warm.raw == damp.raw == sent[:5].hex(" ")


def test_a_jump_is_not_believed_at_once(monkeypatch):
    line = OnWire("DHT22", monkeypatch)
    keys = SensorKeys(name="air", kind="dht", room="attic")
    options = Dht.Options(pin=4, model="DHT22")
    sensor = Sensor(SensorConfig(keys=keys, driver=Dht, options=options), AgentTopics("home", "pi"))
    sensor.built(Dht(line, "DHT22"))
    sent = []
    for tenths in (210, 211, 512, 211, 512, 512):
        line.wire.levels = pulses(frame(1, 194, *tenths.to_bytes(2, "big")))
        passed, doubts = sensor.outgoing(sensor.driver.read(), 0.0)
        sent.append([out.payload for out in passed if "temperature" in out.topic] + [str(doubt) for doubt in doubts])
        assert {doubt.cause for doubt in doubts} <= {"jump"}
    doubt = "temperature: from 21.1 to 51.2 °C"
    assert [words[0][: len(doubt)] for words in sent] == ["21.0", "21.1", doubt, "21.1", doubt, "51.2"]


NODE = "sys/devices/platform/dht11@4"


def kernel_tree(root, *, temperature="21400\n", humidity="48500\n", gpio=4):
    """Files as the kernel lays them out for dtoverlay=dht11: the device is a link into the tree of devices."""
    device = root / NODE / "iio:device0"
    device.mkdir(parents=True)
    (device / "name").write_text("dht11@4\n")
    (device / "in_temp_input").write_text(temperature)
    (device / "in_humidityrelative_input").write_text(humidity)
    node = root / "sys/firmware/devicetree/base/dht11@4"
    node.mkdir(parents=True)
    (node / "gpios").write_bytes(b"".join(cell.to_bytes(4, "big") for cell in (7, gpio, 0)))
    (root / NODE / "of_node").symlink_to(node)
    (root / "sys/bus/iio/devices").mkdir(parents=True)
    (root / "sys/bus/iio/devices/iio:device0").symlink_to(device)
    return device


def build(root, **keys):
    options = msgspec.convert({"pin": 4, "model": "DHT22", **keys}, Dht.Options)
    return Dht.build(options, DriverContext(name="attic", sysfs_root=root))


@pytest.mark.parametrize("method", ["auto", "kernel"])
def test_the_kernels_driver_comes_first(tmp_path, method):
    kernel_tree(tmp_path)
    sensor = build(tmp_path, pulses=method, tries=1)
    warm, damp = sensor.read()
    assert (warm.value, damp.value) == (21.4, 48.5)
    assert warm.raw == "in_temp_input 21400, in_humidityrelative_input 48500"
    sensor.close()


def test_zeros_are_refused_from_the_kernel_too(tmp_path):
    kernel_tree(tmp_path, temperature="0\n", humidity="0\n")
    with pytest.raises(SensorError) as caught:
        build(tmp_path, tries=1).read()
    assert caught.value.cause == "all_zero"


def test_frost_in_twos_complement_is_frost_from_the_kernel_too(tmp_path):
    kernel_tree(tmp_path, temperature="-3266700\n")
    assert values(build(tmp_path, tries=1))["temperature"] == -10.1


def test_where_the_kernel_reads_another_pin_the_library_is_asked(tmp_path, monkeypatch):
    kernel_tree(tmp_path, gpio=17)
    started = []
    monkeypatch.setattr("sensors.drivers.dht.DhtProcess.start", lambda _process: started.append(True))
    sensor = build(tmp_path)
    assert len(started) == 1
    sensor.close()
    with pytest.raises(
        DriverUnavailable, match="the kernel reads no DHT sensor on GPIO4; add the line dtoverlay=dht11,"
    ):
        build(tmp_path, pulses="kernel")
    kernel_tree(tmp_path / "same-pin")
    sensor = build(tmp_path / "same-pin", pulses="bitbang")
    assert len(started) == 2
    sensor.close()
