from appliance.broker.rights import ALL_RIGHTS, AllRights
from appliance.broker.tables import Tables

ANN, BOB = AllRights(), AllRights()


def known(most=10, topics=(b"a", b"b", b"c")):
    tables = Tables(most)
    for topic in topics:
        tables.all[topic] = f"route of {topic.decode()}"
    return tables


def test_all_rights_have_the_table_of_all_routes():
    tables = known()
    tables.allow(ALL_RIGHTS, b"a")
    assert tables.of(ALL_RIGHTS) is tables.all


def test_a_table_holds_what_was_allowed_and_the_same_route():
    tables = known()
    ann = tables.of(ANN)
    tables.allow(ANN, b"a")
    assert ann == {b"a": tables.all[b"a"]}
    assert tables.of(ANN) is ann
    assert tables.of(BOB) == {}


def test_a_route_that_is_not_kept_is_kept_nowhere():
    tables = known()
    tables.allow(ANN, b"$SYS/x")
    assert tables.of(ANN) == {}


def test_the_tables_have_one_bound_together():
    tables = known(most=3)
    assert tables.full()
    for rights in (ANN, BOB):
        for topic in tables.all:
            tables.allow(rights, topic)
            assert len(tables.of(ANN)) + len(tables.of(BOB)) <= 3
    assert len(tables.of(BOB)) == 3
    assert len(tables.all) == 3


def test_a_dropped_topic_stands_in_no_table_and_takes_no_place():
    tables = known(most=3)
    for _ in range(5):
        tables.all[b"a"] = "route of a"
        for rights in (ANN, BOB):
            tables.allow(rights, b"a")
        tables.drop(b"a")
        tables.drop(b"a")
        assert b"a" not in {**tables.all, **tables.of(ANN), **tables.of(BOB)}
    for topic in (b"b", b"c"):
        tables.allow(ANN, topic)
    assert tables.of(ANN) == {b"b": "route of b", b"c": "route of c"}


def test_clearing_leaves_the_tables_to_those_who_hold_them():
    tables = known()
    ann = tables.of(ANN)
    tables.allow(ANN, b"a")
    tables.clear()
    assert ann == tables.all == {}
    assert tables.of(ANN) is ann
    assert not tables.full()


def test_a_table_ends_with_the_rights_that_it_is_for():
    tables = known(most=3)
    for _ in range(10):
        rights = AllRights()
        tables.allow(rights, b"a")
        assert len(tables._others) == 1
    del rights
    assert len(tables._others) == 0
    tables.allow(ANN, b"a")
    assert tables.of(ANN) == {b"a": tables.all[b"a"]}
