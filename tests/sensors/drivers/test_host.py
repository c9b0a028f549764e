import pytest

from appliance.config import ConfigError
from sensors.config import config_of
from sensors.driver import DriverContext, DriverUnavailable, SensorError
from sensors.drivers.host import Host, cpu_thermometer, load, memory_used_percent, swap_used_percent, wifi_signal
from sensors.hw.sysfs import FakeSysfs

MEMINFO = """\
MemTotal:        8192000 kB
MemFree:          300000 kB
MemAvailable:    6144000 kB
Buffers:          120000 kB
HugePages_Total:       0
"""
PI = {
    "proc/loadavg": "0.42 0.31 0.27 1/312 4711\n",
    "proc/meminfo": MEMINFO,
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/serial-number": "10000000abcdef01\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
}


def test_a_pi_tells_all():
    host = Host(FakeSysfs(PI, disks={"": 0.125}))
    assert {reading.measurement: reading.value for reading in host.read()} == {
        "cpu_temperature": pytest.approx(48.312),
        "load": 0.42,
        "memory": 25.0,
        "disk": 12.5,
    }
    assert [channel.measurement for channel in host.channels] == ["cpu_temperature", "load", "memory", "disk"]
    assert host.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert host.serial_number == "10000000abcdef01"


THERMOMETERS = [
    ({"sys/class/thermal/thermal_zone0/type": "acpitz"}, None),  # the mainboard, not the processor
    (
        {"sys/class/thermal/thermal_zone0/type": "acpitz", "sys/class/thermal/thermal_zone7/type": "x86_pkg_temp"},
        "sys/class/thermal/thermal_zone7/temp",
    ),
    (
        {"sys/class/hwmon/hwmon0/name": "nvme", "sys/class/hwmon/hwmon3/name": "k10temp"},
        "sys/class/hwmon/hwmon3/temp1_input",
    ),
    (
        {"sys/class/hwmon/hwmon0/name": "coretemp", "sys/class/thermal/thermal_zone1/type": "cpu-thermal"},
        "sys/class/thermal/thermal_zone1/temp",
    ),
    ({"sys/class/thermal/thermal_zone0/type": OSError(5, "Input/output error")}, None),
    ({}, None),
]


@pytest.mark.parametrize(("files", "found"), THERMOMETERS)
def test_cpu_thermometer(files, found):
    assert cpu_thermometer(FakeSysfs(files)) == found


@pytest.mark.parametrize("unreadable", ["sys/class/thermal/thermal_zone0/temp", "proc/loadavg", "proc/meminfo"])
def test_what_cannot_be_read_at_the_start_has_no_channel(unreadable):
    host = Host(FakeSysfs(PI | {unreadable: OSError(61, "No data available")}, disks={"": 0.5}))
    assert len(host.channels) == 3
    assert [reading.measurement for reading in host.read()] == [channel.measurement for channel in host.channels]


def test_what_fails_later_is_left_out_alone():
    sysfs = FakeSysfs(PI, disks={"": 0.5})
    host = Host(sysfs)
    sysfs.files["sys/class/thermal/thermal_zone0/temp"] = OSError(5, "Input/output error")
    assert [reading.measurement for reading in host.read()] == ["load", "memory", "disk"]


def test_when_all_fails_the_sensor_fails():
    sysfs = FakeSysfs(PI, disks={"": 0.5})
    host = Host(sysfs)
    sysfs.files.clear()
    sysfs.disks.clear()
    with pytest.raises(SensorError, match=r"nothing could be measured on this computer; disk: .*No such file"):
        host.read()


def test_a_computer_without_anything_is_unavailable():
    with pytest.raises(DriverUnavailable, match="remove the host sensor"):
        Host(FakeSysfs({}))


def test_the_disk_is_a_folder_of_choice(tmp_path):
    host = Host(FakeSysfs({}, disks={"var/lib": 0.75}), Host.Options(disk="/var/lib"))
    assert [reading.value for reading in host.read()] == [75.0]
    with pytest.raises(ConfigError, match=r'"var" will not do; give its whole path, such as /var/lib'):
        config_of('[[sensor]]\nname = "pi"\nkind = "host"\nroom = "attic"\ndisk = "var"\n', tmp_path)


def test_a_configured_disk_that_is_not_there_is_told():
    with pytest.raises(
        DriverUnavailable, match=r"disk of /mnt/usb cannot .*\(No such file.*\); correct `disk`, or mount"
    ):
        Host(FakeSysfs(PI, disks={"": 0.5}), Host.Options(disk="/mnt/usb"))


THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
THROTTLED_OF_A_PI_5 = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
RPI_VOLT = {"sys/class/hwmon/hwmon0/name": "cpu_thermal\n", "sys/class/hwmon/hwmon1/name": "rpi_volt\n"}
ALARM = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"


@pytest.mark.parametrize(
    ("bits", "under_voltage", "throttled"),
    [
        ("0", False, False),
        ("1", True, False),
        ("10000", True, False),  # not now, but within the last 2 s
        ("2", False, True),
        ("4", False, True),
        ("80000", False, True),
        ("50005", True, True),
    ],
)
@pytest.mark.parametrize("path", [THROTTLED, THROTTLED_OF_A_PI_5])
def test_the_bits_of_the_firmware_are_told(bits, under_voltage, throttled, path):
    host = Host(FakeSysfs({path: f"{bits}\n"}))
    assert {reading.measurement: reading.value for reading in host.read()} == {
        "throttled": throttled,
        "under_voltage": under_voltage,
    }
    assert {channel.role for channel in host.channels} == {"binary_sensor"}


@pytest.mark.parametrize(
    ("files", "under_voltage"),
    [
        ({ALARM: "0\n"}, False),
        ({ALARM: "1\n"}, True),
        ({ALARM: "0\n", THROTTLED: "0\n"}, False),
        ({ALARM: "1\n", THROTTLED: "0\n"}, True),  # a kernel that asks the firmware at other times
        ({ALARM: "0\n", THROTTLED: "10000\n"}, True),
    ],
)
def test_under_voltage_is_told_by_either_of_two_files(files, under_voltage):
    host = Host(FakeSysfs(RPI_VOLT | files))
    readings = {reading.measurement: reading.value for reading in host.read()}
    assert readings["under_voltage"] is under_voltage
    assert ("throttled" in readings) is (THROTTLED in files)


WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
"""


@pytest.mark.parametrize(
    ("lines", "signal"),
    [
        (" wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n", -56),
        (" wlan0: 0000   40.  200.  161.        0      0      0      0      0        0\n", -56),
        (" wlan0: 0000   20.  -80.  -256  0 0 0 0 0 0\n wlan1: 0000   60.  -48.  -256  0 0 0 0 0 0\n", -48),
    ],
)
def test_the_signal_of_the_wifi(lines, signal):
    assert wifi_signal(WIRELESS + lines) == signal
    (reading,) = Host(FakeSysfs({"proc/net/wireless": WIRELESS + lines})).read()
    assert (reading.measurement, reading.value) == ("wifi_signal", signal)


UNCONNECTED = " wlan0: 0000    0     0     0         0      0      0      0      0        0\n"


def wifi(line, flags="0x1003"):
    return {"proc/net/wireless": WIRELESS + line, "sys/class/net/wlan0/flags": f"{flags}\n"}


def test_wifi_that_is_not_connected_has_no_signal():
    """The kernel shows it with zeros; 0 dBm would be the best signal there ever was."""
    with pytest.raises(ValueError, match="no Wi-Fi is connected"):
        wifi_signal(WIRELESS + UNCONNECTED)
    assert wifi_signal(WIRELESS + UNCONNECTED + " wlan1: 0000   60.  -48.  -256  0 0 0 0 0 0\n") == -48
    host = Host(FakeSysfs(PI | wifi(UNCONNECTED), disks={"": 0.5}))
    assert "wifi_signal" not in {reading.measurement for reading in host.read()}


def test_wifi_that_connects_after_the_start_is_told_then():
    sysfs = FakeSysfs(PI | wifi(UNCONNECTED), disks={"": 0.5})
    host = Host(sysfs)
    assert "wifi_signal" in {channel.measurement for channel in host.channels}
    sysfs.files |= wifi(" wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n")
    assert {reading.measurement: reading.value for reading in host.read()}["wifi_signal"] == -56


@pytest.mark.parametrize(
    ("cable", "has_channel"),
    [
        ({"operstate": "down\n", "device/uevent": ""}, True),
        ({"operstate": "up\n", "device/uevent": ""}, False),
        ({"operstate": "up\n"}, True),
    ],
)
def test_wifi_beside_a_cable_has_a_channel_when_it_is_used(cable, has_channel):
    """A hub at a cable never has a signal to tell; a bridge of containers is no cable."""
    files = PI | {f"sys/class/net/eth0/{name}": text for name, text in cable.items()}
    for line, wanted in ((UNCONNECTED, has_channel), (" wlan0: 0000   54.  -56.  -256  0 0 0 0 0 0\n", True)):
        host = Host(FakeSysfs(files | wifi(line), disks={"": 0.5}))
        assert ("wifi_signal" in {channel.measurement for channel in host.channels}) is wanted


def test_wifi_that_is_switched_off_has_no_channel():
    host = Host(FakeSysfs(PI | wifi(UNCONNECTED, flags="0x1002"), disks={"": 0.5}))
    assert "wifi_signal" not in {channel.measurement for channel in host.channels}


def test_what_the_computer_does_not_have_has_no_channel():
    host = Host(FakeSysfs(PI | {"proc/net/wireless": WIRELESS}, disks={"": 0.5}))
    assert not {"wifi_signal", "throttled", "under_voltage", "swap"} & {c.measurement for c in host.channels}


def test_swap_is_told_where_there_is_some():
    meminfo = MEMINFO + "SwapTotal:       2097152 kB\nSwapFree:        1572864 kB\n"
    assert swap_used_percent(meminfo) == 25.0
    readings = {reading.measurement: reading.value for reading in Host(FakeSysfs({"proc/meminfo": meminfo})).read()}
    assert readings == {"memory": 25.0, "swap": 25.0}
    with pytest.raises(ValueError, match="no SwapTotal and SwapFree"):
        swap_used_percent(MEMINFO + "SwapTotal: 0 kB\nSwapFree: 0 kB\n")


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: many kB\n"])
def test_odd_meminfo_is_a_value_error(meminfo):
    with pytest.raises(ValueError, match=r"MemAvailable|invalid literal"):
        memory_used_percent(meminfo)


def test_odd_loadavg_is_a_value_error():
    with pytest.raises(ValueError, match="could not convert"):
        load("high")


def test_reads_the_files_below_the_root(tmp_path):
    for path, text in PI.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    host = Host.build(Host.Options(), DriverContext(name="pi", sysfs_root=tmp_path))
    readings = {reading.measurement: reading.value for reading in host.read()}
    assert readings["cpu_temperature"] == pytest.approx(48.312)
    assert 0 <= readings["disk"] <= 100
    host.close()


def test_this_computer_can_be_measured():
    host = Host.build(Host.Options(), DriverContext(name="here"))
    assert {"load", "memory", "disk"} <= {reading.measurement for reading in host.read()}
