"""What an inventory says arrives in sensors.toml as it was meant."""

import tomllib
from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook_filters import filters_of

from sensors.config import config_of

to_toml = filters_of("toml_text")["to_toml"]

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
moments = st.dates() | st.times() | st.datetimes() | st.datetimes(timezones=st.just(UTC))
scalars = st.booleans() | numbers | texts | moments
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
tables = st.dictionaries(texts, values, max_size=6)


@given(tables)
def test_tomllib_reads_back_what_was_written(table):
    read = tomllib.loads(to_toml(table))
    assert read == table


@given(st.dictionaries(texts, scalars))
def test_kinds_of_values_stay_what_they_are(table):
    read = tomllib.loads(to_toml(table))
    assert {key: type(value) for key, value in read.items()} == {key: type(value) for key, value in table.items()}


def test_it_looks_as_somebody_would_write_it():
    table = {
        "site": "home",
        "sensor": [
            {"name": "bath", "kind": "sht4x", "humidity": {"median": 5, "calibrate": [[31.2, 33.0]]}, "room": "bath"},
            {"name": "lamp", "pin": 4},
        ],
        "broker": {"host": "hub.local"},
    }
    assert (
        to_toml(table)
        == """\
site = "home"

[[sensor]]
name = "bath"
kind = "sht4x"
room = "bath"

[sensor.humidity]
median = 5
calibrate = [[31.2, 33.0]]

[[sensor]]
name = "lamp"
pin = 4

[broker]
host = "hub.local"
"""
    )


def test_the_agent_reads_what_an_inventory_describes():
    sensors = [
        {"name": "küche", "kind": "simulated", "room": "kitchen"},
        {
            "name": "air",
            "kind": "simulated",
            "room": "bath",
            "title": 'Lüfter "oben" \\ \x7f',
            "humidity": {"delta": "2%"},
        },
    ]
    sensors[0]["name"] = "kitchen"
    config = config_of(to_toml({"site": "home", "agent": "a", "sensor": sensors}), None)
    assert [sensor.name for sensor in config.sensors] == ["kitchen", "air"]
    assert config.sensors[1].keys.title == sensors[1]["title"]
    assert config.sensors[1].tables["humidity"].delta == "2%"


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "not what it holds"


class Number(int):
    def __repr__(self):
        return "not what it is"


class Ratio(float):
    def __repr__(self):
        return "not what it is"


def test_subclasses_of_pythons_types_are_what_they_hold():
    table = {Text("key"): Number(3), "ratio": Ratio(0.5)}
    assert tomllib.loads(to_toml(table)) == {"key": 3, "ratio": 0.5}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"sensor": [{"label": None}]}, "sensor.label has no value; give it one, or remove the key"),
        ({"broker": {True: 1}}, "the key True in broker is true or false; put it in quotation marks"),
        ({1: 1}, "the key 1 is a number; put it in quotation marks"),
        ({"raw": b"x"}, "raw is a bytes, and TOML has nothing like it"),
        ({"title": "\ud83d"}, "'title' holds half a character, which is no text"),
        (["sensor"], "a TOML file is a table of keys, and this is a list"),
    ],
)
def test_what_toml_cannot_say_is_named(table, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the whole text follows
        to_toml(table)
    assert str(caught.value) == words


def test_dates_are_written_as_toml_writes_them():
    table = {"day": date(2026, 1, 2), "hour": time(3, 4, 5), "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    assert to_toml(table) == "day = 2026-01-02\nhour = 03:04:05\nat = 2026-01-02T03:04:05+00:00\n"
