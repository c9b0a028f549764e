"""Groups: two as one, one as two."""

from appliance.broker.message import Message
from appliance.broker.records import Back, Left
from appliance.devices import Device
from appliance.store.group import Group, count, halves, is_promised, merged, shown

RUN = 7


def group(number, *payloads, records=()):
    entries = [(Message("t", payload, 1), 2, 1.0, None) for payload in payloads]
    return Group(number, entries, list(records), size_bytes=100, run=RUN, now=float(number), at=1e9 + number)


def test_merged_has_the_number_and_time_of_the_last():
    both = merged([group(3, b"1", records=[Left(1)]), group(4, b"2")])
    assert (both.number, both.run, both.now, both.at, both.size_bytes) == (4, RUN, 4.0, 1e9 + 4, 200)
    assert [entry[0].payload for entry in both.entries] == [b"1", b"2"]
    assert both.records == [Left(1)]
    assert both.earlier == ((3.0, 1e9 + 3),)
    assert [half.earlier for half in halves(both)] == [both.earlier] * 2


def test_halves_end_with_single_things_in_an_order_in_which_they_may_be_written():
    device = Device(agent="a", site="home", sensors=())
    whole = group(5, b"1", b"2", b"3", records=[Left(1), Left(2)])
    whole.devices = [device]
    seen = []
    parts = [whole]
    while parts:
        part = parts.pop(0)
        smaller = halves(part)
        if smaller:
            assert sum(map(count, smaller)) == count(part)
        else:
            assert count(part) == 1
            seen.append(part)
        parts[:0] = smaller
    assert [(part.devices, len(part.entries), part.records) for part in seen] == [
        ([], 1, []),
        ([], 1, []),
        ([], 1, []),
        ([], 0, [Left(1)]),
        ([], 0, [Left(2)]),
        ([device], 0, []),
    ]
    assert [part.entries[0][0].payload for part in seen[:3]] == [b"1", b"2", b"3"]
    assert seen[-1].number == 5
    assert max(part.number for part in seen[:-1]) < 5  # only the last makes the group whole


def test_what_is_shown_is_short():
    assert shown(group(1, records=[Back(1)])) == "Back(key=1)"
    assert len(shown(group(1, b"x" * 1_000))) == 200


def test_who_waits_for_a_group():
    once = [(Message("t", b"1", 0), 2, 1.0, None)]
    assert not is_promised(Group(1, once, devices=[Device(agent="a", site="home")]))
    assert is_promised(Group(1, once, [Left(1)]))
    assert is_promised(group(1, b"1"))
