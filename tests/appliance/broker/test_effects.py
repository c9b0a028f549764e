from dataclasses import FrozenInstanceError

import pytest

from appliance.broker.connection import Connection
from appliance.broker.effects import Authenticate, Close

LINK = Connection(None, "peer", 0.0, 5.0)


@pytest.mark.parametrize("effect", [Close(LINK, "goodbye"), Authenticate(LINK, "a", "ann", b"secret")])
def test_an_effect_is_decided_once(effect):
    with pytest.raises(FrozenInstanceError):
        effect.connection = None


def test_a_password_does_not_get_into_a_log():
    assert "secret" not in repr(Authenticate(LINK, "a", "ann", b"secret"))
