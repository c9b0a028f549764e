"""What the sensors of one agent cannot all have is refused before there is hardware."""

import pytest
from mistakes import assert_told

from appliance.config import ConfigError
from sensors.config import config_of

KITCHEN = '[[sensor]]\nname = "kitchen"\nkind = "simulated"\nroom = "kitchen"\n'
DHT = '[[sensor]]\nname = "air"\nkind = "dht"\nroom = "attic"\npin = 4\nmodel = "DHT22"\n'
DOOR = '[[sensor]]\nname = "door"\nkind = "gpio_input"\nroom = "hall"\npin = 17\ninput = "door"\n'
PUMP = '[[sensor]]\nname = "pump"\nkind = "gpio_output"\nroom = "hall"\npin = 18\noutput = "relay"\n'
METER = '[[sensor]]\nname = "m"\nkind = "pulse_counter"\nroom = "hall"\npin = 19\ncounts = "water"\nper_pulse = 1\n'
LABELLED = 'measurement = "dew_point"\nlabel = "top"\n'
FLOW = '[[sensor]]\nname = "flow"\nkind = "ds18b20"\nroom = "cellar"\n'
HEAT = '[[sensor]]\nname = "heat"\nkind = "gpio_output"\nroom = "bath"\npin = 17\noutput = "relay"\n'
COOL = HEAT.replace("heat", "cool").replace("17", "18")


@pytest.fixture
def load(tmp_path):
    def load(text):
        return config_of(text, tmp_path / "sensors.toml")

    return load


def two(kind, first, second, other=None):
    """Two sensors with different keys, in different rooms."""
    return "".join(
        f'[[sensor]]\nname = "{room}"\nroom = "{room}"\nkind = "{kind}"\n{keys}\n'
        for room, kind, keys in (("attic", kind, first), ("cellar", other or kind, second))
    )


SHARED = [  # text after the kitchen's four lines -> line, key, parts of the one line
    (f"{DHT}{DOOR.replace('17', '4')}", 15, "sensor[3].pin", ['GPIO4 is that of sensor "air" already']),
    (KITCHEN, 6, "sensor[2].name", ["already called", "name of its own"]),
    (
        f'{HEAT}interlock = "air"\n{COOL}label = "b"\ninterlock = "ari"\n',
        11,
        "sensor[2].interlock",
        ['nobody else is in the group "air"', "excludes"],
    ),
    (
        two("ds18b20", 'id = "28-000803702e49"', 'id = "28-000803702e49"'),
        14,
        "sensor[3].id",
        ["28-000803702e49 is that"],
    ),
    (two("ds18b20", "", ""), 10, "sensor[3].id", ['the only thermometer on the bus is that of sensor "attic"']),
    (two("bme280", "address = 0x76", "address = 118"), 14, "sensor[3].address", ["the chip at 0x76 of bus 1 is that"]),
    (two("sht31", "address = 0x44", "address = 0x44", "sht4x"), 14, "sensor[3].address", ["the chip at 0x44 of bus 1"]),
    (two("aht20", "", "address = 0x38"), 10, "sensor[3].bus", ["the chip at 0x38 of bus 1", "its own `bus`"]),
    (two("aht20", "", ""), 10, "sensor[3].bus", ["the chip at 0x38 of bus 1", "give each sensor its own `bus`"]),
    (
        two("gpio_input", 'pin = 17\ninput = "door"', 'model = "DHT22"\npin = 17', "dht"),
        16,
        "sensor[3].pin",
        ["GPIO17 is that of"],
    ),
]


@pytest.mark.parametrize(("text", "line", "key", "parts"), SHARED)
def test_a_conflict_is_one_line_with_place_key_and_cure(load, text, line, key, parts):
    with pytest.raises(ConfigError) as caught:
        load(KITCHEN + text)
    assert_told(caught.value, line, key, parts)


APART = [
    two("ds18b20", 'id = "28-000803702e49"', 'id = "28-0316a2794dff"'),
    two("bme280", "address = 0x76", "address = 0x77"),
    two("bme280", "address = 0x76", ""),
    two("bme280", "address = 0x76", "address = 0x76\nbus = 3"),
    two("aht20", "", "bus = 3"),
    two("host", "", 'disk = "/srv"'),
]


@pytest.mark.parametrize("text", APART)
def test_sensors_with_hardware_of_their_own_are_taken(load, text):
    assert len(load(text).sensors) == 2


TWINS = [  # two sensors of one room, and the topic that both would have
    (KITCHEN, KITCHEN.replace('"kitchen"\nkind', '"again"\nkind'), "home/kitchen/temperature"),
    (KITCHEN, KITCHEN.replace('"kitchen"\nkind', '"out"\nkind') + 'model = "outdoor"\n', "home/kitchen/temperature"),
    (FLOW, FLOW.replace("flow", "back") + 'id = "28-000803702e49"\n', "home/cellar/temperature"),
    (FLOW, DHT.replace("attic", "cellar"), "home/cellar/temperature"),
    (DOOR, DOOR.replace('"door"\nkind', '"back"\nkind').replace("17", "27"), "home/hall/door"),
    (DOOR, PUMP + 'measurement = "door"\n', "home/hall/door"),
    (METER + "rate = true\n", DOOR + 'measurement = "flow"\n', "home/hall/flow"),
    (
        DHT + 'label = "top"\nderived = ["dew_point"]\n',
        DOOR.replace("hall", "attic") + LABELLED,
        "home/attic/top/dew_point",
    ),
]


@pytest.mark.parametrize(("one", "other", "topic"), TWINS)
def test_two_sensors_of_one_topic_are_refused_before_there_is_hardware(load, one, other, topic):
    for first, second in ((one, other), (other, one)):
        with pytest.raises(ConfigError) as caught:
            load(first + second)
        assert caught.value.key == "sensor[2].label"
        assert topic in caught.value.problem
        assert load(first).sensors[0].name in caught.value.problem
        assert caught.value.cure == "give one of the two a label of its own"


def test_what_a_label_tells_apart_may_be_in_one_room(load):
    assert len(load(FLOW + DHT.replace("attic", "cellar") + 'label = "air"\n').sensors) == 2
