"""The keys of sensors.toml: what the types alone refuse, and that each is explained."""

import msgspec
import pytest

from appliance.settings import described
from sensors.keys import Keys, SensorKeys

AIR = {"name": "air", "kind": "bme280", "room": "bath"}


def test_what_is_left_out_has_a_default():
    keys = msgspec.convert({"sensor": [AIR]}, Keys)
    assert (keys.site, keys.agent, keys.broker.host, keys.outbox.max_readings) == ("home", None, None, 100_000)
    assert msgspec.convert(AIR, SensorKeys).offline_after == 3


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"site": "Home"}, Keys),
        ({"site": "devices"}, Keys),
        ({"broker": {"port": 0}}, Keys),
        ({"outbox": {"max_readings": 99}}, Keys),
        ({"outbox": {"max_bytes": 65_535}}, Keys),
        ({"colour": "red"}, Keys),
        ({**AIR, "interval_s": 0}, SensorKeys),
        ({**AIR, "label": "set"}, SensorKeys),
        ({**AIR, "derived": ["wind"]}, SensorKeys),
    ],
)
def test_what_cannot_be_is_refused(keys, kind):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, kind)


@pytest.mark.parametrize("kind", [Keys, SensorKeys])
def test_every_key_is_explained_in_a_sentence(kind):
    assert all(setting.help.endswith(".") for setting in described(kind))
