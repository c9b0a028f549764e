import pytest

from appliance.broker.connection import Connection, Stage
from appliance.mqtt.types import Version


def test_a_new_link_must_connect():
    connection = Connection(None, "10.0.0.7:4711", 100.0, 5.0)
    assert connection.stage is Stage.AWAIT_CONNECT
    assert repr(connection) == "Connection('10.0.0.7:4711', AWAIT_CONNECT)"
    connection.client_id = "attic"
    assert repr(connection) == "Connection('attic', AWAIT_CONNECT)"


def test_output_is_counted_and_the_link_noted_once():
    connection = Connection(None, "peer", 0.0, 5.0)
    dirty = []
    connection.put(b"123", dirty)
    connection.put(b"45", dirty)
    assert connection.output == [b"123", b"45"]
    assert connection.backlog == 5
    assert dirty == [connection]


FRESH = {
    "stage": Stage.AWAIT_CONNECT,
    "version": Version.MQTT_3_1_1,
    "v5": False,
    "client_id": "",
    "connect": None,
    "session": None,
    "will": None,
    "heard_at": 100.0,
    "grace_s": 5.0,
    "tail": bytearray(),
    "missing_bytes": 0,
    "output": [],
    "backlog": 0,
    "dirty": False,
    "held_bytes": 0,
    "held_messages": 0,
    "held_pubacks": 0,
    "aliases_in": None,
    "aliases_out": None,
    "max_packet_bytes": 0,
}


@pytest.mark.parametrize("name", FRESH)
def test_nothing_is_known_of_a_new_link(name):
    found = getattr(Connection("link", "peer", 100.0, 5.0), name)
    assert found == FRESH[name]
    assert type(found) is type(FRESH[name])
