"""One sensor as it stands in the file: its own keys, those that all have, and the tables of its measurements."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.config import ConfigError, field_names
from appliance.settings import described
from sensors.config import config_of
from sensors.keys import SensorKeys
from sensors.registry import KINDS, driver_class
from sensors.treatment import Treatment

KITCHEN = '[[sensor]]\nname = "kitchen"\nkind = "simulated"\nroom = "kitchen"\n'
DHT = '[[sensor]]\nname = "air"\nkind = "dht"\nroom = "attic"\npin = 4\nmodel = "DHT22"\n'
FLOW = '[[sensor]]\nname = "flow"\nkind = "ds18b20"\nroom = "cellar"\n'


@pytest.fixture
def load(tmp_path):
    def load(text):
        return config_of(text, tmp_path / "sensors.toml")

    return load


def test_a_measurement_takes_from_its_sensor_what_its_table_leaves_open(load):
    (air, flow) = load(
        f'{DHT}delta = 0.5\nheartbeat_s = 300\nmedian = 3\nderived = ["dew_point"]\ntimeout_s = 600\n'
        'temperature.offset = -0.5\n[sensor.humidity]\ndelta = "5%"\nheartbeat_s = 60\n'
        f"[sensor.dew_point]\ndecimals = 0\n{FLOW}calibrate = [[0.5, 0], [98.2, 100]]\n"
    ).sensors
    usual = Treatment(delta=0.5, heartbeat_s=300, median=3)
    assert air.treatments == {
        "temperature": replace(usual, offset=-0.5),
        "humidity": replace(usual, delta="5%", heartbeat_s=60),
        "dew_point": replace(usual, decimals=0),
    }
    assert air.tables["temperature"] == Treatment(offset=-0.5)
    assert (air.keys.timeout_s, air.keys.derived) == (600.0, ("dew_point",))
    assert flow.keys.calibrate == ((0.5, 0.0), (98.2, 100.0))
    assert flow.treatments == {}


def test_a_heartbeat_may_be_that_of_a_measurement_with_a_delta(load):
    (kitchen,) = load(f"{KITCHEN}heartbeat_s = 300\ntemperature.delta = 1\n").sensors
    assert kitchen.treatments["temperature"].heartbeat_s == 300.0
    assert load(f"{KITCHEN}delta = 1\n[sensor.humidity]\nheartbeat_s = 9\n").sensors


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_has_a_key_that_all_sensors_have(kind):
    options = {setting.name for setting in described(driver_class(kind).Options)}
    assert options.isdisjoint(setting.name for setting in described(SensorKeys))


def test_reading_faster_than_the_kind_allows_is_refused(load):
    with pytest.raises(ConfigError, match="interval_s") as caught:
        load('[[sensor]]\nname = "pi"\nkind = "host"\nroom = "utility"\ninterval_s = 0.5\n')
    assert "too often" in caught.value.problem


@pytest.mark.parametrize(
    ("text", "least"),
    [
        (f"{KITCHEN}timeout_s = 30\ninterval_s = 60\n", "120 s"),
        (f"{FLOW}timeout_s = 59\n", "60 s"),  # the kind's own interval is 30 s
        (f"{DHT}timeout_s = 5\ninterval_s = 3\n", "6 s"),
    ],
)
def test_a_number_is_awaited_for_two_readings_at_least(load, text, least):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.key == "sensor[1].timeout_s"
    assert caught.value.problem.endswith("would be offline between two readings")
    assert caught.value.cure == f"give two intervals or more, {least}"


def test_two_intervals_of_waiting_are_enough(load):
    assert load(f"{FLOW}timeout_s = 60\n").sensors[0].keys.timeout_s == 60.0


NASTY = [
    *(
        "0",
        "-1",
        "1",
        "1.5",
        "-0.0",
        "1e308",
        "-1e308",
        "1e-320",
        "1" + "0" * 400,
        "-9223372036854775809",
        "nan",
        "-inf",
    ),
    *("true", '""', '"x"', '"x\\n"', '"ü"', '"a/b"', '"+"', '"set"', '"\\u0000"', '"\\u001b[2J"', f'"{"x" * 5000}"'),
    *('"5%"', '"0%"', '"5%\\n"', '"\\u0665%"', f'"{"9" * 400}%"', '"%"', "1979-05-27", "07:32:00", "{}", "{a = 1}"),
    *(
        "{delta = 1}",
        '{delta = "5%\\n"}',
        "[]",
        "[1]",
        '["x"]',
        '["dew_point"]',
        "[[0, 1], [1, 2]]",
        "[[0, 0], [0, 0]]",
    ),
    *("[[0, 0], [1e-320, 1]]", "[[-1e308, 0], [1e308, 1]]", "[[1, 2], [3, 4], [5, 6]]", '"28-000803702e49\\n"'),
]
OPTIONS = [(kind, key) for kind in KINDS for key in sorted(field_names(driver_class(kind).Options))]
NEEDED = {"dht": {"pin": "4", "model": '"DHT22"'}, "pulse_counter": {"pin": "4", "counts": '"water"', "per_pulse": "1"}}


@pytest.mark.parametrize(
    ("kind", "key"),
    [*(("dht", key) for key in (*sorted(field_names(SensorKeys)), "temperature", "dew_point", "\\u001b")), *OPTIONS],
)
def test_whatever_stands_in_a_sensor_is_taken_or_refused_in_one_line(kind, key):
    needed = NEEDED.get(kind, {"pin": "4"} if (kind, "pin") in OPTIONS else {})
    for value in NASTY:
        table = {"name": '"x"', "kind": f'"{kind}"', "room": '"attic"', **needed, f'"{key}"': value}
        table = {**table, key: table.pop(f'"{key}"')} if key in table else table
        text = "[[sensor]]\n" + "".join(f"{name} = {item}\n" for name, item in table.items())
        try:
            config_of(text, Path("sensors.toml"))
        except ConfigError as error:
            refused = error
        else:
            continue
        assert refused.cure, text
        assert refused.line, text
        assert "\n" not in str(refused)
