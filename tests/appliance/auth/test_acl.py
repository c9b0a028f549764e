import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plain_filters, topic_names

from appliance.auth.acl import Acl
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
    assert ACL.rights(user).may_publish(topic) is allowed


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
    assert ACL.rights(user).may_read(topic) is allowed


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
    assert ACL.rights(user).may_subscribe(topic_filter) is allowed


def test_a_user_has_the_same_rights_every_time():
    for user in ("watcher", "no rules", None):
        assert ACL.rights(user) is ACL.rights(user)
    assert ACL.rights("one") is ACL.rights("other")  # without rules there is one table of routes for all of them


def test_whether_there_are_rules():
    assert ACL.has_rules("watcher")
    assert not ACL.has_rules("no rules")
    assert not ACL.has_rules("home/kitchen")


def test_without_any_rules():
    rights = Acl().rights("ann")
    assert rights.may_publish("a")
    assert rights.may_read("a")
    assert not rights.may_read("$SYS/a")


@given(st.lists(plain_filters(), max_size=4), topic_names, plain_filters())
def test_rules_allow_what_some_filter_of_theirs_takes_in(filters, topic, wanted):
    rights = Acl([Rule(user="ann", publish=filters, subscribe=filters)]).rights("ann")
    expected = any(matches(one, topic) for one in filters)
    assert rights.may_publish(topic) is rights.may_read(topic) is expected
    assert rights.may_subscribe(wanted) is any(overlaps(one, wanted) for one in filters)
