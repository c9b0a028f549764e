"""The same traces on our service and on Debian's Mosquitto: equal where both must agree, else known to differ."""

import random
from typing import NamedTuple

import pytest
from model.player import Player, random_step, shown
from model.state import V5, V31, V311
from mosquitto_peer import BINARY, Mosquitto
from service import CONFIG, Service

TRACES, STEPS = 8, 60

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(BINARY is None, reason="no Mosquitto here; apt install mosquitto"),
]

SETTINGS = ("max_inflight_messages 100", "max_queued_messages 8192")  # as ours


@pytest.fixture(scope="module")
def brokers(tmp_path_factory):
    """Both; each player begins with tidying up."""
    tmp_path = tmp_path_factory.mktemp("brokers")
    service = Service(
        tmp_path / "service", CONFIG.replace("[store]", "[store]\nenabled = false")
    )  # Mosquitto keeps nothing either
    try:
        with Mosquitto(tmp_path, *SETTINGS) as mosquitto:
            yield mosquitto, service
            service.check()
        assert "Traceback" not in service.last_words()
    finally:
        service.stop()


# --- what is known to differ ---


def connect(who, version=V5, **fields):
    usual = {"clean": True, "expiry": None, "will": None, "will_qos": 0, "will_retain": False}
    return "connect", usual | {"who": who, "version": version} | fields


def subscribe(who, *filters, qos=0, **fields):
    usual = {"no_local": False, "as_published": False, "handling": 0, "identifier": None}
    return "subscribe", usual | {"who": who, "filters": filters, "qos": qos} | fields


def publish(who, topic, qos=0, **fields):
    usual = {"retain": False, "size": 1, "more": None, "again": False}
    return "publish", usual | {"who": who, "topic": topic, "qos": qos} | fields


PLAIN = False, False, (None, (), None, None, None, ())  # not retained, not again, without properties


def message(topic, number, qos=0, *, retain=False, again=False, identifiers=()):
    payload = b"%05dx" % number
    return "message", topic, qos, payload, retain, again, (None, (), None, None, None, identifiers)


class Difference(NamedTuple):
    name: str
    why: str  # ours is as it is
    trace: list
    theirs: dict  # what the last step brings to whom
    ours: dict


DIFFERENCES = [
    Difference(
        "the reason for a take-over",
        "MQTT 5 §4.13.1 wants a DISCONNECT with the reason, Mosquitto 2.0.11 closes without one",
        [connect(0), connect(0)],
        {0: [("connack", 0, False)]},
        {0: [("before", "disconnect", 0x8E), ("connack", 0, False)]},
    ),
    Difference(
        "a will at a take-over",
        "[MQTT-3.1.2-8]: only a DISCONNECT takes a will back",
        [connect(1, V311), subscribe(1, "w"), connect(0, V311, clean=False, will="w"), connect(0, V311, clean=False)],
        {0: [("connack", 0, True)]},
        {0: [("connack", 0, True)], 1: [("message", "w", 0, b"00001xxxxx", *PLAIN)]},
    ),
    Difference(
        "overlapping filters of an MQTT 5 client",
        "one copy at the highest QoS with all identifiers, as [MQTT-3.3.4-2] has it; §3.3.4 leaves one for each open",
        [
            connect(0),
            subscribe(0, "a/#", qos=0, identifier=1),
            subscribe(0, "+", qos=1, identifier=2),
            connect(1),
            publish(1, "a", 1),
        ],
        {0: [message("a", 1, 0, identifiers=(1,)), message("a", 1, 1, identifiers=(2,))], 1: [("puback", 1, 0)]},
        {0: [message("a", 1, 1, identifiers=(1, 2))], 1: [("puback", 1, 0)]},
    ),
    Difference(
        "overlapping filters of an older client",
        "[MQTT-3.3.5-1] of 3.1.1 asks for the highest QoS, Mosquitto takes that of the filter it finds first",
        [connect(0, V311), subscribe(0, "a/#", qos=0), subscribe(0, "#", qos=1), connect(1, V311), publish(1, "a", 1)],
        {0: [message("a", 1, 0)], 1: [("puback", 1, 0)]},
        {0: [message("a", 1, 1)], 1: [("puback", 1, 0)]},
    ),
    Difference(
        "options of a subscription that is made again",
        "[MQTT-3.8.4-3]: the new one replaces the old one, of which Mosquitto 2.0.11 keeps all but QoS and identifier",
        [connect(0), subscribe(0, "a"), subscribe(0, "a", as_published=True, handling=2), publish(0, "a", retain=True)],
        {0: [message("a", 1)]},
        {0: [message("a", 1, retain=True)]},
    ),
    Difference(
        "retained messages to a shared subscription",
        "MQTT 5 §4.8.2: they are not sent when one is made",
        [connect(0), publish(0, "a", retain=True), subscribe(0, "$share/g/a")],
        {0: [("suback", 7, (0,)), message("a", 1, retain=True)]},
        {0: [("suback", 7, (0,))]},
    ),
    Difference(
        "a shared subscription beside another one of an older client",
        "MQTT 5 §4.8.2: the one brings a copy whatever the other does",
        [connect(0, V311), subscribe(0, "a"), subscribe(0, "$share/g/a"), publish(0, "a")],
        {0: [message("a", 1)]},
        {0: [message("a", 1), message("a", 1)]},
    ),
    Difference(
        "when a message of QoS 2 goes on",
        "MQTT 5 §4.3.3 leaves it open; ours is on its way at once, Mosquitto waits for PUBREL",
        [connect(0), subscribe(0, "a"), connect(1), publish(1, "a", 2)],
        {1: [("pubrec", 1, 0)]},
        {0: [message("a", 1)], 1: [("pubrec", 1, 0)]},
    ),
    Difference(
        "Receive Maximum of a client that comes back",
        "[MQTT-3.3.4-9] counts what is sent again too, Mosquitto sends all of it at once",
        [
            connect(0, clean=False, expiry=600),
            subscribe(0, "a", qos=1),
            connect(1),
            publish(1, "a", 1),
            publish(1, "a", 1),
            publish(1, "a", 1),
            ("lose", {"who": 0}),
            connect(0, clean=False, expiry=600, window=2),
        ],
        {0: [("connack", 0, True), *(message("a", number, 1, again=True) for number in (1, 2, 3))]},
        {0: [("connack", 0, True), *(message("a", number, 1, again=True) for number in (1, 2))]},
    ),
    Difference(
        "Receive Maximum after an acknowledgement",
        "[MQTT-3.3.4-9]: what the client has room for, Mosquitto 2.0.11 sends one message more",
        [
            connect(0, window=2),
            subscribe(0, "a", qos=1),
            connect(1),
            *[publish(1, "a", 1)] * 4,
            ("acknowledge", {"who": 0, "how": "next"}),
        ],
        {0: [message("a", 3, 1), message("a", 4, 1)]},
        {0: [message("a", 3, 1)]},
    ),
    Difference(
        "a PUBREC for nothing",
        "MQTT 5 §3.6.2.1 has a reason code for it, Mosquitto says success",
        [connect(0), ("acknowledge", {"who": 0, "how": "unknown"})],
        {0: [("pubrel", "of nothing", 0)]},
        {0: [("pubrel", "of nothing", 0x92)]},
    ),
    Difference(
        "a wildcard in a topic name",
        "0x90 says what is wrong, Mosquitto's 0x82 that something is",
        [connect(0), ("offend", {"who": 0, "how": "wildcard"})],
        {0: [("disconnect", 0x82), ("closed",)]},
        {0: [("disconnect", 0x90), ("closed",)]},
    ),
    Difference(
        "a second CONNECT",
        "§4.13.1 wants the reason told, [MQTT-3.1.2-8] the will; Mosquitto does neither and forgets the session",
        [connect(1), subscribe(1, "w"), connect(0, will="w"), ("offend", {"who": 0, "how": "connect again"})],
        {0: [("closed",)]},
        {0: [("disconnect", 0x82), ("closed",)], 1: [("message", "w", 0, b"00001xxxxx", *PLAIN)]},
    ),
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_known_difference(brokers, difference):
    theirs, ours = brokers
    with Player(theirs.port, careful=False) as player:
        assert [player.do(*step) for step in difference.trace][-1] == difference.theirs
    with Player(ours.port, careful=False) as player:
        assert [player.do(*step) for step in difference.trace][-1] == difference.ours


# --- what must not ---


def common(noted):
    """What a step brought, without what the brokers are known to say differently."""
    left = {}
    for who, words in noted.items():
        left[who] = []
        for word in words:
            match word:
                case ("before", "disconnect", 0x8E):  # see "the reason for a take-over"
                    continue
            left[who].append(word)
    return {who: words for who, words in left.items() if words}


def compare(brokers, rng):
    """Do a trace on both; gives how much was sent by it."""
    theirs, ours = brokers
    trace, sent = [], 0
    with Player(theirs.port) as one, Player(ours.port) as other:
        while len(trace) < STEPS:
            step = random_step(rng)
            if not one.can(*step):
                continue
            trace.append(step)
            there, here = common(one.do(*step)), common(other.do(*step))
            assert here == there, f"after\n{shown(trace)}"
            sent += sum(len(words) for words in here.values())
    return sent


@pytest.mark.parametrize("seed", range(TRACES))
def test_both_brokers_send_the_same(brokers, seed):
    assert compare(brokers, random.Random(seed)) > STEPS / 2  # it was not about nothing


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1_000, 1_100))
def test_both_brokers_send_the_same_in_a_hundred_more_traces(brokers, seed):
    assert compare(brokers, random.Random(seed)) > STEPS / 2


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_a_player_notes_what_comes_and_what_was_left(brokers, version):
    for broker in brokers:
        with Player(broker.port) as player:
            assert player.do(*connect(0, version)) == {0: [("connack", 0, False)]}
            assert player.do(*subscribe(0, "a", qos=2)) == {0: [("suback", 7, (2,))]}
            noted = player.do(*publish(0, "a", 2))
            assert noted == {0: [("pubrec", 1, 0), ("pubcomp", 1, 0), message("a", 1, 2)]}
            assert player.do("acknowledge", {"who": 0, "how": "all"}) == {0: [("pubrel", b"00001x", 0)]}
            assert player.do("acknowledge", {"who": 0, "how": "all"}) == {}
            assert player.do("lose", {"who": 0}) == {}
            assert player.do(*publish(0, "a")) == {}
