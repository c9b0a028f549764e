from pathlib import Path

import pytest

from sensors.doctor.premises import RELEASED_S, Premises, premises_findings

GOOD = {
    "outbox": Path("/var/lib/sensors/home-house.outbox"),
    "user": "sensors",
    "outbox_owner": "sensors",
    "free_bytes": 1 << 30,
    "now_s": RELEASED_S + 86_400,
}


def look(**differs):
    return premises_findings(Premises(**{**GOOD, **differs}), outbox_bytes=16_777_216)


def test_premises_in_order_have_no_findings():
    assert look() == []


@pytest.mark.parametrize(
    ("differs", "about", "what", "cure"),
    [
        ({"read_only": True}, "outbox", "is read-only", "replace it"),
        ({"may_write": False, "user": "pi"}, "outbox", "pi may not write /var/lib", "as sensors"),
        (
            {"may_write": False, "has_directory": False},
            "outbox",
            "may not write",
            "install -d -o sensors /var/lib/sensors",
        ),
        ({"in_the_way": Path("/var/lib")}, "outbox", "/var/lib is in its way", "set data_dir"),
        ({"may_write": False, "is_hidden": True}, "outbox", "so nothing is probed", "as sensors"),
        ({"free_bytes": 50_000_000}, "disk", "50 MB are free", "outbox.max_bytes"),
        ({"now_s": 1000.0}, "clock", "before this program was written", "timedatectl"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(differs, about, what, cure):
    (found,) = look(**differs)
    assert (found.level, found.about) == ("wrong", about)
    assert what in found.what
    assert cure in found.cure


def test_a_clock_that_nobody_keeps_is_a_note():
    (found,) = look(is_synced=False)
    assert (found.level, found.about) == ("note", "clock")


def test_root_is_told_that_another_user_has_the_groups():
    (found,) = look(user="root", is_on_hardware=True)
    assert (found.level, found.about) == ("note", "groups")
    assert found.cure.startswith("`sudo -u sensors sensors doctor`")
    assert look(user="root", is_on_hardware=True, outbox_owner="root") == []
    assert look(user="root") == []


def test_an_agent_in_another_container_is_told():
    (found,) = look(is_hidden=True)
    assert (found.level, "cannot see it" in found.what) == ("note", True)


def test_a_running_agent_is_told():
    (found,) = look(agent=4711)
    assert (found.level, found.what) == ("note", "it runs, as process 4711: what it holds is told, not probed")
