import msgspec
import pytest

from sensors.namesake import Namesake


def health(run, **fields):
    return msgspec.json.encode({"run": run, "computer": "attic, 192.0.2.7", "uptime_s": 1, **fields})


@pytest.fixture
def namesake():
    namesake = Namesake()
    namesake.said("ours")
    return namesake


def test_what_stood_there_before_we_spoke_is_nobody(namesake):
    assert namesake.heard(health("our last life's")) is None


def test_another_in_the_place_of_ours_is_an_agent_with_our_name(namesake):
    namesake.arrived()
    assert namesake.heard(health("ours")) is None
    assert namesake.heard(health("theirs")) == "attic, 192.0.2.7"


def test_our_own_that_comes_back_shows_that_it_has_arrived(namesake):
    assert namesake.heard(health("ours")) is None
    assert namesake.heard(health("theirs", computer="")) == "a computer that it does not name"


def test_one_that_says_nothing_more_has_gone(namesake):
    namesake.arrived()
    assert namesake.heard(health("theirs")) is not None
    assert namesake.heard(health("theirs")) is None
    assert namesake.heard(health("theirs", uptime_s=61)) is not None


def test_every_run_of_ours_is_ours(namesake):
    namesake.said("after the disk failed")
    namesake.arrived()
    assert namesake.heard(health("ours")) is None
    assert namesake.heard(health("after the disk failed")) is None


NESTED = b'{"x": ' + b"[" * 60_000 + b"]" * 60_000 + b', "run": "theirs"}'


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"run": 1}', b"{}", b"\xff", b'{"run": "\xff"}', NESTED], ids=range(8)
)
def test_what_is_no_health_message_is_nobody(namesake, payload):
    namesake.arrived()
    assert namesake.heard(payload) is None
