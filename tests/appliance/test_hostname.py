import pytest

from appliance import hostname
from appliance.hostname import DIGITS, LONGEST, local_name, mark, own_name, short_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raspberrypi", "raspberrypi"),
        ("Pi-4.fritz.box", "pi-4"),
        ("my_pi", "my-pi"),
        ("küche", "k-che"),
        ("localhost", "sensor-hub"),
        ("", "sensor-hub"),
        ("_.x", "sensor-hub"),
        ("a" * 80, "a" * LONGEST),
    ],
)
def test_a_name_is_one_level_of_dns(name, expected):
    assert short_name(name) == expected


def test_a_computer_has_a_mark_that_does_not_tell_its_id(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("0123456789abcdef0123456789abcdef\n")
    other.write_text("0123456789abcdef0123456789abcdee\n")
    assert len(mark(one)) == DIGITS
    assert mark(one) not in one.read_text()
    assert mark(one) == mark(one) != mark(other)
    assert mark(tmp_path / "none") == mark(tmp_path / "none")


def test_a_long_name_leaves_room_for_the_mark(monkeypatch):
    monkeypatch.setattr(hostname.socket, "gethostname", lambda: "a" * 58 + "-b.example")
    assert local_name() == f"{'a' * 58}-b.local"
    assert own_name() == f"{'a' * 58}-{mark()}.local"
    assert len(own_name().partition(".")[0]) == LONGEST
