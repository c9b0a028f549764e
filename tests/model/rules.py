"""What steps there are, with every argument's values; the state machine and the walks draw from the same table."""

import random

from model.state import V5, V31, V311

from appliance.mqtt.types import Version

CLIENTS = (0, 1, 2, 3, 4, 5)
TOPICS = ("a", "a/b", "a/b/c", "b", "b/c", "c")
WILL_TOPICS = ("a", "a/b", "w")
FILTERS = (
    "#", "+", "a/#", "+/b", "+/+", "a", "a/b", "b/#", "w", "c",
    "$share/g/a/#", "$share/g/#", "$share/h/+", "$share/h/a/b",
)  # fmt: skip
MOSTLY_NONE = (None,) * 5

RULES = {
    # name: its arguments and what each may be; what stands twice is chosen twice as often
    "connect": {
        "who": CLIENTS,
        "version": (V31, V311, V5, V5),
        "clean": (True, False, False),
        "expiry": (None, 0, 5, 30, 30, 0xFFFF_FFFF),
        "window": (None, None, 1, 2),
        "largest": (*MOSTLY_NONE, 40, 200),
        "aliases": (None, None, 1, 9),
        "keep_alive": (0, 0, 0, 10, 50),
        "will": (None, None, *WILL_TOPICS),
        "will_qos": (0, 1, 2),
        "will_retain": (False, False, True),
        "will_delay": (None, 2, 10, 100),
        "will_expiry": (None, None, 3, 20),
        "user": (*MOSTLY_NONE, *MOSTLY_NONE, "somebody"),
        "nameless": (False,) * 9 + (True,),
    },
    "disconnect": {"who": CLIENTS, "with_will": (False, True), "expiry": (None, None, 0, 20)},
    "lose": {"who": CLIENTS},
    "subscribe": {
        "who": CLIENTS,
        "filters": tuple((one,) for one in FILTERS) * 2 + (("#", "a/b"), ("a", "+/b", "$share/g/a/#"), FILTERS[:6]),
        "qos": (0, 1, 2, 2),
        "no_local": (False, False, True),
        "as_published": (False, True),
        "handling": (0, 0, 1, 2),
        "identifier": (None, None, 1, 2, 300),
    },
    "unsubscribe": {"who": CLIENTS, "filters": (*((one,) for one in FILTERS), ("#", "a", "x"), ("a/b", "a/#"))},
    "publish": {
        "who": CLIENTS,
        "topic": (*TOPICS, *TOPICS, "$x"),
        "qos": (0, 1, 1, 2, 2),
        "retain": (False, False, True),
        "size": (0, 10, 10, 10, 100, 300, 600),
        "expiry": (None, None, None, 1, 4, 30),
        "alias": (*MOSTLY_NONE * 4, *("set 1", "set 2", "use 1", "use 2") * 2, "set 3"),
        "more": (*MOSTLY_NONE, "text", "no text", "user"),
    },
    "burst": {
        "who": CLIENTS,
        "topics": (("a",) * 3, ("a", "a/b", "a/b", "a"), ("b", "b/c", "c", "c"), ("a/b/c",) * 9),
        "qos": (0, 0, 0, 1),
        "size": (10, 10, 100, 300),
        "cut": (0, 1, 5, 20, 50),
    },
    "repeat": {"who": CLIENTS},
    "release": {"who": CLIENTS, "which": (0, 0, 1, -1, 99)},
    "acknowledge": {
        "who": CLIENTS,
        "how": (
            "next",
            "next",
            "all",
            "all",
            "all",
            "last",
            "other kind",
            "refuse",
            "early",
            "unknown",
            "again",
            "unseen",
        ),
    },
    "ping": {"who": CLIENTS},
    "stall": {"who": CLIENTS},
    "read": {"who": CLIENTS},
    "offend": {"who": CLIENTS, "how": ("connect again", "wildcard", "qos 3", "server packet", "nothing wanted")},
    "stranger": {"data": (b"", b"\x10", b"\x30\x03\x00\x01a", b"\xc0\x00")},
    "wait": {"seconds": (1, 1, 1, 3, 7, 20, 70)},
    "stop": {},
    "crash": {},
}
WEIGHTS = {
    "connect": 6, "disconnect": 2, "lose": 3, "subscribe": 10, "unsubscribe": 3, "publish": 30, "burst": 4,
    "repeat": 3, "release": 5, "acknowledge": 20, "ping": 2, "stall": 2, "read": 3, "offend": 0.5, "stranger": 0.3,
    "wait": 3, "stop": 0.1, "crash": 0.1,
}  # fmt: skip


def random_step(rng: random.Random, crash_weight=WEIGHTS["crash"]):
    """One step of any kind as (name, arguments)."""
    (name,) = rng.choices(list(RULES), [crash_weight if name in {"stop", "crash"} else WEIGHTS[name] for name in RULES])
    return name, {argument: rng.choice(values) for argument, values in RULES[name].items()}


def shown(steps):
    """A trace as lines of Python that run again with `World()` as `world`."""
    return "\n".join(
        f"world.{name}({', '.join(f'{key}={_literal(value)}' for key, value in arguments.items())})"
        for name, arguments in steps
    )


def _literal(value):
    return f"Version.{value.name}" if isinstance(value, Version) else repr(value)
