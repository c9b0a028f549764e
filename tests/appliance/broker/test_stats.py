from virtual import V5, VirtualServer

from appliance.broker.message import Message
from appliance.broker.stats import Stats
from appliance.mqtt import codec
from appliance.mqtt.packets import PingReq, Publish, PubRel
from appliance.mqtt.properties import Properties


def test_everything_starts_at_nothing():
    stats = Stats()
    assert all(getattr(stats, name) in (0, {}) for name in Stats.__slots__)
    stats.dropped["queue full"] += 1
    assert dict(stats.dropped) == {"queue full": 1}


def test_a_conversation_is_counted_packet_by_packet():
    """Three times each kind, so that no counter is merely set."""
    server = VirtualServer()
    stats = server.broker.stats
    client = server.client("c", V5, clean_start=True)
    received, sent = stats.others_received, stats.others_sent
    for number in (1, 2, 3):
        client.subscribe(f"t/{number}", qos=2)
    for qos in range(3):
        for packet_id in (1, 2, 3):
            client.publish(f"t/{packet_id}", b"x", qos=qos, packet_id=packet_id if qos else None)
    client.send(b"".join(codec.encode(Publish("t/1", b"run"), V5) for _ in range(3)))
    for _ in range(3):
        client.send(PingReq())
    assert (stats.publish_received, stats.publish_sent) == (12, 12)
    assert stats.others_received == received + 6  # SUBSCRIBE and PINGREQ
    assert stats.others_sent == sent + 12  # their answers, and six receipts
    for packet_id in (1, 2, 3):
        client.send(PubRel(packet_id))
    assert (stats.others_received, stats.others_sent) == (received + 9, sent + 15)
    assert stats.bytes_received > 0
    before = stats.bytes_received
    client.send(PingReq())
    assert stats.bytes_received == before + 2
    for number in range(3):
        server.client(f"brief {number}", V5, properties=Properties(session_expiry_interval=5)).lose()
    assert stats.connections_total == 4
    assert (stats.clients_now, stats.sessions_now) == (1, 4)
    server.advance(6)
    assert (stats.clients_now, stats.sessions_now) == (1, 1)
    received = stats.publish_received
    for _ in range(3):
        server.broker.publish(Message("ours", b"x"), server.now)
    server.broker.publish(Message("$SYS/x", b"x"), server.now)  # our own figures are nobody's message
    assert stats.publish_received == received + 3
