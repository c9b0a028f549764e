from sensors.config import load_config
from sensors.doctor.wants import wants

HOUSE = """
[[sensor]]
name = "sky"
kind = "simulated"
room = "garden"
[[sensor]]
name = "door"
kind = "gpio_input"
room = "hall"
pin = 17
input = "door"
[[sensor]]
name = "pir"
kind = "gpio_input"
room = "hall"
pin = 27
input = "motion"
[[sensor]]
name = "pump"
kind = "gpio_output"
room = "cellar"
pin = 22
output = "relay"
[[sensor]]
name = "air"
kind = "bme280"
room = "hall"
[[sensor]]
name = "attic"
kind = "bme280"
room = "attic"
bus = 3
address = 0x77
[[sensor]]
name = "boiler"
kind = "ds18b20"
room = "cellar"
label = "boiler"
[[sensor]]
name = "damp"
label = "air"
kind = "dht"
room = "cellar"
pin = 4
model = "AM2302"
"""


def test_each_sensor_needs_what_its_kind_and_its_options_say(tmp_path):
    path = tmp_path / "sensors.toml"
    path.write_text(HOUSE)
    found = {want.sensor: want for want in wants(load_config(path))}
    assert "sky" not in found
    door, pir, pump = found["door"], found["pir"], found["pump"]
    assert (door.pin, door.is_contact, door.is_output) == (17, True, False)
    assert (pir.pin, pir.is_contact, pir.is_output) == (27, False, False)
    assert (pump.pin, pump.is_output) == (22, True)
    assert (found["air"].bus, found["air"].addresses, found["air"].model) == (1, (0x76, 0x77), "BME280")
    assert (found["attic"].bus, found["attic"].addresses) == (3, (0x77,))
    assert (found["boiler"].one_wire, found["boiler"].pin) == ("", None)
    assert (found["damp"].kind, found["damp"].pin, found["damp"].model) == ("dht", 4, "AM2302")
    assert all(want.one_wire is None for name, want in found.items() if name != "boiler")
