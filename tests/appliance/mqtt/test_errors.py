import pytest

from appliance.mqtt import errors
from appliance.mqtt.types import ReasonCode, Version

REASONS = [
    (errors.MalformedPacket, 0x81),
    (errors.ProtocolError, 0x82),
    (errors.UnsupportedVersion, 0x84),
    (errors.TopicFilterInvalid, 0x8F),
    (errors.TopicNameInvalid, 0x90),
    (errors.ReceiveMaximumExceeded, 0x93),
    (errors.QuotaExceeded, 0x97),
    (errors.TopicAliasInvalid, 0x94),
    (errors.PacketTooLarge, 0x95),
]


@pytest.mark.parametrize(("error", "code"), REASONS)
def test_an_error_carries_the_reason_that_the_peer_is_told(error, code):
    assert error.reason is ReasonCode(code)
    assert issubclass(error, errors.MqttError)
    assert error.__name__ in (errors.__doc__ or "")


def test_every_error_is_in_the_table():
    def family(kind):
        return {kind}.union(*(family(child) for child in kind.__subclasses__()))

    assert family(errors.MqttError) - {errors.MqttError} == {error for error, _ in REASONS}


def test_a_bad_topic_is_a_malformed_packet():
    assert issubclass(errors.TopicNameInvalid, errors.MalformedPacket)
    assert issubclass(errors.TopicFilterInvalid, errors.MalformedPacket)


def test_an_unsupported_version_remembers_how_to_answer():
    error = errors.UnsupportedVersion("level 6 is not spoken here", Version.MQTT_5)
    assert error.dialect is Version.MQTT_5
    assert str(error) == "level 6 is not spoken here"
