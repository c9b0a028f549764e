from appliance.broker.connection import Connection, Stage


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
