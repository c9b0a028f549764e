import pytest
from sockets import loopback, until

from appliance.mqtt.errors import MqttError
from appliance.mqtt.packets import Publish, Subscribe, Subscription
from appliance.net.local import LocalClient


def test_publishing_reaches_real_clients_and_retains(run):
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "page")
            client = await server.client("a")
            client.write(Subscribe(1, (Subscription("home/#"),)))
            await client.packet()
            local.publish("home/hall/relay/set", b"ON")
            assert await client.packet() == Publish("home/hall/relay/set", b"ON")
            local.publish("home/hall/relay", b"ON", retain=True)
            assert [message.payload for message in local.retained("home/#")] == [b"ON"]

    run(scenario())


def test_subscribing_brings_the_retained_now_and_the_live_later(run):
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "page")
            local.publish("b", b"1", retain=True)
            local.publish("a", b"0", retain=True)
            got = []
            stop = local.subscribe("#", lambda message: got.append((message.topic, message.payload, message.retain)))
            assert got == [("a", b"0", True), ("b", b"1", True)]
            client = await server.client("a")
            client.write(Publish("b", b"2", retain=True))
            client.write(Publish("c", b"3"))
            await until(lambda: len(got) == 4)
            assert got[2:] == [("b", b"2", False), ("c", b"3", False)]
            stop()
            local.publish("b", b"4")
            assert len(got) == 4
            assert not server.broker.router._tree._root.children

    run(scenario())


def test_a_reader_that_fails_on_what_is_retained_is_subscribed_all_the_same(run, caplog):
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "page")
            local.publish("a", b"0", retain=True)
            got = []

            def failing_first(message):
                if message.retain:
                    raise RuntimeError("planted")
                got.append(message.payload)

            stop = local.subscribe("a", failing_first)
            local.publish("a", b"1")
            assert got == [b"1"]
            stop()
            assert not server.broker.router._tree._root.children

    run(scenario())
    assert "page failed on a message of a" in caplog.text


def test_a_reader_that_fails_keeps_the_message_from_nobody(run, caplog):
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "page")
            got = []

            def failing(_message):
                raise RuntimeError("planted")

            local.subscribe("a", failing)
            local.subscribe("a", got.append)
            local.publish("a", b"1")
            assert [message.payload for message in got] == [b"1"]

    run(scenario())
    assert "planted" in caplog.text


def test_bad_names_are_errors(run):
    async def scenario():
        async with loopback() as server:
            local = LocalClient(server.hub, "page")
            with pytest.raises(MqttError):
                local.publish("a/#", b"")
            with pytest.raises(MqttError):
                local.subscribe("a#", print)

    run(scenario())
