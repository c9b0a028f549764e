import msgspec
import pytest

from sensors.driver import BadFrame, Disconnected, DriverContext, DriverUnavailable, Implausible, Polled
from sensors.drivers.ds18b20 import Ds18b20, parse
from sensors.hw.sysfs import FakeSysfs

DEVICES = "sys/bus/w1/devices"
BUS = {f"{DEVICES}/w1_bus_master1/w1_master_slave_count": "1\n"}
KITCHEN = "28-000803702e49"
CELLAR = "28-0316a2794dff"
PHANTOM = "00-800000000000"


def crc8(data):
    """Maxim's, as the kernel prints it."""
    crc = 0
    for byte in data:
        for bit in range(8):
            crc = crc >> 1 ^ (0x8C if (crc ^ byte >> bit) & 1 else 0)
    return crc


def w1_slave(frame, thousandths, *, good=True):
    """A file of the kernel's, out of the chip's first eight bytes."""
    data = bytes.fromhex(frame)
    crc = crc8(data)
    words = " ".join(f"{byte:02x}" for byte in (*data, crc))
    return f"{words} : crc={crc:02x} {'YES' if good else 'NO'}\n{words} t={thousandths}\n"


ROOM = w1_slave("72 01 4b 46 7f ff 0e 10", 23_125)


def tree(reports):
    return FakeSysfs(BUS | {f"{DEVICES}/{device}/w1_slave": report for device, report in reports.items()})


def read(sensor):
    (reading,) = sensor.read()
    assert reading.measurement == "temperature"
    return reading.value


def sensor_saying(report, device=KITCHEN):
    return Ds18b20(tree({device: report}))


def test_the_files_of_the_tests_are_the_kernels():
    """From Documentation/w1/slaves/w1_therm.rst's kind of output."""
    assert ROOM == "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"


def test_the_only_one_on_the_bus_is_read():
    sensor = sensor_saying(ROOM)
    assert isinstance(sensor, Polled)
    assert read(sensor) == 23.125
    assert sensor.serial_number == KITCHEN
    assert sensor.model == "DS18B20"
    sensor.close()


@pytest.mark.parametrize(
    ("frame", "thousandths"),
    [("f8 ff 4b 46 7f ff 08 10", -500), ("00 00 4b 46 7f ff 10 10", 0), ("90 fc 4b 46 7f ff 10 10", -55_000)],
)
def test_frost_is_no_error(frame, thousandths):
    assert read(sensor_saying(w1_slave(frame, thousandths))) == thousandths / 1000


@pytest.mark.parametrize(
    ("family", "model"),
    [("10", "DS18S20"), ("22", "DS1822"), ("28", "DS18B20"), ("3b", "DS1825"), ("42", "DS28EA00")],
)
def test_every_family_has_its_model(family, model):
    sensor = sensor_saying(ROOM, f"{family}-0000000000ab")
    assert read(sensor) == 23.125
    assert sensor.model == model


def test_other_devices_on_the_bus_are_none_of_its_own():
    sensor = Ds18b20(tree({"29-00000012ab34": "", KITCHEN: ROOM}))  # an eight-fold switch
    assert read(sensor) == 23.125


def test_of_several_one_is_named():
    both = tree({KITCHEN: ROOM, CELLAR: w1_slave("a0 00 4b 46 7f ff 10 10", 10_000)})
    with pytest.raises(DriverUnavailable, match=f"several sensors .* name one with `id`: {KITCHEN}, {CELLAR}"):
        Ds18b20(both).look()
    assert read(Ds18b20(both, CELLAR)) == 10.0


def test_one_that_joins_later_changes_nothing():
    sysfs = tree({CELLAR: ROOM})
    sensor = Ds18b20(sysfs)
    assert read(sensor) == 23.125
    sysfs.files[f"{DEVICES}/{KITCHEN}/w1_slave"] = w1_slave("a0 00 4b 46 7f ff 10 10", 10_000)
    assert read(sensor) == 23.125


def test_no_bus_is_told_with_the_cure(tmp_path):
    with pytest.raises(DriverUnavailable, match=r"no 1-Wire bus; add the line dtoverlay=w1-gpio to /boot/firmware"):
        Ds18b20.build(Ds18b20.Options(), DriverContext(name="cellar", sysfs_root=tmp_path))


def test_an_empty_bus_is_a_matter_of_wires():
    with pytest.raises(Disconnected, match="no temperature sensor is on the 1-Wire bus: check power, wiring and pull"):
        Ds18b20(FakeSysfs(BUS)).read()


def test_a_sensor_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(Disconnected, match=rf"{CELLAR} is not on the 1-Wire bus \({KITCHEN} are\)"):
        Ds18b20(tree({KITCHEN: ROOM}), CELLAR).read()


@pytest.mark.parametrize(("device", "who"), [(None, "no temperature sensor is"), (KITCHEN, f"{KITCHEN} is not")])
def test_phantoms_are_a_missing_pull_up(device, who):
    with pytest.raises(Disconnected, match=rf"^{who} .*looks like a device \({PHANTOM}\): a resistor of 4.7 kΩ"):
        Ds18b20(FakeSysfs(BUS | {f"{DEVICES}/{PHANTOM}/id": ""}), device).read()


def test_phantoms_beside_a_sensor_do_not_hide_it():
    assert read(Ds18b20(FakeSysfs(tree({KITCHEN: ROOM}).files | {f"{DEVICES}/{PHANTOM}/id": ""}))) == 23.125


def test_a_sensor_comes_back():
    sysfs = tree({KITCHEN: ROOM})
    sensor = Ds18b20(sysfs)
    assert read(sensor) == 23.125
    report = sysfs.files.pop(f"{DEVICES}/{KITCHEN}/w1_slave")
    with pytest.raises(Disconnected, match=f"{KITCHEN} is not on the 1-Wire bus: check"):
        sensor.read()
    sysfs.files[f"{DEVICES}/{KITCHEN}/w1_slave"] = report
    assert read(sensor) == 23.125


POWER_ON = "50 05 4b 46 7f ff 0c 10"
TRUE_85 = "50 05 4b 46 7f ff 10 10"
IMITATION_85 = "50 05 ff ff 7f ff ff 10"  # its byte 6 says nothing
WRONG = [
    (w1_slave("72 01 4b 46 7f ff 0e 10", 23_125, good=False), BadFrame, "the checksum is wrong"),
    (w1_slave("ff ff ff ff ff ff ff ff", -62, good=False), BadFrame, "the checksum is wrong"),
    (w1_slave("00 00 00 00 00 00 00 00", 0), BadFrame, "a frame of zeros, .* data is shorted to ground"),
    (w1_slave(POWER_ON, 85_000), Implausible, "85 °C is what the chip says after its power dipped"),
    (w1_slave(IMITATION_85, 85_000), Implausible, "85 °C is what the chip says"),
    (
        w1_slave("ff 07 4b 46 7f ff 0c 10", 127_937),
        Implausible,
        "127.94 °C: the measurement broke off for lack of power",
    ),
    ("", Disconnected, "it was unplugged, or its power failed"),
    ("gibberish", BadFrame, "no measurement: gibberish"),
    ("72 01 : crc=57 YES\n72 01 t=\n", BadFrame, "no measurement"),
    (OSError(5, "Input/output error"), Disconnected, r"its power failed.*\(Input/output error\)"),
    (OSError(19, "No such device"), Disconnected, "No such device"),
]


@pytest.mark.parametrize(("report", "failure", "words"), WRONG)
def test_what_is_wrong_is_told_and_no_value(report, failure, words):
    sysfs = tree({KITCHEN: report})
    sensor = Ds18b20(sysfs)
    with pytest.raises(failure, match=words) as told:
        sensor.read()
    assert told.value.raw == ("" if isinstance(report, OSError) else " ".join(report.split()))
    sysfs.files[f"{DEVICES}/{KITCHEN}/w1_slave"] = ROOM
    assert read(sensor) == 23.125


def test_85_degrees_that_were_measured_are_believed():
    assert read(sensor_saying(w1_slave(TRUE_85, 85_000))) == 85.0


def boiler(frame, device=KITCHEN):
    """A sensor at 84.5 °C whose next frame says 85 °C."""
    path = f"{DEVICES}/{device}/w1_slave"
    sysfs = tree({device: w1_slave("48 05 4b 46 7f ff 08 10", 84_500)})
    sensor = Ds18b20(sysfs)
    assert read(sensor) == 84.5
    sysfs.files[path] = w1_slave(frame, 85_000)
    return sensor


def test_from_nearby_85_degrees_are_believed_of_a_chip_that_does_not_tell():
    assert read(boiler(IMITATION_85)) == 85.0
    assert read(boiler("aa 00 4b 46 ff ff 0c 10", "10-000802123456")) == 85.0  # a DS18S20 counts in byte 6
    with pytest.raises(Implausible):
        boiler(POWER_ON).read()


def test_an_older_kernel_file_is_read_where_w1_slave_is_missing():
    sysfs = FakeSysfs(BUS | {f"{DEVICES}/{KITCHEN}/temperature": "23125\n"})
    assert read(Ds18b20(sysfs)) == 23.125
    for text, failure in (
        ("85000\n", Implausible),
        ("127937\n", Implausible),
        ("", Disconnected),
        (OSError(5, "Input/output error"), Disconnected),
    ):
        sysfs.files[f"{DEVICES}/{KITCHEN}/temperature"] = text
        with pytest.raises(failure):
            Ds18b20(sysfs).read()


def test_without_the_kernels_driver_for_the_chip_the_cure_is_told():
    with pytest.raises(DriverUnavailable, match="driver for DS18B20 is not at work: `sudo modprobe w1-therm`"):
        Ds18b20(FakeSysfs(BUS | {f"{DEVICES}/{KITCHEN}/id": ""})).read()


@pytest.mark.parametrize("device", ["28-000803702e4", "28-000803702E49", "00-800000000000", "28-../../../../x", ""])
def test_what_is_no_id_is_refused(device):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": device}, Ds18b20.Options)


def test_the_chips_memory_comes_along():
    (reading,) = sensor_saying(ROOM).read()
    assert reading.raw == "72 01 4b 46 7f ff 0e 10 57"


def test_checksum_and_value_are_taken_apart():
    assert parse(ROOM.strip()) == (bytes.fromhex("72 01 4b 46 7f ff 0e 10 57"), 23_125)


def test_it_reads_the_files_below_the_root(tmp_path):
    for path, text in tree({KITCHEN: ROOM}).files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    sensor = Ds18b20.build(Ds18b20.Options(), DriverContext(name="kitchen", sysfs_root=tmp_path))
    assert read(sensor) == 23.125
    absent = Ds18b20.build(Ds18b20.Options(id=CELLAR), DriverContext(name="cellar", sysfs_root=tmp_path))
    with pytest.raises(Disconnected):
        absent.read()
