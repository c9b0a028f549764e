import pytest

from appliance.mqtt.types import CONNECT_RETURN_CODES, REASON_CODES, ConnectReturnCode, PacketType, ReasonCode


def test_packet_types_fill_the_high_half_but_for_zero():
    assert sorted(PacketType) == list(range(1, 16))


def test_there_are_43_reason_codes():
    assert len(ReasonCode) == 43  # §2.4


def test_every_reason_code_has_a_packet_that_may_carry_it():
    assert set().union(*REASON_CODES.values()) == set(ReasonCode)


@pytest.mark.parametrize("packet_type", REASON_CODES)
def test_every_packet_with_a_reason_can_say_success(packet_type):
    assert ReasonCode.SUCCESS in REASON_CODES[packet_type]


def test_older_clients_are_told_of_success_only_when_it_is():
    accepted = [code for code, old in CONNECT_RETURN_CODES.items() if old is ConnectReturnCode.ACCEPTED]
    assert accepted == [ReasonCode.SUCCESS]
    assert set(CONNECT_RETURN_CODES) <= REASON_CODES[PacketType.CONNACK]
