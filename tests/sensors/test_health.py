import json

import pytest

from sensors.driver import BadFrame, Disconnected, DriverUnavailable
from sensors.health import (
    MOST_REFUSALS,
    Health,
    Refusal,
    Refusals,
    SensorHealth,
    Standing,
    encode_health,
    encode_sensors,
    in_a_line,
)
from sensors.plausibility import Jump, OutOfRange

GOOD, BAD, GONE = None, BadFrame("checksum of 01"), DriverUnavailable("no library; install it")

STORIES = [  # what happened -> availability after each, where it changed
    ([GOOD], [True]),
    ([GOOD, GOOD], [True, None]),
    ([GOOD, BAD, BAD, BAD], [True, None, None, False]),
    ([GOOD, BAD, BAD, GOOD, BAD, BAD], [True, None, None, None, None, None]),
    ([BAD, BAD, BAD, BAD], [None, None, False, None]),
    ([GONE], [False]),
    ([GONE, GONE, GOOD], [False, None, True]),
    ([GOOD, BAD, BAD, BAD, GOOD], [True, None, None, False, True]),
]


@pytest.mark.parametrize(("story", "turns"), STORIES)
def test_a_sensor_goes_offline_after_three_failures_and_comes_back_by_itself(story, turns):
    standing = Standing(offline_after=3)
    for event, turn in zip(story, turns, strict=True):
        changed = standing.succeeded() if event is None else standing.failure(event)
        assert changed is (turn is not None)
        if changed:
            assert standing.online is turn


def test_a_final_failure_does_not_wait():
    standing = Standing(offline_after=3)
    assert standing.failure(Disconnected("no answer"), final=True)
    assert standing.online is False


def test_counters_by_cause_and_the_last_words():
    standing = Standing(offline_after=3)
    for error in (BAD, BAD, Disconnected("no answer on pin 4")):
        standing.failure(error)
    assert standing.failed == {"bad_frame": 2, "disconnected": 1}
    assert standing.trouble == "no answer on pin 4"
    standing.succeeded()
    assert standing.trouble == ""
    assert standing.ok == 1


def test_a_refused_value_is_counted_by_its_cause_while_the_sensor_goes_on():
    standing = Standing(offline_after=1)
    for doubt in (OutOfRange("humidity", "101 %"), Jump("humidity", "at once"), Jump("humidity", "again")):
        standing.succeeded()
        standing.refused(doubt)
    assert encode_sensors({"bath": standing})["bath"] == SensorHealth(
        online=True, ok=3, failed={"range": 1, "jump": 2}, trouble="humidity: again", cause="jump"
    )


def test_health_is_json():
    standing = Standing(offline_after=1)
    standing.failure(BAD)
    standing.retried = {"cut_short": 4}
    health = Health(
        uptime_s=7,
        computer="attic, 192.0.2.7",
        clock="synced",
        connects=1,
        waiting=2,
        waiting_bytes=300,
        dropped=3,
        run="r1",
        dropped_ranges=[(4, 6)],
        dropped_times=[("2026-11-25T20:00:00.000Z", "2026-11-25T20:00:09.000Z", "synced")],
        unused_ranges=[(7, 8)],
        set_aside=1,
        set_aside_why="not authorized",
        set_aside_ranges=[(9, 9)],
        set_aside_times=[("", "", "")],
        outbox_problem="",
        sensors=encode_sensors({"kitchen": standing, "hall": Standing(3)}),
    )
    assert json.loads(encode_health(health)) == {
        "uptime_s": 7,
        "computer": "attic, 192.0.2.7",
        "clock": "synced",
        "connects": 1,
        "waiting": 2,
        "waiting_bytes": 300,
        "dropped": 3,
        "run": "r1",
        "dropped_ranges": [[4, 6]],
        "dropped_times": [["2026-11-25T20:00:00.000Z", "2026-11-25T20:00:09.000Z", "synced"]],
        "unused_ranges": [[7, 8]],
        "set_aside": 1,
        "set_aside_why": "not authorized",
        "set_aside_ranges": [[9, 9]],
        "set_aside_times": [["", "", ""]],
        "outbox_problem": "",
        "keepsakes_problem": "",
        "commands_refused": 0,
        "refused": [],
        "unheard": {},
        "sensors": {
            "kitchen": {
                "online": False,
                "ok": 0,
                "failed": {"bad_frame": 1},
                "retried": {"cut_short": 4},
                "trouble": "checksum of 01",
                "cause": "bad_frame",
            },
            "hall": {"online": None, "ok": 0},
        },
    }


def test_refused_commands_are_counted_and_the_last_of_them_kept():
    refusals = Refusals()
    for number in range(MOST_REFUSALS + 5):
        refusals.add("home/hall/lamp/set", b"%d" % number, "is no command", "2026-11-25T20:00:00.000Z")
    assert refusals.count == MOST_REFUSALS + 5
    assert [refusal.payload for refusal in refusals.last] == [str(n) for n in range(5, MOST_REFUSALS + 5)]
    assert refusals.last[0] == Refusal(
        topic="home/hall/lamp/set", payload="5", why="is no command", time="2026-11-25T20:00:00.000Z"
    )


@pytest.mark.parametrize(
    ("payload", "kept"),
    [(b"x" * 32, "x" * 32), (b"x" * 33, "x" * 32 + "…"), (b"\xff\xfe", "\ufffd\ufffd"), (b"", "")],
)
def test_a_refused_payload_is_kept_short(payload, kept):
    refusals = Refusals()
    refusals.add("home/hall/lamp/set", payload, "is no command", "")
    assert refusals.last[0].payload == kept


def test_in_a_line_for_people():
    online, failing, silent = Standing(3), Standing(1), Standing(3)
    online.succeeded()
    failing.failure(BAD)
    health = Health(
        uptime_s=1,
        clock="synced",
        connects=1,
        waiting=7,
        waiting_bytes=700,
        dropped=0,
        outbox_problem="",
        sensors=encode_sensors({"a": online, "b": failing, "c": silent}),
    )
    assert in_a_line(health, "no broker") == "no broker; 1 of 3 sensors online, 7 readings wait"
