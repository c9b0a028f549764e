"""What the watch notices, over a real broker."""

import asyncio
import json

import pytest
from sockets import loopback, until

from appliance.features import gaps as module
from appliance.features.gaps import QUIET_S, GapWatch, Loss
from appliance.net.local import LocalClient
from appliance.store.gaps import AGENT, AGENT_OFFLINE, DROPPED, NEVER_GIVEN, UNKEPT, GapNote, Measured

AT = 1_795_377_600.0  # 2026-11-22T20:00:00Z


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def watched(scenario, losses=None):
    """Run a scenario(local, notes, clock, watch) on a broker."""

    async def run():
        async with loopback() as server:
            local, notes, clock = LocalClient(server.hub, "test"), [], Clock()
            watch = GapWatch(
                site="home", note=notes.append, losses=losses or {}, clock=clock, wall_clock=lambda: AT + 3_600
            )
            local.publish("home/devices/early/availability", b"offline", retain=True)
            watch.start(local)
            try:
                await scenario(local, notes, clock, watch)
            finally:
                watch.close()
                watch.close()

    asyncio.run(run())


def test_agents_go_and_come():
    async def scenario(local, notes, clock, watch):
        assert notes == [GapNote(AGENT, "early", AGENT_OFFLINE, 100.0, None)]  # it was away before we came
        notes.clear()
        local.publish("home/devices/attic/availability", b"online", retain=True)
        clock.now = 160.0
        local.publish("home/devices/attic/availability", b"offline", retain=True)
        clock.now = 200.0
        local.publish("home/devices/attic/availability", b"", retain=True)  # forgotten
        local.publish("home/devices/attic/availability", b"perhaps")
        local.publish("home/devices/attic/dht/availability", b"offline", retain=True)  # of one sensor
        assert notes == [
            GapNote(AGENT, "attic", AGENT_OFFLINE, None, 100.0),
            GapNote(AGENT, "attic", AGENT_OFFLINE, 160.0, None),
            GapNote(AGENT, "attic", AGENT_OFFLINE, None, 200.0),
        ]
        watch.close()
        local.publish("home/devices/attic/availability", b"offline", retain=True)
        assert len(notes) == 3

    watched(scenario)


def test_what_an_agent_says_it_dropped():
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        health = "home/devices/attic/health"
        notes.clear()
        local.publish(health, b'{"dropped": 7, "waiting": 3}', retain=True)  # may be of last year
        clock.now = 130.0
        local.publish(health, b'{"dropped": 7}', retain=True)
        clock.now = 160.0
        local.publish(health, b'{"dropped": 8}', retain=True)
        detail = "its outbox was full: 1 reading dropped"
        assert notes == [GapNote(AGENT, "attic", DROPPED, 130.0, 160.0, detail)]
        notes.clear()
        for nonsense in (b"", b"[1]", b"\xff", b'{"dropped": "many"}', b'{"dropped": 2}', b'{"dropped": 1}'):
            local.publish(health, nonsense, retain=True)
        assert notes == []

    watched(scenario)


def named(notes):
    return [(note.run, note.first_seq, note.last_seq) for note in notes]


def test_which_readings_an_agent_says_it_dropped():
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        health = "home/devices/attic/health"
        notes.clear()
        local.publish(health, b'{"dropped": 5, "run": "r1", "dropped_ranges": [[5, 9]]}', retain=True)
        assert named(notes) == [("r1", 5, 9)]  # even at first: nobody may have been there to hear it
        notes.clear()
        local.publish(health, b'{"dropped": 12, "run": "r1", "dropped_ranges": [[5, 11], [20, 24]]}', retain=True)
        assert named(notes) == [("r1", 10, 11), ("r1", 20, 24)]
        notes.clear()
        local.publish(health, b'{"dropped": 13, "run": "r2", "dropped_ranges": [[5, 5]]}', retain=True)
        assert named(notes) == [("r2", 5, 5)]
        notes.clear()
        local.publish(health, b'{"dropped": 99, "run": "r2", "dropped_ranges": [[9, 5], [-1, 3]]}', retain=True)
        assert [note.detail for note in notes] == ["its outbox was full: 86 readings dropped"]
        assert named(notes) == [(None, None, None)]

    watched(scenario)


@pytest.mark.parametrize(
    ("times", "measured"),
    [
        ([["2026-11-22T20:00:00Z", "2026-11-22T20:00:53Z", "unsynced"]], Measured(AT, AT + 53, "unsynced")),
        ([["2026-11-22T20:00:53Z", "2026-11-22T20:00:00Z", ""]], None),
        ([["2026-11-22T20:00:00Z", "2030-11-22T20:00:00Z", ""]], None),  # it is not so late yet
        ([["2026-11-22T20:00:00Z", "", ""]], None),
        ([["yesterday", "2026-11-22T20:00:00Z", ""]], None),
        ([["2026-11-22T20:00:00Z", "2026-11-22T20:00:53Z", ""]] * 2, None),
        ([], None),
    ],
)
def test_what_was_dropped_was_measured_before(times, measured):
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        notes.clear()
        told = {"dropped": 5, "run": "r1", "dropped_ranges": [[5, 9]], "dropped_times": times}
        local.publish("home/devices/attic/health", json.dumps(told).encode(), retain=True)
        (note,) = notes
        assert (note.opened, note.closed, note.measured) == (100.0, 100.0, measured)

    watched(scenario)


def test_the_rest_of_a_range_that_grew_begins_where_it_ended():
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        for last, end in ((9, "20:01:00"), (11, "20:02:00")):
            notes.clear()
            times = ["2026-11-22T20:00:00Z", f"2026-11-22T{end}Z", "synced"]
            told = {"dropped": last, "run": "r1", "dropped_ranges": [[5, last]], "dropped_times": [times]}
            local.publish("home/devices/attic/health", json.dumps(told).encode(), retain=True)
        assert [(note.first_seq, note.measured) for note in notes] == [(10, Measured(AT + 60, AT + 120, "synced"))]

    watched(scenario)


def test_numbers_that_an_agent_gave_to_nothing():
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        health = "home/devices/attic/health"
        notes.clear()
        local.publish(health, b'{"run": "r1", "unused_ranges": [[22, 1000]]}', retain=True)
        local.publish(health, b'{"run": "r1", "unused_ranges": [[22, 1000], [1005, 2000], [9, 3]]}', retain=True)
        assert {(note.cause, note.opened, note.closed) for note in notes} == {(NEVER_GIVEN, 100.0, 100.0)}
        assert named(notes) == [("r1", 22, 1000), ("r1", 1005, 2000)]
        notes.clear()
        local.publish(health, b'{"unused_ranges": [[22, 1000]]}', retain=True)  # of which run?
        assert notes == []

    watched(scenario)


def test_what_this_broker_refuses_for_good_has_its_own_reason():
    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        health = "home/devices/attic/health"
        notes.clear()
        told = b'{"run": "r1", "set_aside": 2, "set_aside_why": "not authorized", "set_aside_ranges": [[5, 6]]}'
        local.publish(health, told, retain=True)
        local.publish(health, told, retain=True)
        assert [(note.cause, note.first_seq, note.last_seq, note.detail) for note in notes] == [
            (DROPPED, 5, 6, "the broker did not take it (not authorized)")
        ]
        notes.clear()
        local.publish(health, b'{"run": "r1", "set_aside": 3, "dropped": 1, "dropped_ranges": [[7, 7]]}', retain=True)
        assert [(note.first_seq, note.detail) for note in notes] == [
            (7, "its outbox was full"),
            (None, "the broker did not take it (refused): 1 reading dropped"),
        ]

    watched(scenario)


def test_strangers_with_many_names_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr(module, "MAX_AGENTS", 3)

    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        notes.clear()
        for dropped in (b'{"dropped": 1}', b'{"dropped": 2}'):
            for number in range(9):
                local.publish(f"home/devices/a{number}/health", dropped)
        assert {note.name for note in notes} == {"a0", "a1", "a2"}

    watched(scenario)


def test_what_is_dropped_here_is_looked_at_again_and_again(monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    totals = {"full": 5}

    async def scenario(local, notes, clock, watch):  # noqa: ARG001
        notes.clear()
        clock.now = 110.0
        await asyncio.sleep(0.05)
        assert notes == []
        totals["full"] = 6
        clock.now = 120.0
        await until(lambda: notes)
        clock.now = 120.0 + QUIET_S
        await until(lambda: len(notes) == 2)
        assert notes == [
            GapNote(UNKEPT, "", DROPPED, 110.0, None, "full"),
            GapNote(UNKEPT, "", DROPPED, None, 120.0, "full"),
        ]

    watched(scenario, {(UNKEPT, "full"): lambda: totals["full"]})


LOOKS = [
    ("nothing lost", [(10, 0), (20, 0)], [(None, None), (None, None)]),
    (
        "once",
        [(10, 1), (20, 1), (69, 1), (70, 1), (80, 1)],
        [(0, None), (None,) * 2, (None,) * 2, (None, 10), (None,) * 2],
    ),
    ("on and on", [(10, 1), (20, 2), (79, 2), (80, 2)], [(0, None), (None, None), (None, None), (None, 20)]),
    ("again", [(10, 1), (70, 1), (75, 2)], [(0, None), (None, 10), (70, None)]),
]


@pytest.mark.parametrize(("looks", "expected"), [case[1:] for case in LOOKS], ids=[case[0] for case in LOOKS])
def test_a_loss(looks, expected):
    loss = Loss(0, 0.0)
    assert [loss.look(total, float(now)) for now, total in looks] == expected
