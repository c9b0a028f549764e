"""A device cannot pass its readings off as another agent's, before nobody."""

import pytest
from virtual import V5, VirtualServer

from appliance.auth.acl import Granted
from appliance.broker.origin import held_to, may_speak_for
from appliance.broker.rights import ALL_RIGHTS
from appliance.mqtt.packets import PubAck, Publish, Will
from appliance.mqtt.properties import Properties, decode_properties, encode_property_block

ATTIC = Granted(["home/#"], [], agent="attic")
NARROW = Granted(["home/attic/x", "home/devices/attic/#"], ["#"], agent="attic")
NOBODY = Granted(["home/attic/x"], [], agent="")


def block(*pairs, **more):
    return encode_property_block(Properties(user_property=pairs, **more))


OWN, FALSE, RUN = ("agent", "attic"), ("agent", "kitchen"), ("run", "3")
CASES = [
    (NARROW, [OWN, RUN], {}, [OWN, RUN]),
    (NARROW, [FALSE, RUN], {}, [RUN]),
    (NARROW, [RUN, OWN, FALSE, OWN], {"content_type": "text"}, [RUN, OWN, OWN]),
    (NARROW, [("agent", "attic2")], {}, []),
    (NARROW, [("agent", "kitchen/x")], {}, []),
    (NARROW, [("note", "x"), FALSE], {"correlation_data": b"&\0\5agent\0\5attic"}, [("note", "x")]),
    (NARROW, [RUN], {"correlation_data": b"&\0\5agent\0\7kitchen"}, [RUN]),
    (NOBODY, [OWN], {}, []),
    (ATTIC, [FALSE], {}, [FALSE]),  # who may describe an agent speaks for it
    (ALL_RIGHTS, [FALSE], {}, [FALSE]),
    (Granted(["home/attic/x"], []), [FALSE], {}, [FALSE]),  # no device
]


@pytest.mark.parametrize(("rights", "said", "more", "kept"), CASES)
def test_what_is_left_of_what_a_message_says_of_itself(rights, said, more, kept):
    before = block(*said, **more)
    after = held_to(rights, before, "home")
    assert decode_properties(after) == Properties(user_property=tuple(kept), **more)
    assert (after is before) is (kept == said)


def test_who_speaks_for_whom():
    assert may_speak_for("attic", NARROW, "home")
    assert not may_speak_for("kitchen", NARROW, "home")
    assert may_speak_for("kitchen", ATTIC, "home")
    assert not may_speak_for("kitchen", ATTIC, "barn")
    assert not may_speak_for("attic", NOBODY, "home")


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_no_reader_sees_an_agent_that_its_publisher_is_not(qos, retain):
    server = VirtualServer(authorize=lambda *_: NARROW, site="home")
    reader = server.client("reader", V5).subscribe("#", qos=2)
    reader.packets()
    attic = server.client("attic", V5)
    for number, said in enumerate(((OWN, RUN), (FALSE, RUN))):
        packet_id = number + 1 if qos else None
        properties = Properties(user_property=said)
        attic.publish("home/attic/x", b"1", qos=qos, packet_id=packet_id, retain=retain, properties=properties)
    got = [packet for packet in reader.packets() if isinstance(packet, Publish)]
    assert [(packet.payload, packet.properties.user_property) for packet in got] == [(b"1", (OWN, RUN)), (b"1", (RUN,))]
    assert server.broker.stats.disowned == 1
    if qos == 1:
        assert [packet.packet_id for packet in attic.packets() if isinstance(packet, PubAck)] == [1, 2]
    if retain:
        late = server.client("late", V5).subscribe("#")
        (kept,) = (packet for packet in late.packets() if isinstance(packet, Publish))
        assert kept.properties.user_property == (RUN,)


def test_nor_in_a_will():
    server = VirtualServer(authorize=lambda *_: NARROW, site="home")
    reader = server.client("reader", V5).subscribe("#")
    reader.packets()
    will = Will("home/attic/x", b"gone", properties=Properties(user_property=(FALSE, RUN)))
    server.client("attic", V5, will=will).lose()
    (told,) = (packet for packet in reader.packets() if isinstance(packet, Publish))
    assert told.properties.user_property == (RUN,)
