import asyncio

import pytest
from sockets import loopback, until
from virtual import V5, VirtualServer

from appliance.features.sys_topics import Load, SysTopics
from appliance.mqtt.packets import PingReq, Publish, Subscribe, Subscription
from appliance.net.local import LocalClient


class Said(dict):
    """What was published, by topic without its root."""

    def publish(self, topic, payload, *, qos, retain):
        assert qos == 1
        assert retain
        self[topic.removeprefix("$SYS/broker/")] = payload.decode()


def figures(server):
    said = Said()
    return SysTopics(server.broker, said, version="1.2.3", interval_s=10, clock=lambda: server.now), said


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


def test_the_names_and_values_are_mosquittos():
    server = VirtualServer()
    system, said = figures(server)
    client = server.client("a", clean_start=False).subscribe("x/#", qos=1)
    server.client("b", V5).subscribe("$share/g/y")
    client.publish("x/1", b"1", retain=True).publish("x/2", b"2", qos=1)
    client.send(PingReq())
    client.lose()
    client = server.client("c").publish("x/3", b"333", qos=1)
    server.now += 10
    system.tell(server.now)
    assert said["uptime"] == "10 seconds"
    assert {name: said[f"clients/{name}"] for name in ("total", "connected", "active", "disconnected", "inactive")} == {
        "total": "3",
        "connected": "2",
        "active": "2",
        "disconnected": "1",
        "inactive": "1",
    }
    assert said["clients/maximum"] == "2"
    assert said["publish/messages/received"] == "3"
    assert said["publish/messages/sent"] == "2"
    assert said["messages/received"] == "6"  # three PUBLISH, two SUBSCRIBE, one PINGREQ
    assert said["messages/inflight"] == "1"
    assert said["store/messages/count"] == "2"
    assert said["retained messages/count"] == "1"
    assert said["subscriptions/count"] == "2"
    assert said["shared_subscriptions/count"] == "1"
    assert int(said["bytes/received"]) > 100
    assert float(said["load/publish/received/1min"]) == pytest.approx(2.76, abs=0.05)
    assert float(said["load/connections/15min"]) > 0


def test_only_what_changed_is_said_again():
    server = VirtualServer()
    system, said = figures(server)
    system.tell(server.now)
    said.clear()
    server.now += 10
    system.tell(server.now)
    assert set(said) == {"uptime"}


def test_what_is_dropped_is_told_by_cause():
    server = VirtualServer()
    system, said = figures(server)
    server.client("a").publish("$SYS/broker/version", b"mine", qos=1)
    system.tell(server.now + 1)
    assert said["publish/messages/dropped"] == "1"
    assert said["dropped/to a topic of the server's own"] == "1"


def test_expired_sessions_are_counted():
    server = VirtualServer(session_expiry_s=5)
    system, said = figures(server)
    server.client("a", clean_start=False).lose()
    server.advance(6)
    system.tell(server.now)
    assert said["clients/expired"] == "1"


def test_a_real_client_reads_them_and_a_wildcard_does_not():
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "appliance")
            system = SysTopics(server.broker, local, version="1.2.3", interval_s=0.01, clock=server.hub.clock)
            system.start()
            reader, everything = await server.client("reader"), await server.client("everything")
            everything.write(Subscribe(1, (Subscription("#"),)))
            await everything.packet()
            reader.write(Subscribe(1, (Subscription("$SYS/broker/version"), Subscription("$SYS/broker/clients/total"))))
            await reader.packet()
            got = {(await reader.packet()).topic for _ in range(2)}
            assert got == {"$SYS/broker/version", "$SYS/broker/clients/total"}
            await until(lambda: "$SYS/broker/load/bytes/sent/1min" in server.broker.router.retained.topics("$SYS/#"))
            everything.write(Publish("a", b"1"))
            assert (await everything.packet()).topic == "a"
            system.close()

    asyncio.run(scenario())
