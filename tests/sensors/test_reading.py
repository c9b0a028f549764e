import dataclasses

import pytest

from sensors.reading import Reading


def test_a_reading_is_good_unless_it_says_otherwise():
    assert Reading("temperature", 21.4).quality == "ok"
    assert Reading("temperature", 21.4).raw == ""


def test_a_reading_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reading("door", True).value = False
