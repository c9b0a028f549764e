import asyncio

import pytest
from sockets import loopback
from virtual import V5, V311, VirtualServer

from appliance.features.sys_topics import Load, SysTopics
from appliance.mqtt import codec
from appliance.mqtt.packets import PingReq, PubAck, Publish, Subscribe, Subscription
from appliance.mqtt.properties import Properties
from appliance.net.hub import Hub
from appliance.net.local import LocalClient

ROOT = "$SYS/broker/"
NAMES = """
bytes/received bytes/sent clients/active clients/connected clients/disconnected clients/expired clients/inactive
clients/maximum clients/total heap/current heap/maximum messages/received messages/sent messages/stored
publish/bytes/received publish/bytes/sent publish/messages/dropped publish/messages/received publish/messages/sent
shared_subscriptions/count store/messages/bytes store/messages/count subscriptions/count uptime version
"""
MOSQUITTOS = {*NAMES.split(), "retained messages/count"}  # but for the loads; tests/interop asks a real one


def figures(server):
    """The feature at work without a loop: the test calls its `tick`."""
    system = SysTopics(Hub(server.broker, clock=lambda: server.now), version="1.2.3", interval_s=10)
    server.broker.router.last.refresh_own = system.refresh
    return system


def tick(server, system):
    """Let one interval pass."""
    server.now += 10
    system.tick()
    server.settle()


@pytest.mark.parametrize(("minutes", "expected"), [(1, 63.2), (5, 99.3)])
def test_a_load_comes_near_the_rate(minutes, expected):
    load = Load()
    for step in range(1, 6 * minutes + 1):
        load.update(step * 100 // 6, 10)
    assert load.per_minute["1min"] == pytest.approx(expected, rel=0.02)
    assert load.per_minute["1min"] > load.per_minute["5min"] > load.per_minute["15min"]


def test_a_load_falls_when_nothing_happens():
    load = Load()
    load.update(100, 60)
    high = load.per_minute["1min"]
    load.update(100, 60)
    assert load.per_minute["1min"] == pytest.approx(high * 0.368, rel=0.01)


def everything(client):
    """Acknowledge until nothing more comes; what arrived, by topic without its root."""
    found = {}
    while packets := client.packets():
        for packet in packets:
            if isinstance(packet, Publish):
                found[packet.topic.removeprefix(ROOT)] = packet.payload.decode()
                client.send(PubAck(packet.packet_id))
    return found


def asked(server):
    """What somebody finds who subscribes now, and leaves again."""
    client = server.client("asks").subscribe("$SYS/#", qos=1)
    found = everything(client)
    client.lose()
    return found


def test_the_names_and_values_are_mosquittos():
    server = VirtualServer()
    system = figures(server)
    client = server.client("a", clean_start=False).subscribe("x/#", qos=1)
    server.client("b", V5).subscribe("$share/g/y")
    client.publish("x/1", b"1", retain=True).publish("x/2", b"2", qos=1)
    client.send(PingReq())
    client.lose()
    server.client("c").publish("x/3", b"333", qos=1)
    tick(server, system)
    bytes_received = server.broker.stats.bytes_received
    found = asked(server)
    loads = {name for name in found if name.startswith("load/")}
    assert set(found) - loads == MOSQUITTOS | {"messages/inflight"}
    assert loads == {
        f"load/{what}/{window}"
        for what in (
            *(f"{kind}/{way}" for kind in ("messages", "publish", "bytes") for way in ("received", "sent")),
            "publish/dropped",
            "sockets",
            "connections",
        )
        for window in ("1min", "5min", "15min")
    }
    assert {name: found[name] for name in found if name.startswith("clients/")} == {
        "clients/total": "4",  # three, and who asks
        "clients/connected": "3",
        "clients/active": "3",
        "clients/disconnected": "1",
        "clients/inactive": "1",
        "clients/maximum": "3",
        "clients/expired": "0",
    }
    assert found["version"] == "home-sensor-appliance version 1.2.3"
    assert found["uptime"] == "10 seconds"
    assert found["publish/messages/received"] == "3"
    assert found["publish/messages/sent"] == "2"
    assert found["publish/bytes/received"] == str((2 + 5 + 1) + (2 + 5 + 2 + 1) + (2 + 5 + 2 + 3))
    assert found["messages/received"] == "10"  # four CONNECT, three PUBLISH, two SUBSCRIBE, one PINGREQ
    assert found["messages/sent"] == "11"  # four CONNACK, two SUBACK, two PUBACK, one PINGRESP, two PUBLISH
    assert found["messages/inflight"] == "1"
    assert (found["store/messages/count"], found["messages/stored"]) == ("2", "2")
    assert found["retained messages/count"] == "1"
    assert found["subscriptions/count"] == "3"
    assert found["shared_subscriptions/count"] == "1"
    assert int(found["bytes/received"]) > bytes_received
    assert 1_000_000 < int(found["heap/current"]) <= int(found["heap/maximum"])
    assert float(found["load/publish/received/1min"]) == pytest.approx(2.76, abs=0.05)
    assert found["load/sockets/15min"] == found["load/connections/15min"] == "0.20"


def test_bytes_of_messages_are_counted_on_every_way():
    server = VirtualServer()
    client = server.client("a").subscribe("x", qos=1)
    server.client("five", V5).subscribe("x", qos=1)
    small = server.client("small", V5, properties=Properties(maximum_packet_size=40)).subscribe("x")
    stats = server.broker.stats
    sizes = []
    for size, qos in ((1, 0), (30, 0), (1, 1), (30, 1)):
        before = stats.publish_bytes_received, stats.publish_bytes_sent
        client.publish("x", bytes(size), qos=qos)
        sizes.append((stats.publish_bytes_received - before[0], stats.publish_bytes_sent - before[1]))
    # head 2, topic 3, packet id 2, properties 1
    assert sizes == [(6, 6 + 7 + 7), (35, 35 + 36 + 36), (8, 8 + 9 + 7), (37, 37 + 38 + 36)]
    two = codec.encode(Publish("x", b"1"), V311) + codec.encode(Publish("x", bytes(40)), V311)
    small.packets()
    before = stats.publish_bytes_received, stats.publish_bytes_sent
    client.send(two)
    assert small.messages() == [("x", b"1", 0)]
    assert (stats.publish_bytes_received - before[0], stats.publish_bytes_sent - before[1]) == (
        6 + 45,
        51 + 53 + 7,  # one of them is larger than the third takes
    )


def test_nothing_is_made_while_nobody_reads():
    server = VirtualServer()
    system = figures(server)
    server.client("a").subscribe("#").publish("x", retain=True)
    before = server.broker.stats.publish_sent
    for _ in range(10):
        tick(server, system)
    assert len(server.broker.router.last.own) == 0
    assert system._said == {}
    assert server.broker.stats.publish_sent == before


def test_who_begins_to_read_finds_everything_as_it_is_now():
    server = VirtualServer()
    figures(server)
    assert asked(server)["publish/messages/received"] == "0"
    server.client("a").publish("x").publish("x")
    server.now += 7
    found = asked(server)
    assert (found["publish/messages/received"], found["uptime"]) == ("2", "7 seconds")


def test_a_reader_hears_what_changed_and_only_that():
    server = VirtualServer()
    system = figures(server)
    reader = server.client("reader").subscribe("$SYS/broker/clients/#", qos=1)
    assert everything(reader)["clients/connected"] == "1"
    tick(server, system)
    assert everything(reader) == {}
    server.client("other")
    tick(server, system)
    assert everything(reader) == {
        "clients/connected": "2", "clients/active": "2", "clients/total": "2", "clients/maximum": "2"
    }  # fmt: skip
    reader.lose()
    server.now += 10
    said = dict(system._said)
    system.tick()
    assert system._said == said  # nobody is there any more


def test_the_figures_are_nobodys_messages():
    server = VirtualServer(max_retained_messages=1)
    system = figures(server)
    server.client("reader").subscribe("$SYS/#")
    server.client("everything").subscribe("#").publish("x", retain=True)
    for _ in range(3):
        tick(server, system)
    stats = server.broker.stats
    assert (stats.publish_received, stats.retained_now, dict(stats.dropped)) == (1, 1, {})
    assert len(server.broker.router.last.own) == len(system._said) > 50


def test_what_fails_is_told_by_cause():
    server = VirtualServer(max_subscriptions=1, session_expiry_s=5, max_connections=2)
    figures(server)
    server.client("gone", clean_start=False).lose()
    server.advance(6)
    client = server.client("a").publish("$SYS/broker/version", b"mine", qos=1)
    client.subscribe("x").subscribe("y")
    server.link()
    server.link()
    server.advance(6)
    client.send(b"\xc1\x00")
    found = asked(server)
    assert found["version"] != "mine"
    assert found["publish/messages/dropped"] == "1"
    assert found["clients/expired"] == "1"
    assert {name: found[name] for name in found if not name.startswith(("load/", "publish/")) and " " in name} == {
        "dropped/publishing to $ topics is the server's": "1",
        "refused/too many subscriptions": "1",
        "turned away/too many connections": "1",
        "turned away/no CONNECT in time": "1",
        "closed/malformed packet": "1",
        "retained messages/count": "0",
    }
    assert found["ended/expired"] == "1"


def test_a_real_client_reads_them_and_a_wildcard_does_not():
    async def scenario():
        async with loopback() as server:
            system = SysTopics(server.hub, version="1.2.3", interval_s=0.01)
            system.start()
            local = LocalClient(server.hub, "appliance")
            assert local.retained("$SYS/broker/version")[0].payload == b"home-sensor-appliance version 1.2.3"
            reader, all_others = await server.client("reader"), await server.client("all others")
            all_others.write(Subscribe(1, (Subscription("#"),)))
            await all_others.packet()
            wanted = {"$SYS/broker/version", "$SYS/broker/publish/messages/received"}
            reader.write(Subscribe(1, tuple(map(Subscription, wanted))))
            await reader.packet()
            assert {(await reader.packet()).topic for _ in wanted} == wanted
            all_others.write(Publish("a", b"1"))
            assert (await all_others.packet()).topic == "a"
            assert await reader.packet() == Publish("$SYS/broker/publish/messages/received", b"1")  # it goes on
            system.close()

    asyncio.run(scenario())
