"""Who reads a topic, and as whom."""

from virtual import V5, VirtualServer, pair


def test_overlapping_filters_bring_one_copy_at_the_highest_qos_with_all_identifiers():  # [MQTT-3.3.5-1]
    server = VirtualServer()
    client = server.client("five", V5)
    for number, (topic_filter, qos) in enumerate([("a/b", 0), ("a/+", 2), ("#", 1)], start=1):
        client.subscribe(topic_filter, qos=qos, identifier=number)
    client.packets()
    server.client("other").publish("a/b", qos=2)
    (message,) = client.packets()
    assert message.qos == 2
    assert sorted(message.properties.subscription_identifier) == [1, 2, 3]


def test_topics_with_the_same_readers_share_an_audience():
    server, one, _ = pair()
    one.publish("a").publish("b")
    routes = server.broker.router.routes
    assert routes[b"a"].audience is routes[b"b"].audience
