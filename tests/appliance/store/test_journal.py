"""The journal on the loop: what is taken into which group, and when a group closes."""

import pytest

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import Left, Opened, Replayed, Subscribed, Unsubscribed, WillKept
from appliance.broker.rights import ALL_RIGHTS
from appliance.devices import Device, Measurement
from appliance.store.gaps import GapNote
from appliance.store.journal import FULL_BYTES, LAG_BYTES, MESSAGE_BYTES, MOST_GAPS, RECORD_BYTES, GroupJournal
from appliance.store.wear import WINDOW_S

RECORD = int(RouteFlag.RECORD)
TOPIC = "home/kitchen/temperature"
AT = 1_790_000_000.0


class Timer:
    def __init__(self, due, callback):
        self.due, self.callback = due, callback
        self.live = True

    def cancel(self):
        self.live = False


class House:
    """A loop whose time is moved by hand, a gate, and a writer that writes when it is told to."""

    def __init__(self, **options):
        self.now = 100.0
        self.soon = []
        self.timers = []
        self.groups = []
        self.waiting = set()  # links
        self.window_s = WINDOW_S
        self.asked = []
        self.journal = GroupJournal(
            self,
            self.groups.append,
            run=7,
            next_number=40,
            next_key=9,
            links_waiting=lambda: len(self.waiting),
            window_s=lambda _now: self.window_s,
            rights_of=lambda client_id: self.asked.append(client_id) or ALL_RIGHTS,
            clock=lambda: self.now,
            wall_clock=lambda: AT + self.now,
            **options,
        )

    def call_soon(self, callback):
        self.soon.append(callback)

    def call_later(self, delay_s, callback):
        self.timers.append(Timer(self.now + delay_s, callback))
        return self.timers[-1]

    def turn(self):
        """End the turn: what was to be called soon is called."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def sleep(self, seconds):
        self.turn()
        until = self.now + seconds
        while due := sorted((t for t in self.timers if t.live and t.due <= until), key=lambda t: t.due):
            due[0].live = False
            self.now = max(self.now, due[0].due)
            due[0].callback()
            self.turn()
        self.now = until

    def armed(self):
        return [timer for timer in self.timers if timer.live]

    def publish(self, *links, payload=b"21.4", qos=1):
        for link in links:
            self.journal.append(Message(TOPIC, payload, qos), RECORD, self.now)
            if qos:
                self.waiting.add(link)

    def commit(self):
        """Write the oldest group that was handed over and is not written."""
        number = self.groups[self.written].number
        self.written += 1
        released, self.waiting = self.waiting, set()
        self.journal.committed(number, len(released))

    written = 0

    def sizes(self):
        return [len(group.entries) for group in self.groups]


@pytest.fixture
def house():
    return House()


def test_a_group_closes_when_its_window_is_over(house):
    house.journal.committed(0, 3)  # three links are expected
    house.publish("a")
    house.sleep(0.004)
    house.publish("b")
    assert house.groups == []
    house.sleep(0.0011)
    assert house.sizes() == [2]
    (group,) = house.groups
    assert (group.number, group.run) == (1, 7)
    assert group.now == pytest.approx(100.005)
    assert group.at == AT + group.now
    assert [entry[2] for entry in group.entries] == [100.0, 100.004]


def test_nothing_is_armed_while_nothing_is_open(house):
    assert house.armed() == house.soon == []
    house.publish(None, qos=0)
    house.sleep(0.001)
    assert len(house.armed()) == 1
    house.sleep(0.01)
    assert house.armed() == house.soon == []
    house.commit()
    assert house.armed() == house.soon == []


def test_whoever_is_alone_does_not_wait_for_others_but_for_the_end_of_its_turn(house):
    house.publish("a")
    house.publish("a")
    assert house.groups == []
    house.turn()
    assert house.sizes() == [2]
    assert house.armed() == []


def test_a_group_closes_when_as_many_links_wait_as_were_let_go(house):
    house.publish("a", "b", "c")
    house.turn()
    house.commit()
    for link in "ab":
        house.publish(link)
        house.turn()
        house.sleep(0.0001)
    assert house.sizes() == [3]
    house.publish("c")
    house.turn()
    assert house.sizes() == [3, 3]


def test_records_of_qos_0_messages_wait_for_the_window_and_share_groups(house):
    house.publish(None, qos=0)
    house.turn()
    assert house.groups == []
    house.publish("a")
    house.turn()
    assert house.sizes() == [2]


def test_while_a_group_is_written_the_next_stays_open(house):
    house.publish("a")
    house.turn()
    house.publish("b")
    house.sleep(1.0)
    assert house.sizes() == [1]
    assert house.armed() == house.soon == []
    house.publish("c")
    house.commit()  # its window is over long since
    assert house.sizes() == [1, 2]


def test_what_opened_while_another_was_written_has_the_rest_of_its_window(house):
    house.publish("a", "b", "c", "d")
    house.turn()
    house.publish("e")
    house.sleep(0.003)
    house.commit()
    house.publish(None, qos=0)
    assert house.sizes() == [4]
    house.sleep(0.0021)
    assert house.sizes() == [4, 2]


def test_a_full_group_does_not_wait(house):
    house.publish("a", "b")
    house.turn()
    house.publish("a", payload=bytes(FULL_BYTES - MESSAGE_BYTES - len(TOPIC) - 1))
    assert house.sizes() == [2]
    house.publish("a", payload=b"")
    house.publish("a")  # of the same packet or turn: it must not fall into another group
    assert house.sizes() == [2]
    house.turn()
    assert house.sizes() == [2, 3]  # though the first is not written
    assert house.groups[1].size_bytes >= FULL_BYTES


def test_a_flood_of_records_descriptions_and_gaps_closes_groups_too(house):
    sensors = (Measurement(topic=TOPIC, kind="temperature", unit="°C"),)
    device = Device(agent="house", site="home", sensors=sensors)
    while len(house.groups) < 1:
        house.journal.note(Left(1))
        house.turn()
    while len(house.groups) < 2:
        house.journal.learn(device)
        house.turn()
    while len(house.groups) < 3:
        house.journal.miss(GapNote("hub", "", "dropped by limit", 1.0, None))
        house.turn()
    house.journal.note(WillKept(2, "c", None, "t", bytes(FULL_BYTES), 1, False, b"", 0, None))
    house.turn()
    assert [len(g.records) for g in house.groups] == [328, 0, 0, 1]
    assert len(house.groups[1].devices) > 50
    assert len(house.groups[2].gaps) == 328


class TestWear:
    def test_beyond_the_budget_everybody_waits(self, house):
        house.window_s = 0.25
        house.publish("a")
        house.sleep(0.2499)
        assert house.groups == []
        house.sleep(0.0002)
        assert house.sizes() == [1]

    def test_a_full_group_is_written_all_the_same(self, house):
        house.window_s = 1.0
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        assert house.sizes() == [1]

    def test_a_window_that_shrinks_is_noticed_with_the_next_message(self, house):
        house.window_s = 1.0
        house.publish(None, qos=0)
        house.sleep(0.1)
        house.window_s = WINDOW_S
        house.publish(None, qos=0)
        house.turn()
        assert house.sizes() == [2]
        assert house.armed() == []


def test_who_does_not_wait_is_told_so_and_everything_is_written(house):
    house = House(waits=False)
    assert house.journal.group == 0
    house.publish("a")
    house.waiting.clear()  # the gate is open
    house.sleep(0.006)
    assert house.journal.group == 0
    assert [group.number for group in house.groups] == [1]


def test_who_does_not_wait_does_when_the_disk_lags_behind():
    house = House(waits=False)
    while house.journal.waiting_bytes <= LAG_BYTES:
        assert house.journal.group == 0
        house.publish("a", payload=bytes(5_000))
        house.turn()
    assert house.journal.group == house.groups[-1].number + 1
    house.commit()
    house.commit()
    assert house.journal.group == 0


def test_the_number_of_the_group_is_that_of_what_is_taken_now(house):
    assert house.journal.group == 1
    house.publish("a")
    assert house.journal.group == 1
    house.turn()
    assert house.journal.group == 2


def test_numbers_and_keys_go_on_from_what_was_loaded(house):
    assert [house.journal.take_number() for _ in range(2)] == [40, 41]
    assert [house.journal.take_key() for _ in range(2)] == [9, 10]


def test_only_who_speaks_for_several_topics_or_may_name_an_agent_is_asked_for_rights(house):
    house.publish("a")
    bundle = Message("home/devices/house/backlog", b"[]", 1, client_id="agent-1")
    house.journal.append(bundle, RECORD | int(RouteFlag.BUNDLE), house.now)
    named = Message("home/kitchen/temperature", b"7", 1, properties=b"\x26\0\5agent\0\1a", client_id="agent-2")
    house.journal.append(named, RECORD, house.now)
    house.turn()
    assert house.asked == ["agent-1", "agent-2"]
    assert [entry[3] for entry in house.groups[0].entries] == [None, ALL_RIGHTS, ALL_RIGHTS]


class TestBounds:
    def test_beyond_the_bound_it_refuses_and_below_half_it_takes_again(self):
        house = House(max_waiting_bytes=FULL_BYTES * 4)
        while not house.journal.refuses:
            house.publish("a", payload=bytes(5_000))
            house.turn()
        waiting = len(house.groups)
        assert house.journal.waiting_bytes > FULL_BYTES * 4
        while house.journal.waiting_bytes >= FULL_BYTES * 2:
            assert house.journal.refuses
            house.commit()
        assert not house.journal.refuses
        assert house.written < waiting

    def test_qos_0_is_dropped_then_and_counted(self):
        house = House(max_waiting_bytes=FULL_BYTES)
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        house.publish(None, None, qos=0)
        house.publish("a")  # what was taken already must be kept
        house.publish(None, qos=0)
        assert house.journal.dropped == 3
        house.now += 1.0
        house.commit()
        assert house.sizes() == [1, 1]
        assert house.groups[1].entries[0][0].qos == 1
        house.publish(None, qos=0)
        assert house.journal.dropped == 3

    @pytest.mark.parametrize(
        "record",
        [
            Subscribed(1, "f" * 60_000, 1, False, False, 0, False),
            Unsubscribed(1, "f" * 60_000),
            Replayed(1, "f" * 60_000),
            Opened(1, "c" * 40_000, "u" * 20_000, 60.0),
            WillKept(1, "c", None, "t" * 20_000, bytes(30_000), 1, False, bytes(9_999), 0, None),
        ],
    )
    def test_texts_of_records_count(self, house, record):
        house.journal.note(record)
        house.journal.close()
        assert house.journal.waiting_bytes == 60_000 + RECORD_BYTES

    def test_what_nobody_is_promised_is_let_go_beyond_it(self):
        house = House(max_waiting_bytes=FULL_BYTES)
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        assert house.journal.refuses
        promised = house.journal.waiting_bytes
        for _ in range(2_000):
            house.journal.note(Left(1))
            house.publish(None, payload=bytes(100))  # of a will
            house.journal.miss(GapNote("agent", "house/attic", "agent offline", 1.0, None))
            house.turn()
        assert house.journal.waiting_bytes == promised
        assert len(house.groups) == 1
        assert 1_500 < house.journal.dropped <= 2_000
        for number in range(2_000):
            house.journal.miss(GapNote("agent", str(number), "agent offline", 1.0, None))
            house.turn()
        house.journal.amend(lambda: None)
        assert MOST_GAPS <= len(house.groups[1].gaps) < MOST_GAPS + FULL_BYTES // RECORD_BYTES
        assert house.groups[1].gaps[-1].name == "1999"

    @pytest.mark.parametrize("what", ["retained", "record"])
    def test_what_was_let_go_is_described_anew_before_anything_counts(self, what):
        asked = []
        house = House(max_waiting_bytes=FULL_BYTES, on_astray=lambda: asked.append(True))
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        if what == "retained":
            house.journal.append(Message("t", b"1", 0, True), int(RouteFlag.RETAINED), house.now)
        while what == "record" and not house.journal._astray:
            house.journal.note(Left(1))
            house.turn()
        house.journal.note(Left(2))
        house.commit()
        house.sleep(10)
        assert (asked, len(house.groups), house.journal.refuses) == ([True], 1, True)
        number = house.journal.amend(lambda: house.journal.note(Left(3)))
        assert (number, house.groups[1].number, house.groups[1].records) == (2, 2, [Left(2), Left(3)])
        assert not house.journal.refuses
        house.commit()
        house.publish("a")
        house.sleep(1)
        assert house.sizes()[2:] == [1]

    def test_it_asks_for_that_before_it_closes(self):
        asked = []
        house = House(max_waiting_bytes=FULL_BYTES, on_astray=lambda: asked.append(True))
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        house.journal.append(Message("t", b"1", 0, True), int(RouteFlag.RETAINED), house.now)
        house.journal.close()
        assert asked == [True]

    def test_the_bytes_that_wait_are_those_not_written(self, house):
        house.publish("a")
        house.turn()
        size = house.groups[0].size_bytes
        assert house.journal.waiting_bytes == size > MESSAGE_BYTES
        house.now += 2.0
        assert house.journal.oldest_s() == pytest.approx(2.0)
        house.commit()
        assert house.journal.waiting_bytes == 0
        assert house.journal.oldest_s() == 0.0


class TestFailure:
    def test_it_refuses_until_writing_works_and_keeps_what_it_has(self, house):
        house.publish("a")
        house.turn()
        house.journal.failed()
        assert house.journal.refuses
        house.publish(None, qos=0)
        house.sleep(60)
        assert house.sizes() == [1]
        house.commit()
        assert house.journal.refuses
        house.journal.recovered()
        assert not house.journal.refuses
        assert house.sizes() == [1, 1]

    def test_recovering_does_not_make_room(self):
        house = House(max_waiting_bytes=FULL_BYTES)
        house.journal.failed()
        house.publish("a", payload=bytes(FULL_BYTES))
        house.turn()
        house.journal.recovered()
        assert house.journal.refuses
        house.commit()
        assert not house.journal.refuses


class TestClose:
    def test_it_hands_over_what_is_there_though_another_is_not_written(self, house):
        house.publish("a")
        house.turn()
        house.publish("b")
        house.journal.close()
        house.journal.close()
        assert house.sizes() == [1, 1]
        assert house.armed() == []

    def test_what_comes_later_is_handed_over_at_once(self, house):
        house.journal.close()
        house.journal.note(Left(1))
        assert len(house.groups) == 1
        house.commit()
        house.journal.note(Left(2))
        assert len(house.groups) == 2


def test_the_first_group_is_handed_over_at_once_though_it_is_empty(house):
    house.journal.begin()
    house.journal.begin()
    assert [(group.number, group.now) for group in house.groups] == [(1, house.now)]
    house.publish("a")
    house.commit()
    house.sleep(1)
    assert house.sizes() == [0, 1]
    assert house.journal.group == 3
