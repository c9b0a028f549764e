"""What people are told of the kinds, made from the drivers alone."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, inspect

from sensors.catalogue import keys_of, kind_of, kinds_with, meant, takes
from sensors.registry import KINDS, UnknownKind

MEANT = [
    ("relay", 'write kind = "gpio_output" and output = "relay"'),
    ("lamp", 'write kind = "gpio_output" and output = "lamp"'),
    ("siren", 'write kind = "gpio_output" and output = "siren"'),
    ("valve", 'write kind = "gpio_output" and output = "valve"'),
    ("door", 'write kind = "gpio_input" and input = "door"'),
    ("window-contact", 'write kind = "gpio_input" and input = "window"'),
    ("leak", 'write kind = "gpio_input" and input = "leak"'),
    ("smoke", 'write kind = "gpio_input" and input = "smoke"'),
    ("Motion", 'write kind = "gpio_input" and input = "motion"'),
    ("buton", 'did you mean kind = "gpio_input" and input = "button"?'),
    ("PIR", 'perhaps you mean kind = "gpio_input"; '),
    ("DHT22", 'write kind = "dht" and model = "DHT22"'),
    ("dht-11", 'write kind = "dht" and model = "DHT11"'),
    ("am2302", 'write kind = "dht" and model = "AM2302"'),
    ("energy", 'write kind = "pulse_counter" and counts = "energy"'),
    ("rain gauge", 'write kind = "pulse_counter" and counts = "rain"'),
    ("BME280", 'write kind = "bme280"'),
    ("simulate", 'did you mean kind = "simulated"?'),
    ("SCD41", 'did you mean kind = "scd4x"?'),
    ("co2", 'perhaps you mean kind = "scd4x"; '),
    ("pressure", 'perhaps you mean kind = "bme280" or "bmp280"; '),
    ("outdoor", 'write kind = "simulated" and model = "outdoor"'),
    ("thermostat", f"use one of {', '.join(KINDS)}; "),
    ("", f"use one of {', '.join(KINDS)}; "),
]


@pytest.mark.parametrize(("word", "words"), MEANT, ids=[word for word, _ in MEANT])
def test_a_word_leads_to_the_kind_that_is_meant(word, words):
    assert meant(word).startswith(words)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_what_it_is_in_a_sentence_for_people(name):
    kind = kind_of(name)
    assert 20 < len(kind.summary) < 120
    assert "`" not in kind.summary
    assert "thread" not in kind.summary
    assert not any("below" in key.help and "see" in key.help for key in kind.keys)
    assert all(key.takes for key in kind.keys)


def test_an_unknown_kind_has_no_description():
    with pytest.raises(UnknownKind):
        kind_of("thermostat")


def test_a_key_of_other_kinds_is_found():
    assert kinds_with("safe_after_s") == ["gpio_output"]
    assert kinds_with("nothing") == []


class Options(msgspec.Struct):
    count: Annotated[int, Meta(ge=1, le=9, description="How many.")]
    pull: Annotated[Literal["up", "down"] | None, Meta(description="Where to.")] = None
    tries: Annotated[int, Meta(description="How often.")] = 3


def test_keys_are_told_with_what_they_take_and_what_is_without_them():
    assert [(key.name, key.takes, key.usual, key.choices) for key in keys_of(Options)] == [
        ("count", "a whole number from 1 to 9", "required", ()),
        ("pull", '"down" or "up"', "optional", ("down", "up")),
        ("tries", "a whole number", "default 3", ()),
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "true or false"),
        (str, "text"),
        (list[str], "a list of text"),
        (Annotated[float, Meta(gt=0)] | None, "a number above 0"),
        (Annotated[float, Meta(ge=0)] | Annotated[str, Meta(pattern="%$")], "a number from 0 or text"),
        (Literal[118, 119], "0x76 or 0x77"),
        (Literal["one"], '"one"'),
        (Annotated[str, Meta(extra={"takes": "a path"})] | None, "a path"),
    ],
)
def test_what_a_key_takes_is_said_in_a_few_words(kind, words):
    assert takes(inspect.type_info(kind)) == words
