import pytest

from appliance.broker.message import Message


def test_what_a_message_is_when_nothing_is_said():
    message = Message("a/b", b"1")
    assert (message.qos, message.retain, message.properties, message.expires_at, message.client_id) == (
        0,
        False,
        b"",
        None,
        "",
    )
    assert repr(message) == "Message('a/b', b'1', qos=0, retain=False)"


def test_a_message_is_small():
    with pytest.raises(AttributeError):
        Message("a", b"").extra = 1
