"""Readings get their places once, in an order that nothing changes, and moves bring them over."""

import tempfile
from pathlib import Path

import pytest
from groups import user_property
from hypothesis import given, settings
from hypothesis import strategies as st
from keeper import AT, TOPIC, Keeper, backlog, number, origin

from appliance.auth.acl import NO_RIGHTS, Granted
from appliance.broker.message import Message
from appliance.broker.rights import ALL_RIGHTS
from appliance.clock import SYNCED, UNSYNCED
from appliance.devices import Device, Measurement
from appliance.store.group import Group
from appliance.store.history import BUNDLE, Tally
from appliance.store.names import MAX_CACHED

USUAL = st.builds(
    lambda seq, late_s, quality, clock: origin(seq, at=AT - late_s, quality=quality, clock=clock),
    st.integers(1, 9),
    st.sampled_from((0.0, 0.25, 2.0, -30.0, 400.0, -90.0)),
    st.sampled_from(("ok", "stale")),
    st.sampled_from((SYNCED, UNSYNCED)),
)
SLY = st.sampled_from(
    (  # what looks like a sequence number or a time and is none, or is the second of its name
        b"",
        origin(1),
        origin(2**62 + 1, at=AT),
        origin(3, agent="", at=AT),
        user_property("seq", "5") + origin(6, at=AT),
        user_property("time", "2026-11-22T20:05:51.125Z") + origin(7, at=AT),
        user_property("note", user_property("seq", "7").decode()) + origin(8, at=AT),
        user_property("seq", "8") + user_property("note", user_property("time", "2026-11-22T20:05:51.125Z").decode()),
        user_property("seq", "9") + user_property("time", "9999-12-31T23:59:59.999Z"),
        user_property("seq", "9") + user_property("time", "2026-11-22T20:05:61.125Z"),
        origin(4, at=AT)[:-1],
        b"\x03\0\x01x" + origin(4, at=AT, clock="synced"),
    )
)
MESSAGES = st.builds(
    Message,
    st.sampled_from((TOPIC, "home/hall/door", "home/devices/house/backlog")),
    st.sampled_from(
        (b"21.4", b"21.400", b" 7 ", b"ON", b"-0", b"1e400", b"open", b"", b"\xff", b'{"a": 1}', b"9" * 70)
    ),
    properties=st.one_of(USUAL, SLY),
)


@given(st.lists(MESSAGES, max_size=12), st.sampled_from((SYNCED, UNSYNCED)))
@settings(max_examples=25, deadline=None)
def test_the_short_way_of_the_usual_reading_leads_to_the_same_place(messages, quality):
    ends = []
    with tempfile.TemporaryDirectory() as directory:
        # A bundle goes the long way.
        for name, flags in (("short", 0), ("long", BUNDLE)):
            keeper = Keeper(Path(directory) / name, quality=quality)
            group = Group(1, now=keeper.now, at=keeper.at)
            with keeper.database.transaction():
                entries = [(message, flags, keeper.now + n // 3, ALL_RIGHTS) for n, message in enumerate(messages)]
                placed = [keeper.history.place(entry, group) for entry in entries]
            asked = ("SELECT * FROM stretches", "SELECT * FROM runs", "SELECT topic, kind FROM series")
            tables = [keeper.ask(query).fetchall() for query in asked]
            ends.append((placed, tables, keeper.history.tally, keeper.clock.last_tick))
            keeper.stop()
    assert ends[0] == ends[1]


BUILT = 1_700_000_000.0
YEARS = 10 * 365 * 86_400.0


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def times(keeper):
    return [row.at for row in keeper.reader.rows(TOPIC, 0, 1e11)]


def test_a_live_reading_has_the_time_it_was_measured_at(keeper):
    (row,) = keeper.write(number(21.4, properties=origin(7, at=AT - 2.5, clock="synced")))
    assert (row.tick, row.late_ms, row.value, row.seq) == ((AT - 2.5) * 16_000, 2_500, 21400, 7)
    (told,) = keeper.reader.rows(TOPIC, 0, 1e11)
    assert (told.at, told.received) == (AT - 2.5, AT)


DOUBTED = [
    ({"at": AT - 2, "clock": "unsynced"}, SYNCED),  # the agent's clock is not set
    ({"at": AT - 301, "clock": "synced"}, SYNCED),
    ({"at": AT + 61, "clock": "synced"}, SYNCED),
    ({"at": AT - 2, "clock": "synced"}, UNSYNCED),  # the hub's is not
    ({}, SYNCED),
]


@pytest.mark.parametrize(("said", "quality"), DOUBTED)
def test_else_the_time_it_arrived_at(keeper, said, quality):
    keeper.restart(boot="boot 2", quality=quality)
    (row,) = keeper.write(number(21.4, properties=origin(7, **said)))
    assert row.late_ms == 0
    assert times(keeper) == pytest.approx([AT], abs=0.002)


def test_a_backlog_has_the_times_it_was_measured_at(keeper):
    keeper.advance(86_400)
    rows = keeper.write(number(3), backlog((AT + 60, 1, 1), (AT + 120, 2, 2)))
    assert [row.late_ms for row in rows] == [0, 86_340_000, 86_280_000]
    assert times(keeper) == [AT + 60, AT + 120, AT + 86_400]
    keeper.write(backlog((AT + YEARS, 3, 9)))  # from the future: not believed
    assert times(keeper)[-1] == AT + 86_400


def test_a_backlog_of_this_machines_unset_clock_is_dated_with_it(keeper):
    keeper.restart(boot="boot 2", at=BUILT, quality=UNSYNCED)
    keeper.advance(100)
    keeper.write(backlog((BUILT + 40, 1, 1, {"clock": "unsynced"})), number(2))
    assert keeper.in_order() == [1, 2]
    keeper.at, keeper.quality = AT + 10_000, SYNCED
    keeper.look()
    keeper.write(backlog((BUILT + 70, 2, 1.5, {"clock": "unsynced"})))
    assert keeper.in_order() == [1, 1.5, 2]
    assert times(keeper) == pytest.approx([AT + 9_940, AT + 9_970, AT + 10_000], abs=0.01)


def test_readings_of_one_moment_all_stay_and_keep_their_order(keeper):
    keeper.write(*(number(n) for n in range(40)))
    keeper.move()
    keeper.write(*(number(n) for n in range(40, 45)))
    assert keeper.in_order() == list(range(45))
    same = [number(n, properties=origin(n, at=AT - 1, clock="synced")) for n in range(100, 103)]
    keeper.write(*same[:1])
    keeper.move()
    keeper.write(*same[1:])
    assert keeper.in_order() == [100, 101, 102, *range(45)]


def test_a_clock_that_stands_still_costs_no_search(keeper):
    keeper.write(*(number(n, properties=origin(n, at=AT - 1, clock="synced")) for n in range(500)))
    keeper.write(number(-1))
    keeper.move()
    asked = []
    keeper.database.connection.set_trace_callback(asked.append)
    keeper.write(*(number(n, properties=origin(n, at=AT - 1, clock="synced")) for n in range(500, 1000)))
    keeper.database.connection.set_trace_callback(None)
    assert len([statement for statement in asked if "SELECT 1 FROM readings" in statement]) <= 1000
    assert keeper.in_order() == [*range(1000), -1]


def test_the_same_origin_twice_is_the_same_reading_twice(keeper):
    live = [number(seq, properties=origin(seq)) for seq in (1, 2, 5, 6)]
    assert len(keeper.write(*live)) == 4
    late = backlog(*((AT - 60 + seq, seq, seq) for seq in range(8)))
    keeper.restart()
    assert len(keeper.write(late)) == 4
    assert keeper.history.tally == Tally(rows=4, duplicates=4)
    keeper.move()
    keeper.restart()
    assert keeper.write(*live, late) == []
    assert keeper.ask("SELECT first_seq, last_seq FROM received").fetchall() == [(0, 7)]


def test_what_is_received_is_written_only_by_moves(keeper):
    keeper.write(number(1, properties=origin(1)))
    before = keeper.ask("SELECT count(*) FROM received").fetchone()
    keeper.move()
    assert (before, keeper.ask("SELECT count(*) FROM received").fetchone()) == ((0,), (1,))


def test_another_run_or_agent_is_another_reading(keeper):
    said = [origin(1, "house", "r1"), origin(1, "house", "r2"), origin(1, "shed", "r1")]
    assert len(keeper.write(*(number(1, properties=properties) for properties in said))) == 3


def test_all_values_of_one_message_share_its_origin(keeper):
    many = Message("node", b'{"a": 1, "b": 2, "c": 3}', properties=origin(1))
    assert len(keeper.write(many, many)) == 3
    assert keeper.history.tally == Tally(rows=3, duplicates=3)


def test_more_runs_and_stretches_than_are_kept_in_memory(keeper):
    messages = [number(1, properties=origin(1, run=str(n))) for n in range(MAX_CACHED + 2)]
    assert len(keeper.write(*messages, *messages)) == len(messages)
    assert keeper.ask("SELECT count(*) FROM stretches").fetchone() == (len(messages),)


def test_what_is_the_same_for_a_run_of_rows_is_stored_once(keeper):
    keeper.write(*(number(n, properties=origin(n, quality="ok", clock="synced")) for n in range(9)))
    keeper.write(number(9, properties=origin(9, quality="suspect", clock="synced")))
    keeper.write(number(1))
    keeper.restart()
    keeper.write(number(10, properties=origin(10, quality="ok", clock="synced")))
    asked = keeper.ask("SELECT epoch_id, run_id, clock, quality FROM stretches ORDER BY id")
    assert asked.fetchall() == [
        (2, 1, "synced", "ok"),
        (2, 1, "synced", "suspect"),
        (2, None, None, None),
        (3, 1, "synced", "ok"),
    ]


def test_who_speaks_for_several_topics_speaks_for_its_own(keeper):
    class Rights:
        def may_publish(self, topic):
            return topic == TOPIC

    entries = (AT - 5, 1, 1), (AT - 4, 2, 2, {"topic": "home/attic/temperature"})
    group = Group(1, now=keeper.now, at=keeper.at)
    placed = keeper.history.place((backlog(*entries), BUNDLE, keeper.now, Rights()), group)
    assert [row.value for row in placed] == [1000]
    assert keeper.history.tally == Tally(rows=1, forbidden=1)
    # It came, and will not come again: at once in the table, since no row says so.
    assert keeper.ask("SELECT first_seq, last_seq FROM received").fetchall() == [(1, 2)]
    assert keeper.history.place((backlog(*entries), BUNDLE, keeper.now, Rights()), group) == []
    assert keeper.history.tally == Tally(rows=1, forbidden=1, duplicates=2)


@pytest.mark.parametrize(
    ("agent", "granted", "is_known"),
    [
        ("attic", [], "attic"),
        ("house", [], None),  # of another one, whose numbers it would use up
        ("house", ["home/devices/house/#"], "house"),  # it may speak for both
        ("attic/x", [], None),
    ],
)
@pytest.mark.parametrize("payload", [b"7", b'{"a": 7}'])
def test_a_device_sends_readings_of_no_other_agent(keeper, agent, granted, is_known, payload):
    topic = "home/attic/humidity"
    attic = Granted([topic, "home/devices/attic/#", *granted], [], agent="attic")
    house = Granted([TOPIC, "home/devices/house/#"], [], agent="house")
    group = Group(1, now=keeper.now, at=keeper.at)
    with keeper.database.transaction():
        for sequence in (4, 5):  # the second time the series is known
            said = Message(topic, payload, properties=origin(sequence, agent=agent, at=AT))
            (placed,) = keeper.history.place((said, 0, keeper.now, attic), group)
            runs = keeper.ask(
                "SELECT agent FROM stretches LEFT JOIN runs ON run_id = runs.id WHERE stretches.id = ?", (placed[-1],)
            )
            assert (runs.fetchone(), placed.seq) == ((is_known,), sequence if is_known else None)
        own = number(21, TOPIC, origin(5, agent="house", at=AT))
        assert len(keeper.history.place((own, 0, keeper.now, house), group)) == (0 if is_known == "house" else 1)
    assert keeper.history.tally.disowned == (0 if is_known else 2)


def test_of_accounts_that_are_no_devices_any_agent_may_be_named(keeper):
    group = Group(1, now=keeper.now, at=keeper.at)
    with keeper.database.transaction():
        for sequence, rights in enumerate((ALL_RIGHTS, Granted([TOPIC], []), None)):
            (placed,) = keeper.history.place((number(7, TOPIC, origin(sequence)), 0, keeper.now, rights), group)
            assert placed.seq == sequence
        (placed,) = keeper.history.place((number(7, TOPIC, origin(9)), 0, keeper.now, NO_RIGHTS), group)  # a last will
        assert placed.seq is None


def test_series_are_capped_and_the_cap_holds_after_a_restart(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", max_series=3)
    four = [number(n, f"home/room{n}/temperature") for n in range(4)]
    for _ in range(2):
        assert len(keeper.write(*four)) == 3
        assert keeper.history.tally == Tally(rows=3, refused=1)
        keeper.restart()
    assert len(keeper.reader.topics()) == 3
    keeper.stop()


KINDS = [
    (["1"], "number"),
    (["ON", "OFF"], "binary"),
    (["ON", "0.5", "OFF"], "number"),
    (["press", "ON"], "binary"),
    (["1", "press"], "number"),
]


@pytest.mark.parametrize(("payloads", "expected"), KINDS)
def test_a_series_is_as_wide_as_its_readings(keeper, payloads, expected):
    keeper.write(*(number(payload) for payload in payloads))
    (series,) = keeper.reader.topics()
    assert series.kind == expected


DEVICE = Device(
    agent="house",
    site="home",
    sensors=(
        Measurement(topic=TOPIC, kind="temperature", unit="°C", name="Küche"),
        Measurement(topic="home/hall/door", kind="door", role="binary_sensor"),
        Measurement(topic="home/hall/doorbell", kind="doorbell", role="event"),
        Measurement(topic="home/\nnot printable", kind="temperature"),
        Measurement(topic="x" * 600, kind="temperature"),
    ),
)


def test_names_and_units_are_learnt_before_and_after_readings(keeper):
    keeper.write(number(21.4))
    assert keeper.learn(DEVICE) == Tally()
    found = {series.topic: series for series in keeper.reader.topics()}
    assert sorted(found) == ["home/hall/door", "home/hall/doorbell", TOPIC]
    kitchen = found[TOPIC]
    assert (kitchen.unit, kitchen.name, kitchen.quantity, kitchen.agent) == ("°C", "Küche", "temperature", "house")
    assert (kitchen.kind, kitchen.last_at) == ("number", AT)
    assert [found[f"home/hall/{thing}"].kind for thing in ("door", "doorbell")] == ["binary", "text"]
    assert found["home/hall/door"].last_at is None


def test_learning_the_same_again_writes_nothing(keeper):
    keeper.learn(DEVICE)
    before = keeper.database.connection.total_changes
    keeper.learn(DEVICE)
    assert keeper.database.connection.total_changes == before


def test_learning_is_capped_too(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", max_series=1)
    assert keeper.learn(DEVICE) == Tally(refused=2)
    keeper.stop()


EARLY = 1_000_000.0  # in January 1970, and no reading of these tests before 1970
STEPS = st.one_of(
    st.tuples(st.just("advance"), st.floats(0, 5_000)),
    st.tuples(st.just("step"), st.sampled_from([3_600.0, -3_600.0, YEARS, -YEARS, 0.7, -0.7])),
    st.tuples(st.just("restart"), st.booleans(), st.sampled_from([None, EARLY, BUILT, AT + YEARS])),
    st.tuples(st.just("set"), st.booleans()),
    st.tuples(st.just("reading"), st.integers(1, 3)),
    st.tuples(st.just("move"), st.booleans()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_the_clock_does_order_stays_and_nothing_is_lost(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("clock") / "appliance.db"
    keeper = Keeper(path, at=BUILT, quality=UNSYNCED)
    keeper.ask("PRAGMA synchronous = OFF")
    written = boots = 0
    for kind, *options in steps:
        if kind == "advance":
            keeper.advance(*options)
        elif kind == "step":
            keeper.at = max(EARLY, keeper.at + options[0])
        elif kind == "set":
            keeper.quality = SYNCED if options[0] else UNSYNCED
            keeper.at = AT if options[0] else keeper.at
        elif kind == "restart":
            boots += 1
            keeper.restart(boot=f"boot {boots + 1}" if options[0] else None, at=options[1])
        elif kind == "reading":
            keeper.write(*(number(written + n) for n in range(options[0])))
            written += options[0]
        else:
            cut_id = keeper.cut()
            keeper.step(cut_id)
            if options[0] and not keeper.step(cut_id):
                keeper.delete()
        assert keeper.in_order() == list(range(written))
    assert sorted(keeper.values()) == list(range(written))
    assert keeper.values() == list(range(written))
    keeper.stop()


@pytest.mark.parametrize("wall", [0.0, BUILT, AT + YEARS])
def test_a_clock_set_after_ten_minutes_of_rows_dates_them_within_a_second(keeper, wall):
    keeper.write(number(-1))
    keeper.restart(boot="boot 2", at=wall, quality=UNSYNCED)
    truth = AT + 7_200
    for value in range(10):
        keeper.write(number(value))
        keeper.advance(60)
    keeper.at, keeper.quality = truth + 600, SYNCED
    keeper.write(number(10))
    assert keeper.in_order() == keeper.values() == [-1, *range(11)]
    assert times(keeper) == pytest.approx([AT, *(truth + 60 * n for n in range(11))], abs=1)


def test_a_bad_row_of_a_message_leaves_its_neighbours(keeper):
    keeper.write(Message(TOPIC, b"\xff"), Message(TOPIC, b"nan"), number(1))
    assert keeper.in_order() == [1]
