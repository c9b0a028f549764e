"""The hub's clock: whatever the wall clock does, ticks and ages go on, and times come right when they can be known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.clock import SYNCED, UNSYNCED
from appliance.store.hubclock import BEFORE_EPOCH, REDATED, RUNS_AHEAD_MS, STEP_MS, Epoch, HubClock

AT = 1_790_000_000.0
HOUR, YEARS = 3_600.0, 10 * 365.25 * 86_400
Y2K = 946_684_800.0
BUILT = 1_700_000_000.0  # what a Pi without a clock chip wakes to: when its system was built


class World:
    """True time, what the machine's clocks show of it, and the hub's clock that sees only those."""

    def __init__(self, *, wall=AT, quality=SYNCED, true=AT):
        self.true, self.wall, self.now = true, wall, 50.0
        self.quality = quality
        self.boots = 1
        self.clock = None
        self.ticks = []
        self.told = []  # (tick, epoch id, true time)
        self.start([Epoch(BEFORE_EPOCH, "before", 0, 0, 0, 0, SYNCED, 0)])

    def start(self, known, last_tick=0):
        self.clock = HubClock(known, boot=f"boot {self.boots}", last_tick=last_tick, quality=lambda: self.quality)
        self.clock.begin(self.now, self.wall)

    def advance(self, seconds):
        self.true += seconds
        self.wall += seconds
        self.now += seconds

    def reading(self):
        self.clock.look(self.now, self.wall)
        tick = max(self.clock.tick(self.now), self.ticks[-1] + 1 if self.ticks else 0)
        self.clock.passed(tick)
        self.ticks.append(tick)
        self.told.append((tick, self.clock.epoch.id, self.true))

    def restart(self, *, off_s=0.0, boot=False, wall=None):
        """Killed: all that is known of the last moments are the rows."""
        self.advance(off_s)
        if boot:
            self.boots += 1
            self.now = 2.0
        if wall is not None:
            self.wall = wall
        known = [Epoch(*(getattr(epoch, name) for name in Epoch.__slots__)) for epoch in self.clock.epochs]
        self.start(known, self.ticks[-1] if self.ticks else 0)

    def set(self):
        self.wall = self.true
        self.quality = SYNCED

    def errors_s(self):
        """How far from the truth each reading of an epoch with a known time is."""
        epochs = {epoch.id: epoch for epoch in self.clock.epochs}
        return [
            abs(epochs[epoch_id].unix_ms(tick) / 1000 - true)
            for tick, epoch_id, true in self.told
            if epochs[epoch_id].is_dated
        ]


def test_with_a_trusted_clock_ticks_are_unix_time():
    world = World()
    assert world.clock.tick(world.now) == AT * 16_000
    world.advance(0.0005)
    assert world.clock.tick(world.now) == AT * 16_000 + 8
    assert world.clock.unix_ms(world.now) == AT * 1000
    assert world.clock.is_trusted
    assert (world.clock.epoch.offset_ms, world.clock.epoch.clock) == (0, SYNCED)


@pytest.mark.parametrize("wall", [0.0, BUILT, AT + YEARS])
def test_rows_of_an_unset_clock_are_dated_once_it_is_set(wall):
    world = World(wall=wall, quality=UNSYNCED)
    assert not world.clock.is_trusted
    for _ in range(10):
        world.reading()
        world.advance(60)
    assert world.errors_s() == []
    world.set()
    world.reading()
    assert len(world.errors_s()) == 11
    assert max(world.errors_s()) < 0.01
    assert [epoch.clock for epoch in world.clock.epochs[1:]] == [REDATED, SYNCED]
    assert world.clock.epoch.offset_ms == 0  # ticks are Unix time again
    assert world.ticks == sorted(set(world.ticks))


def test_an_unset_clock_goes_on_from_the_last_tick():
    world = World()
    world.reading()
    world.quality = UNSYNCED
    world.restart(off_s=7_200, boot=True, wall=BUILT)
    world.reading()
    assert 0 < world.ticks[1] - world.ticks[0] <= 32
    assert world.clock.unix_ms(world.now) == pytest.approx(AT * 1000, abs=2)
    world.advance(600)
    world.set()
    world.reading()
    assert max(world.errors_s()) < 0.01


@pytest.mark.parametrize(("wall", "offset"), [(0.0, 0), (BUILT, 0), (AT, 0), (AT + YEARS, AT + YEARS)])
def test_the_first_time_ever_the_wall_clock_is_shown_as_it_is(wall, offset):
    world = World(wall=wall, quality=UNSYNCED)
    assert world.clock.unix_ms(world.now) == pytest.approx(wall * 1000, abs=1)
    # One from far in the future must not lift the ticks there for good.
    assert world.clock.epoch.offset_ms == offset * 1000


@pytest.mark.parametrize(("off_s", "believed"), [(7_200, True), (-7_200, False), (YEARS, False)])
def test_an_unset_clock_is_followed_where_it_is_ahead_by_a_plausible_time(off_s, believed):
    world = World(quality=UNSYNCED)
    world.reading()
    world.restart(boot=True, wall=AT + off_s)
    world.reading()
    assert world.clock.unix_ms(world.now) == pytest.approx((AT + off_s * believed) * 1000, abs=2)
    assert world.clock.epoch.offset_ms == 0
    assert world.ticks[1] > world.ticks[0]


def test_a_clock_set_by_hand_is_followed_though_nobody_vouches_for_it():
    world = World(wall=BUILT, quality=UNSYNCED)
    world.reading()
    world.advance(60)
    world.wall = world.true
    world.reading()
    assert [epoch.clock for epoch in world.clock.epochs[1:]] == [UNSYNCED, UNSYNCED]
    assert world.clock.epochs[1].unix_ms(world.ticks[0]) == pytest.approx(AT * 1000, abs=2)


def test_a_clock_that_was_set_ahead_by_hand_is_followed_back_and_takes_its_readings_with_it():
    world = World(quality=UNSYNCED)
    world.wall += YEARS / 4
    world.reading()
    assert world.clock.unix_ms(world.now) == pytest.approx((AT + YEARS / 4) * 1000, abs=2)
    world.advance(60)
    world.wall = world.true
    world.reading()
    assert world.ticks == sorted(set(world.ticks))
    epochs = {epoch.id: epoch for epoch in world.clock.epochs}
    for tick, epoch_id, true in world.told:
        assert epochs[epoch_id].unix_ms(tick) == pytest.approx(true * 1000, abs=2)
    world.restart(boot=True)
    world.reading()
    assert world.clock.unix_ms(world.now) == pytest.approx(world.true * 1000, abs=2)


@pytest.mark.parametrize("boot", [False, True])
def test_a_clock_that_began_long_before_there_was_this_software_is_followed_all_the_same(boot):
    world = World(wall=Y2K, quality=UNSYNCED)
    world.reading()
    world.advance(60)
    if boot:
        world.restart(boot=True, wall=AT)
    else:
        world.wall = world.true
    world.reading()
    assert world.clock.unix_ms(world.now) == pytest.approx(world.wall * 1000, abs=2)
    assert world.ticks == sorted(set(world.ticks))


@pytest.mark.parametrize("wall", [BUILT, AT + YEARS])
def test_nobody_sets_a_clock_to_before_there_was_this_software_nor_far_into_the_future(wall):
    world = World(quality=UNSYNCED)
    world.advance(60)
    world.wall = wall
    assert not world.clock.look(world.now, world.wall)
    world.wall = world.true
    assert not world.clock.look(world.now, world.wall)


def test_an_epoch_goes_on_where_its_file_is_only_opened_again():
    world = World()
    began = world.now
    world.reading()
    arrived = world.now + 5, world.true + 5
    world.advance(20)
    known = [Epoch(*(getattr(epoch, name) for name in Epoch.__slots__)) for epoch in world.clock.epochs]
    for epochs in (known, known[:1]):  # the first group is on disk, and is not
        clock = HubClock(epochs, boot="boot 1", last_tick=0, quality=lambda: SYNCED)
        clock.begin(world.now, world.wall, began)
        assert not clock.look(world.now, world.wall)
        assert len(clock.epochs) == 2
        assert clock.unix_ms_of(clock.moment(arrived[0])) == pytest.approx(arrived[1] * 1000, abs=1)
        assert clock.is_trusted


def test_what_came_before_a_look_keeps_its_epoch_and_what_came_since_has_the_new_one():
    world = World()
    world.reading()
    world.advance(10)
    seen, when = world.now, world.wall
    assert not world.clock.look(world.now, world.wall)
    world.advance(10)
    world.wall += HOUR
    assert world.clock.look(world.now, world.wall)
    assert not world.clock.look(seen, when)  # a second try to write the same
    _, first, second = world.clock.epochs
    before, after = world.clock.moment(seen - 4), world.clock.moment(seen + 4)
    assert (before.epoch_id, world.clock.unix_ms_of(before)) == (first.id, (when - 4) * 1000)
    assert after == (second.first_tick, second.id)
    assert world.clock.moment(1.0) == (first.first_tick, first.id)


def test_a_time_read_off_the_unset_clock_of_this_machine_is_placed_where_it_was_read():
    world = World()
    world.reading()
    world.quality = UNSYNCED
    world.restart(off_s=HOUR, boot=True, wall=BUILT)  # woken in the past
    world.advance(30)
    read = int(world.wall * 1000)
    truth = world.true
    world.advance(30)
    world.restart(off_s=10)
    between = int(world.wall * 1000) - 5_000
    world.advance(60)
    world.clock.look(world.now, world.wall)
    for _ in range(2):  # while the clock is not set, and when it is
        first, second = world.clock.place_shown(read), world.clock.place_shown(between)
        assert first.epoch_id == second.epoch_id == 3
        assert second.tick - first.tick == pytest.approx((30 + 5) * 16_000, abs=16)
        assert world.clock.place_shown(read - 60_000_000) is None  # before this boot
        assert world.clock.place_shown(read + 60_000_000) is None
        world.set()
        world.reading()
    assert world.clock.unix_ms_of(first) == pytest.approx(truth * 1000, abs=2)


def test_a_clock_that_was_always_set_showed_nobody_a_wrong_time():
    assert World().clock.place_shown(int(AT * 1000)) is None


@pytest.mark.parametrize("step", [HOUR, -HOUR, YEARS, -YEARS, 0.6, -0.6])
def test_a_step_of_a_trusted_clock_opens_an_epoch(step):
    world = World()
    world.reading()
    world.advance(30)
    age_ms = world.clock.age_ms(world.now)
    world.wall += step
    world.reading()
    assert world.ticks[1] > world.ticks[0]
    assert len(world.clock.epochs) == 3
    assert world.clock.unix_ms(world.now) == pytest.approx(world.wall * 1000, abs=2)
    assert (world.clock.epoch.offset_ms < 0) == (step < 0)
    assert world.clock.age_ms(world.now) == pytest.approx(age_ms, abs=2)  # nothing expires by a step
    world.advance(10)
    assert not world.clock.look(world.now, world.wall)


@pytest.mark.parametrize("drift_ms", [STEP_MS - 1, 1 - STEP_MS])
def test_less_than_a_step_is_none(drift_ms):
    world = World()
    world.wall += drift_ms / 1000
    assert not world.clock.look(world.now, world.wall)


def test_steps_of_an_unset_clock_mean_nothing():
    world = World(wall=BUILT, quality=UNSYNCED)
    world.wall += YEARS
    assert not world.clock.look(world.now, world.wall)


def test_a_clock_once_set_stays_trusted_until_the_next_boot():
    world = World()
    world.reading()
    world.quality = UNSYNCED  # no time server for a day
    world.advance(86_400)
    assert not world.clock.look(world.now, world.wall)
    assert world.clock.is_trusted
    world.restart(off_s=5)
    assert world.clock.is_trusted
    world.restart(boot=True)
    assert not world.clock.is_trusted


def test_a_restart_of_the_service_in_one_boot_is_dated_with_it():
    world = World(wall=0.0, quality=UNSYNCED)
    world.reading()
    world.restart(off_s=20)
    world.reading()
    assert world.ticks[1] - world.ticks[0] == pytest.approx(20 * 16_000, abs=16)  # the machine ran on
    world.advance(60)
    world.set()
    world.restart()
    world.reading()
    assert len(world.errors_s()) == 3
    assert max(world.errors_s()) < 0.01


def test_two_boots_that_show_the_same_wall_time_keep_their_order():
    world = World(wall=BUILT, quality=UNSYNCED)
    for _ in range(3):
        world.reading()
        world.advance(60)
        world.reading()
        world.restart(boot=True, wall=BUILT)
    assert world.ticks == sorted(set(world.ticks))
    world.advance(60)
    world.set()
    world.reading()
    assert max(world.errors_s()) < 0.01
    # What earlier boots measured stays undated: nobody ever knew when that was.
    assert [epoch.clock for epoch in world.clock.epochs[1:]] == [UNSYNCED] * 3 + [REDATED, SYNCED]


def test_power_off_counts_where_it_is_known_how_long_it_was():
    world = World()
    world.advance(100)
    world.reading()
    world.restart(off_s=HOUR, boot=True)
    assert world.clock.age_ms(world.now) == pytest.approx((100 + HOUR) * 1000, abs=5)
    world.reading()
    world.quality = UNSYNCED
    world.restart(off_s=HOUR, boot=True, wall=BUILT)
    assert world.clock.age_ms(world.now) == pytest.approx((100 + HOUR) * 1000, abs=5)
    world.advance(10)
    world.set()
    world.reading()
    assert world.clock.age_ms(world.now) == pytest.approx((110 + HOUR) * 1000, abs=5)
    world.restart(off_s=30)  # the machine ran on, so it is known
    assert world.clock.age_ms(world.now) == pytest.approx((140 + HOUR) * 1000, abs=5)


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
def test_a_boot_with_a_trusted_clock_that_is_years_off_makes_nothing_older(jump):
    world = World()
    world.advance(100)
    world.reading()
    world.restart(off_s=60, boot=True, wall=AT + jump)
    assert world.clock.age_ms(world.now) <= 160_000
    world.advance(50)
    world.reading()
    world.restart(off_s=60, boot=True, wall=AT + 300)  # it is right again
    world.reading()
    assert 150_000 <= world.clock.age_ms(world.now) <= 270_000
    assert world.ticks == sorted(set(world.ticks))


def test_a_little_ahead_of_the_wall_clock_needs_no_offset():
    world = World()
    world.reading()
    world.clock.passed(world.ticks[-1] + (RUNS_AHEAD_MS - 100) * 16)
    world.ticks[-1] += (RUNS_AHEAD_MS - 100) * 16
    world.restart()
    assert world.clock.epoch.offset_ms == 0
    world.reading()
    assert world.ticks[1] > world.ticks[0]
    assert max(world.errors_s()) < 1


def test_a_moment_before_the_epoch_is_its_begin():
    world = World()
    assert world.clock.tick(world.now - 10) == world.clock.epoch.first_tick


def test_a_time_is_placed_in_the_epoch_that_lived_it():
    world = World(wall=BUILT, quality=UNSYNCED)
    world.advance(60)
    world.set()
    world.clock.look(world.now, world.wall)
    _, unset, set_ = world.clock.epochs
    in_unset = int(world.true * 1000) - 30_000
    tick, epoch_id = world.clock.place(in_unset)
    assert (epoch_id, unset.unix_ms(tick)) == (unset.id, in_unset)
    assert unset.first_tick < tick < unset.last_tick
    later = int(world.true * 1000) + 1
    assert world.clock.place(later) == (later * 16, set_.id)
    assert world.clock.place(int(AT * 1000) - 10_000) == (AT * 16_000 - 160_000, BEFORE_EPOCH)


def test_what_changed_waits_to_be_written():
    world = World()
    assert set(world.clock.changed) == {BEFORE_EPOCH, 2}
    world.clock.changed.clear()
    world.advance(5)
    world.reading()
    assert world.clock.changed == {}
    world.clock.close()
    assert world.clock.changed[2].last_tick == world.ticks[-1]
    world.clock.changed.clear()
    world.clock.close()
    assert world.clock.changed == {}


STEPS = st.one_of(
    st.tuples(st.just("advance"), st.floats(0, 100_000)),
    st.tuples(st.just("step"), st.sampled_from([HOUR, -HOUR, YEARS, -YEARS, 0.7, -0.7])),
    st.tuples(st.just("restart"), st.booleans(), st.floats(0, 10_000), st.sampled_from([None, 0.0, BUILT, AT + YEARS])),
    st.tuples(st.just("unset")),
    st.tuples(st.just("set")),
    st.tuples(st.just("reading")),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from([(AT, SYNCED), (0.0, UNSYNCED), (AT + YEARS, UNSYNCED)]))
def test_ticks_and_ages_never_go_back_and_epochs_never_overlap(steps, begin):
    world = World(wall=begin[0], quality=begin[1])
    ages = []
    for kind, *options in steps:
        if kind == "advance":
            world.advance(*options)
        elif kind == "step":
            world.wall = max(0.0, world.wall + options[0])
        elif kind == "restart":
            world.restart(boot=options[0], off_s=options[1], wall=options[2])
        elif kind == "unset":
            world.quality = UNSYNCED
        elif kind == "set":
            world.set()
        else:
            world.reading()
            ages.append(world.clock.age_ms(world.now))
    assert world.ticks == sorted(set(world.ticks))
    assert ages == sorted(ages)
    for before, after in zip(world.clock.epochs, world.clock.epochs[1:], strict=False):
        assert before.first_tick <= before.last_tick < after.first_tick or before.id == BEFORE_EPOCH
    for tick, epoch_id, _ in world.told:
        epoch = next(epoch for epoch in world.clock.epochs if epoch.id == epoch_id)
        assert epoch.first_tick <= tick
        assert epoch is world.clock.epoch or tick <= epoch.last_tick
