import msgspec
import pytest

from sensors.treatment import Treatment, mistake_among

SENSELESS = [
    {"delta": -0.1},
    {"delta": "5"},
    {"delta": "-5%"},
    {"heartbeat_s": 0},
    {"heartbeat_s": 604_801},  # nobody would call it silent
    {"throttle_s": 1e300},
    {"decimals": 7},
    {"max_step": -1},
    {"hight": 3},
    {"median": 1},
    {"moving_average": 1001},
    {"send_every": 0},
    {"throttle_s": 0},
    {"calibrate": [[0, 1]]},
    {"calibrate": [[0, 1], [2, 3], [4, 5]]},
    {"calibrate": [0, 1]},
    {"offset": "warm"},
]


@pytest.mark.parametrize("keys", SENSELESS)
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, Treatment)


MISTAKES = [
    ({"calibrate": ((0, 1), (2, 3)), "offset": 0.0}, "offset"),
    ({"calibrate": ((0, 1), (2, 3)), "scale": 1.0}, "scale"),
    ({"calibrate": ((2, 1), (2, 3))}, "calibrate"),
    ({"calibrate": ((0, 3), (2, 3))}, "calibrate"),
    ({"calibrate": ((0.0, 0.0), (1e-320, 1.0))}, "calibrate"),
    ({"calibrate": ((-1e308, 0.0), (1e308, 1.0))}, "calibrate"),
    ({"calibrate": ((0.0, 0.0), (1e300, 1e-300))}, "calibrate"),
    ({"scale": 0.0}, "scale"),
    ({"low": 5.0, "high": 5.0}, "low"),
    ({"send_every": 2}, "send_every"),
]


@pytest.mark.parametrize(("keys", "key"), MISTAKES)
def test_keys_that_do_not_go_together_are_named_with_the_cure(keys, key):
    path, problem, cure = Treatment(**keys).mistake()
    assert path == (key,)
    assert problem
    assert cure


GOOD = [
    {},
    {"offset": -0.5, "scale": 1.02},
    {"calibrate": ((0, 1), (2, 3))},
    {"scale": -1.0},
    {"delta": 0.0},
    {"delta": "0%"},
    {"low": 0.0, "high": 1.0},
    {"median": 5, "send_every": 5},
    {"moving_average": 5, "send_every": 5},
]


@pytest.mark.parametrize("keys", GOOD)
def test_the_rest_goes_together(keys):
    assert Treatment(**keys).mistake() is None


AIR = ("temperature", "humidity")
DEW = ("dew_point",)
AMONG = [  # measured, keys of the sensor, derived, tables; the key that is wrong, words of problem and cure
    (AIR, {}, (), {}, None, ""),
    (AIR, {"delta": 0.5}, DEW, {"humidity": {"offset": 2.0, "low": 5.0}, "dew_point": {"delta": 1.0}}, None, ""),
    (("temperature",), {"offset": 1.0, "high": 60.0}, (), {}, None, ""),
    ((), {}, (), {}, None, ""),  # a door
    ((), {"delta": 0.5}, (), {}, ("delta",), "measures no number; remove it"),
    ((), {"heartbeat_s": 30.0}, (), {}, ("heartbeat_s",), "measures no number; remove it"),
    (AIR, {"offset": 1.0}, (), {}, ("offset",), "[sensor.temperature] or [sensor.humidity]"),
    (AIR, {"high": 40.0}, (), {}, ("high",), "[sensor.temperature] or [sensor.humidity]"),  # °C and %
    (AIR, {"calibrate": ((0, 1), (2, 3))}, (), {}, ("calibrate",), "[sensor.temperature]"),
    ((), {"scale": 2.0}, (), {}, ("scale",), "remove it"),
    (("temperature", "pressure"), {}, DEW, {}, ("derived",), "temperature and humidity"),
    ((), {}, DEW, {}, ("derived",), "measures no number"),
    (AIR, {}, (), {"temprature": {}}, ("temprature",), 'did you mean "temperature"?'),
    (AIR, {}, (), {"lux": {}}, ("lux",), "measures temperature and humidity"),
    ((), {}, (), {"door": {}}, ("door",), "remove the table"),
    (AIR, {}, (), {"dew_point": {}}, ("dew_point",), 'derived = ["dew_point"]'),
    (AIR, {}, DEW, {"dew_point": {"offset": 1.0}}, ("dew_point", "offset"), "temperature or humidity"),
    (AIR, {}, DEW, {"dew_point": {"high": 1.0}}, ("dew_point", "high"), "computed"),
]


@pytest.mark.parametrize(("measured", "keys", "derived", "tables", "path", "words"), AMONG)
def test_keys_belong_to_what_is_measured(measured, keys, derived, tables, path, words):
    tables = {name: Treatment(**table) for name, table in tables.items()}
    mistake = mistake_among(measured, Treatment(**keys), derived, tables)
    if path is None:
        assert mistake is None
    else:
        assert mistake[0] == path
        assert words in f"{mistake[1]}; {mistake[2]}"


def test_a_derived_value_is_neither_judged_nor_calibrated_again():
    keys = Treatment(low=0, high=9, max_step=1, offset=1, scale=2, delta=0.5, median=3, decimals=2)
    assert keys.of_derived() == Treatment(delta=0.5, median=3, decimals=2)
