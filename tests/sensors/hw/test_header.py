import pytest

from appliance.config import ConfigError
from sensors.config import load_config

SENSOR = """
[[sensor]]
name = "front-door"
kind = "{kind}"
room = "hall"
pin = {pin}
{more}
"""


@pytest.mark.parametrize(("kind", "more"), [("gpio_input", 'input = "door"'), ("dht", 'model = "DHT22"')])
@pytest.mark.parametrize("pin", [0, 27])
def test_a_line_of_the_header(tmp_path, kind, more, pin):
    path = tmp_path / "sensors.toml"
    path.write_text(SENSOR.format(kind=kind, more=more, pin=pin))
    assert load_config(path).sensors[0].options.pin == pin


@pytest.mark.parametrize(("kind", "more"), [("gpio_input", 'input = "door"'), ("dht", 'model = "DHT22"')])
@pytest.mark.parametrize("pin", [-1, 28, 40])
def test_a_position_on_the_header_is_no_gpio_number(tmp_path, kind, more, pin):
    path = tmp_path / "sensors.toml"
    path.write_text(SENSOR.format(kind=kind, more=more, pin=pin))
    with pytest.raises(ConfigError, match="not the position on the header") as caught:
        load_config(path)
    assert caught.value.line == 6
