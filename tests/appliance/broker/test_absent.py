from appliance.broker.absent import Absent
from appliance.broker.session import Session


def test_nobody_is_away():
    assert Absent().dispensable() is None


def test_the_longest_away_of_the_address_with_most_makes_room():
    absent = Absent()
    kept, hoard = Session("kept"), [Session(f"h{number}") for number in range(3)]
    absent.add(kept, "192.168.1.5")
    for session in hoard:
        absent.add(session, "192.168.1.66")
    assert absent.dispensable() is hoard[0]
    absent.discard(hoard[0])
    assert absent.dispensable() is hoard[1]


def test_who_came_back_is_not_away():
    absent = Absent()
    session = Session("a")
    absent.add(session, "::1")
    absent.discard(session)
    absent.discard(session)
    assert absent.dispensable() is None
    assert not absent._by_address
