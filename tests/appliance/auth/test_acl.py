import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plain_filters, topic_names

from appliance.auth.acl import NO_RIGHTS, Acl, Granted
from appliance.auth.roles import of_role
from appliance.broker.rights import ALL_RIGHTS
from appliance.mqtt.topics import matches, overlaps
from appliance.settings import Rule

ACL = Acl(
    [
        Rule(user="esp-kitchen", publish=["home/kitchen/#"], subscribe=["home/kitchen/+/set"]),
        Rule(user="esp-kitchen", publish=["home/devices/esp-kitchen/availability"]),
        Rule(user="watcher", subscribe=["home/#", "$SYS/broker/uptime"]),
        Rule(user="home/#", publish=["nowhere"]),
        Rule(anonymous=True, subscribe=["public/+"]),
    ]
)

PUBLISH = [
    ("esp-kitchen", "home/kitchen/temperature", True),
    ("esp-kitchen", "home/kitchen", True),
    ("esp-kitchen", "home/devices/esp-kitchen/availability", True),  # its second rule
    ("esp-kitchen", "home/devices/esp-kitchen/about", False),
    ("esp-kitchen", "home/attic/temperature", False),
    ("esp-kitchen", "nowhere", False),
    ("watcher", "home/x", False),  # a rule that names no topics to publish to allows none
    ("home/#", "nowhere", True),
    ("home/#", "home/kitchen/temperature", False),  # a name is no pattern
    ("home/kitchen", "nowhere", True),  # nor taken for one: no rule of its own, so everything
    (None, "public/x", False),
    ("", "public/x", True),  # the empty name is a name
    ("no rules", "anything/at/all", True),
    ("no rules", "$SYS/x", False),
]


@pytest.mark.parametrize(("user", "topic", "allowed"), PUBLISH)
def test_publishing(user, topic, allowed):
    assert ACL.rights(user, "c").may_publish(topic) is allowed


READ = [
    ("esp-kitchen", "home/kitchen/relay/set", True),
    ("esp-kitchen", "home/kitchen/temperature", False),
    ("watcher", "home/kitchen/temperature", True),
    ("watcher", "$SYS/broker/uptime", True),  # where a rule says so
    ("watcher", "$SYS/broker/version", False),
    (None, "public/x", True),
    (None, "home/x", False),
    ("no rules", "anything/at/all", True),
    ("no rules", "$SYS/broker/uptime", False),
    ("+", "home/x", True),
]


@pytest.mark.parametrize(("user", "topic", "allowed"), READ)
def test_reading(user, topic, allowed):
    assert ACL.rights(user, "c").may_read(topic) is allowed


SUBSCRIBE = [
    ("esp-kitchen", "home/kitchen/relay/set", True),
    ("esp-kitchen", "#", True),  # it is given what it may read of that
    ("esp-kitchen", "home/+/+/+", True),
    ("esp-kitchen", "home/kitchen/relay", False),
    ("esp-kitchen", "home/attic/#", False),
    ("esp-kitchen", "$SYS/#", False),
    ("watcher", "$SYS/#", True),
    ("watcher", "$SYS/broker/+", True),
    ("no rules", "#", True),
    ("no rules", "$SYS/#", False),
]


@pytest.mark.parametrize(("user", "topic_filter", "allowed"), SUBSCRIBE)
def test_subscribing(user, topic_filter, allowed):
    assert ACL.rights(user, "c").may_subscribe(topic_filter) is allowed


def test_a_user_has_the_same_rights_every_time():
    for user in ("watcher", "no rules", None):
        assert ACL.rights(user, "c") is ACL.rights(user, "c")
    assert ACL.rights("one", "c") is ACL.rights(
        "other", "c"
    )  # without rules there is one table of routes for all of them


def test_without_any_rules():
    rights = Acl().rights("ann", "c")
    assert rights.may_publish("a")
    assert rights.may_read("a")
    assert not rights.may_read("$SYS/a")


@given(st.lists(plain_filters(), max_size=4), topic_names, plain_filters())
def test_rules_allow_what_some_filter_of_theirs_takes_in(filters, topic, wanted):
    rights = Acl([Rule(user="ann", publish=filters, subscribe=filters)]).rights("ann", "c")
    expected = any(matches(one, topic) for one in filters)
    assert rights.may_publish(topic) is rights.may_read(topic) is expected
    assert rights.may_subscribe(wanted) is any(overlaps(one, wanted) for one in filters)


PATTERNS = Acl(
    [
        Rule(everybody=True, publish=["home/%u/#"], subscribe=["home/%u/+/set", "public/#"]),
        Rule(user="ann", role="admin"),
        Rule(user="esp", role="device", publish=["home/hall/door"]),
        Rule(user="cam", role="device", agent="garden-pi"),
        Rule(user="many", publish=["clients/%c"], subscribe=["clients/%c/+"]),
        Rule(anonymous=True, publish=["guests/%c"]),
    ],
    {"pi": of_role("device", "home", "", ["home/attic/temperature"]), "hass": of_role("integration", "home")},
    users={"ann", "esp", "cam", "many", "bob", "a/b", "+", "pi", "hass", None},
)
DEVICE = "home/devices"


@pytest.mark.parametrize(
    ("user", "agent"),
    [
        ("bob", None),
        ("ann", None),
        ("hass", None),
        (None, None),
        ("esp", "esp"),
        ("cam", "garden-pi"),
        ("pi", "pi"),
        ("gone", ""),
    ],
)
def test_whose_readings_a_user_may_send(user, agent):
    assert PATTERNS.rights(user, "c").agent == agent


def test_a_device_of_a_name_that_is_no_level_sends_nobodys_readings():
    assert Acl([Rule(user="a/b", role="device")]).rights("a/b", "c").agent == ""


MAY_PUBLISH = [
    ("bob", "c", "home/bob/x", True),
    ("bob", "c", "home/esp/x", False),
    ("bob", "c", "home/%u/x", False),
    ("a/b", "c", "home/a/b/x", False),  # a name is one level, or matches nothing
    ("+", "c", "home/bob/x", False),
    ("ann", "c", "whatever", True),
    ("ann", "c", "$SYS/x", False),
    ("esp", "c", f"{DEVICE}/esp/about", True),
    ("esp", "c", f"{DEVICE}/cam/about", False),
    ("esp", "c", "home/hall/door", True),
    ("esp", "c", "home/hall/door/set", False),  # it obeys commands, and gives none
    ("esp", "c", "home/esp/x", True),  # as everybody
    ("cam", "c", f"{DEVICE}/garden-pi/health", True),
    ("cam", "c", f"{DEVICE}/cam/health", False),
    ("many", "one", "clients/one", True),
    ("many", "one", "clients/two", False),
    ("many", "+", "clients/one", False),
    ("many", "a/b", "clients/a/b", False),
    (None, "visitor", "guests/visitor", True),
    (None, "visitor", "home/visitor/x", False),  # everybody means who has a name
    ("pi", "c", "home/attic/temperature", True),
    ("pi", "c", f"{DEVICE}/pi/about", True),
    ("pi", "c", f"{DEVICE}/pi", True),
    ("pi", "c", "home/attic/humidity", False),
    ("pi", "c", "home/pi/x", False),  # the rules that are written by hand are not for managed accounts
    ("hass", "c", "home/hall/lamp/set", True),
    ("hass", "c", "home/hall/left/lamp/set", True),
    ("hass", "c", "home/hall/lamp", False),
    ("hass", "c", "homeassistant/status", True),
    ("gone", "c", "x", False),  # whose account is no more
]


@pytest.mark.parametrize(("user", "client_id", "topic", "allowed"), MAY_PUBLISH)
def test_publishing_with_roles_and_patterns(user, client_id, topic, allowed):
    assert PATTERNS.rights(user, client_id).may_publish(topic) is allowed


def test_a_rule_that_is_left_of_a_user_of_the_same_name_gives_a_managed_account_nothing():
    acl = Acl([Rule(user="bob", publish=["#"])], {"bob": of_role("device", "home", "bob", ["home/hall/door"], [])})
    assert acl.rights("bob", "c").may_publish("home/hall/door")
    assert not acl.rights("bob", "c").may_publish("home/lock/set")


MAY_READ = [
    ("bob", "c", "home/bob/lamp/set", True),
    ("bob", "c", "home/esp/lamp/set", False),
    ("+", "c", "home/bob/lamp/set", False),
    ("+", "c", "public/x", True),
    ("ann", "c", "$SYS/broker/uptime", True),
    ("hass", "c", "$SYS/broker/uptime", False),
    ("hass", "c", "home/hall/lamp", True),
    ("esp", "c", "home/hall/door/set", True),
    ("esp", "c", "home/hall/door", True),
    ("esp", "c", "home/hall/lamp/set", False),
    ("pi", "c", "home/attic/temperature/set", True),
    ("pi", "c", "public/x", False),
    ("many", "one", "clients/one/news", True),
    ("many", "two", "clients/one/news", False),
    ("many", "+", "clients/one/news", False),
    ("gone", "c", "public/x", False),
]


@pytest.mark.parametrize(("user", "client_id", "topic", "allowed"), MAY_READ)
def test_reading_with_roles_and_patterns(user, client_id, topic, allowed):
    assert PATTERNS.rights(user, client_id).may_read(topic) is allowed


def test_rights_that_depend_on_the_client_are_the_same_while_somebody_holds_them():
    one = PATTERNS.rights("many", "one")
    assert PATTERNS.rights("many", "one") is one
    assert PATTERNS.rights("many", "two") is not one
    assert PATTERNS.rights("bob", "one") is PATTERNS.rights("bob", "two")
    before = len(PATTERNS._of_clients)
    for number in range(1_000):
        PATTERNS.rights("many", f"client {number}")
    assert len(PATTERNS._of_clients) <= before  # what nobody holds costs nothing


def test_who_sees_everything_and_who_may_do_everything():
    assert PATTERNS.rights("ann", "c").reads_everything
    assert PATTERNS.rights("ann", "c").publishes_everything
    assert PATTERNS.rights("hass", "c").reads_everything
    assert not PATTERNS.rights("hass", "c").publishes_everything
    assert not PATTERNS.rights("pi", "c").reads_everything
    without = Acl().rights("ann", "c")
    assert without.reads_everything
    assert without.publishes_everything


def test_who_may_have_published_there():
    grants = {
        "admin": of_role("admin", "home"),
        "pi": of_role("device", "home", "pi", ("home/attic/x", "home/%c/y")),
        "esp": of_role("device", "home", "esp", ("home/attic/x",)),
        "tablet": of_role("reader", "home"),
    }
    acl = Acl([], grants, users=set(grants))
    assert sorted(acl.writers("home/attic/x", "c")) == ["esp", "pi"]  # admins write seldom what is a device's
    assert acl.writers("home/c/y", "c") == ["pi"]
    assert acl.writers("home/c/y", "d") == ["admin"]  # nobody else may
    assert acl.writers("home/devices/esp/about", "c") == ["esp"]
    assert acl.writers("$SYS/x", "c") == []
    assert Acl().writers("home/x", "c") == []  # whoever it is that may come in


def test_by_which_filters_one_may_publish_and_another_may_not():
    one, other = Granted(["a", "b/#", "c"], ["z"]), Granted(["c", "b/+"], [])
    assert one.publishes_beyond(other) == {"a", "b/#"}
    assert one.publishes_beyond(one) == frozenset()


def test_whose_account_is_gone_has_no_rights():
    acl = Acl(users={"ann"})
    assert acl.rights("gone", "c") is acl.rights(None, "c") is NO_RIGHTS
    assert acl.rights("ann", "c").may_publish("x")
    assert acl.knows("ann")
    assert not acl.knows(None)
    assert Acl().knows("anybody")


SAME = [
    (Granted(["a", "b/#"], ["c"]), Granted(["b/#", "a", "a"], ["c"]), True),
    (Granted(["a"], ["c"]), Granted(["a", "b"], ["c"]), False),
    (Granted(["a"], ["c"]), Granted(["a"], ["c/#"]), False),
    (Granted(["a"], ["c"]), Granted(["c"], ["a"]), False),
    (Granted(["#"], ["#"]), ALL_RIGHTS, False),
    (ALL_RIGHTS, Granted(["#"], ["#"]), False),
    (ALL_RIGHTS, ALL_RIGHTS, True),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_rights_are_the_same_where_they_name_the_same_topics(one, other, same):
    assert one.same_as(other) is same
