"""What was retained at a moment of the past."""

import pytest
from keeper import AT, Keeper, number

from appliance.devices import Device, Measurement
from appliance.store.travel import Held, held_at, published

DEVICE = Device(
    agent="house",
    site="home",
    sensors=(
        Measurement(topic="home/hall/door", kind="door", role="binary_sensor"),
        Measurement(topic="home/hall/bell", kind="bell", role="event"),
    ),
)


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.learn(DEVICE)
    yield keeper
    keeper.stop()


def test_the_state_of_a_moment(keeper):
    keeper.write(number("20.5", "home/a/t"), number("ON", "home/hall/door"), number("press", "home/hall/bell"))
    keeper.write(number("single", "home/remote/action"))
    keeper.advance(60)
    keeper.move()
    keeper.write(number("21", "home/a/t"), number("OFF", "home/hall/door"), number("idle", "home/mower/state"))
    held = lambda at, *filters: held_at(keeper.reader, filters, at)  # noqa: E731
    before = [Held("home/a/t", "20.5", AT), Held("home/hall/door", "ON", AT)]
    now = [
        Held("home/a/t", "21", AT + 60),
        Held("home/hall/door", "OFF", AT + 60),
        Held("home/mower/state", "idle", AT + 60),
    ]
    assert held(AT - 1, "home/#") == []
    assert held(AT + 59, "home/#") == before
    assert held(AT + 60, "#") == now
    assert held(AT + 60, "home/+/t") == now[:1]
    assert held(AT + 60, "home/a/t", "home/hall/#", "home/+/t") == now[:2]
    assert held(AT + 60, "none/#") == []


@pytest.mark.parametrize(
    ("kind", "value", "text", "payload"),
    [
        ("number", 21.0, None, "21"),
        ("number", -0.125, None, "-0.125"),
        ("number", 21.4, None, "21.4"),
        ("number", 1013.2500000001, None, "1013.2500000001"),
        ("number", 1e21, None, "1e+21"),
        ("binary", 1.0, None, "ON"),
        ("binary", 0.0, None, "OFF"),
        ("text", None, "press", "press"),
        ("number", None, "late", "late"),
        ("text", None, None, ""),
    ],
)
def test_values_as_they_were_published(kind, value, text, payload):
    assert published(kind, value, text) == payload
