import pytest

from sensors.hw.sysfs import FakeSysfs, SysfsTree

FILES = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone10/type": "gpu\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/dht11@4/gpios": "\0\0\0\7\0\0\0\4\0\0\0\0",
}


@pytest.fixture(params=["tree", "fake"])
def sysfs(request, tmp_path):
    if request.param == "fake":
        return FakeSysfs(FILES, disks={"": 0.25})
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return SysfsTree(tmp_path)


def test_text_comes_without_line_end_and_nul(sysfs):
    assert sysfs.read("sys/class/thermal/thermal_zone0/type") == "cpu-thermal"
    assert sysfs.read("proc/device-tree/model") == "Raspberry Pi 5 Model B Rev 1.0"


def test_numbers_of_the_device_tree_come_as_they_are(sysfs):
    assert sysfs.read_bytes("proc/device-tree/dht11@4/gpios") == bytes([0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 0])
    with pytest.raises(FileNotFoundError):
        sysfs.read_bytes("proc/device-tree/dht11@17/gpios")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (
            "sys/class/thermal/thermal_zone*/type",
            ["sys/class/thermal/thermal_zone0/type", "sys/class/thermal/thermal_zone10/type"],
        ),
        ("sys/class/thermal/thermal_zone*", ["sys/class/thermal/thermal_zone0", "sys/class/thermal/thermal_zone10"]),
        ("sys/class/*/type", []),  # a star is one level
        ("sys/class/hwmon/hwmon*/name", []),
    ],
)
def test_glob(sysfs, pattern, found):
    assert sysfs.glob(pattern) == found


def test_a_missing_file_is_an_os_error(sysfs):
    with pytest.raises(FileNotFoundError):
        sysfs.read("proc/loadavg")
    with pytest.raises(FileNotFoundError):
        sysfs.used_share("no/such/folder")


def test_the_used_share_lies_between_nothing_and_all(sysfs):
    assert 0 <= sysfs.used_share("") <= 1


def test_where_nothing_is_stored_nothing_is_used():
    with pytest.raises(OSError, match="nothing is stored there"):
        SysfsTree().used_share("proc")


def test_the_fake_fails_as_the_kernel_does():
    sysfs = FakeSysfs({"sys/class/hwmon/hwmon0/temp1_input": OSError(5, "Input/output error")})
    with pytest.raises(OSError, match="Input/output"):
        sysfs.read("sys/class/hwmon/hwmon0/temp1_input")
