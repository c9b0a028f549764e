import pytest

from sensors.reasons import NEVER_TAKEN, QUOTA_EXCEEDED, REFUSED, cure


def test_only_what_a_person_must_mend_is_never_taken():
    assert set(NEVER_TAKEN) == {0x87, 0x90, 0x99}
    assert min(NEVER_TAKEN) >= REFUSED
    assert QUOTA_EXCEEDED not in NEVER_TAKEN  # its disk may have room tomorrow


@pytest.mark.parametrize(
    ("code", "part"),
    [(0x86, "broker.password_file"), (0x84, "MQTT 5"), (0x87, "publish to home/x"), (0xFF, "broker's log")],
)
def test_every_refusal_of_a_connection_has_its_cure(code, part):
    assert part in cure(code, "home/x")
