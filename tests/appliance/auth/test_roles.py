import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.auth.roles import Grants, filled_in, filter_problem, of_role
from appliance.mqtt.topics import check_topic_filter

ROLES = [
    (("admin", "home"), Grants(("#",), ("#", "$SYS/#"))),
    (("reader", "home"), Grants((), ("#",))),
    (("integration", "home"), Grants(("home/+/+/set", "home/+/+/+/set", "homeassistant/#"), ("#",))),
    (
        ("integration", "home", "", ["flows/#"]),
        Grants(("home/+/+/set", "home/+/+/+/set", "homeassistant/#", "flows/#"), ("#",)),
    ),
    (("device", "home", "attic-pi"), Grants(("home/devices/attic-pi/#",), ("home/devices/attic-pi/#",), "attic-pi")),
    (("device", "home"), Grants(("home/devices/%u/#",), ("home/devices/%u/#",), "%u")),
    (
        ("device", "barn", "pi", ["barn/stable/door", "barn/yard/#"], ["barn/sun/elevation"]),
        Grants(
            ("barn/devices/pi/#", "barn/stable/door", "barn/yard/#"),
            ("barn/devices/pi/#", "barn/stable/door", "barn/yard/#", "barn/stable/door/set", "barn/sun/elevation"),
            "pi",
        ),
    ),
    (("device", "home", "pi", ["#", "#"]), Grants(("home/devices/pi/#", "#"), ("home/devices/pi/#", "#"), "pi")),
    ((None, "home", "", ["a"], ["b"]), Grants(("a",), ("b",))),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "granted"), ROLES)
def test_what_a_role_may_do(asked, granted):
    assert of_role(*asked) == granted


FILLED = [
    ("home/%u/x", "ann", "c", "home/ann/x"),
    ("%u/%c/#", "ann", "phone", "ann/phone/#"),
    ("home/%c", None, "phone", "home/phone"),
    ("home/%u", None, "phone", None),
    ("home/%u", "", "phone", None),
    ("home/%c", "ann", "", None),
    ("home/%u", "%c", "phone", "home/%c"),  # a name is put in once
    ("home/%u", "+", "c", None),
    ("home/%u/x", "#", "c", None),
    ("home/%u", "a/b", "c", None),
    ("%u/broker", "$SYS", "c", None),
    ("%u", "a$b", "c", None),
    ("home/%c/x", "ann", "a+b", None),
    ("home/100%/%u%c", "ann", "c", "home/100%/%u%c"),  # no level of its own: refused where rules are read
    ("no/name", "#", "#", "no/name"),
]


@pytest.mark.parametrize(("topic_filter", "user", "client", "filled"), FILLED)
def test_names_in_a_filter(topic_filter, user, client, filled):
    assert filled_in(topic_filter, user, client) == filled


names = st.text("ab%uc+#/$", max_size=4)


@given(names, names, st.sampled_from(["%u", "x/%u", "%u/#", "%c/+/%u", "a/%c"]))
def test_no_name_adds_a_level_or_a_wildcard(user, client, topic_filter):
    filled = filled_in(topic_filter, user, client)
    if filled is None:
        return
    check_topic_filter(filled)
    assert filled.count("/") == topic_filter.count("/")
    assert filled.count("+") + filled.count("#") == topic_filter.count("+") + topic_filter.count("#")
    assert not filled.startswith("$")


PROBLEMS = [
    ("home/#", True, ""),
    ("home/%u/%c", False, ""),
    ("$SYS/#", True, ""),
    ("$SYS/#", False, "the server's own"),
    ("", True, "is empty"),
    ("a#", True, "a wildcard is not alone"),
    ("$share/g/a", True, "a shared subscription"),
    ("home/%u-x", True, "stand for a whole level, in 'home/%u-x' for a part of one"),
    ("home/x%c", True, "for a part of one"),
]


@pytest.mark.parametrize(("topic_filter", "may_be_servers", "problem"), PROBLEMS)
def test_what_is_no_filter_of_an_account(topic_filter, may_be_servers, problem):
    found = filter_problem(topic_filter, may_be_servers=may_be_servers)
    assert problem in found
    assert bool(problem) is bool(found)
