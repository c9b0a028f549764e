"""gmqtt at our broker: a client for asyncio with a codec of its own, so that not all our peers share paho's."""

import asyncio
from contextlib import asynccontextmanager

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from raw import PATIENCE_S

pytestmark = pytest.mark.interop

VERSIONS = [MQTTv311, MQTTv50]


@asynccontextmanager
async def joined(service, client_id, version, **options):
    """A connected client; what it receives as (topic, payload, qos, retain, user properties) is in `messages`."""
    client = gmqtt.Client(client_id, **options)
    client.messages, subscribed = asyncio.Queue(), asyncio.Queue()

    def on_message(_client, topic, payload, qos, properties):
        client.messages.put_nowait(
            (topic, payload, qos, properties["retain"], dict(properties.get("user_property", ())))
        )
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda _client, _mid, granted, _properties: subscribed.put_nowait(tuple(granted))

    async def subscribe(*arguments, **more):
        client.subscribe(*arguments, **more)
        async with asyncio.timeout(PATIENCE_S):
            return await subscribed.get()

    async def message():
        async with asyncio.timeout(PATIENCE_S):
            return await client.messages.get()

    client.granted, client.message = subscribe, message
    await client.connect("127.0.0.1", service.port, version=version)
    try:
        yield client
    finally:
        await client.disconnect()


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("reader_version", VERSIONS)
@pytest.mark.parametrize("writer_version", VERSIONS)
def test_messages_of_every_qos(service, writer_version, reader_version, qos):
    async def scenario():
        async with (
            joined(service, "gmqtt-reader", reader_version) as reader,
            joined(service, "gmqtt-writer", writer_version) as writer,
        ):
            assert await reader.granted("home/+/temperature", qos=qos) == (qos,)
            for number in range(50):
                writer.publish(f"home/room{number}/temperature", f"{number}.5", qos=qos)
            for number in range(50):
                topic, payload, got_qos, retain, _ = await reader.message()
                assert (topic, payload, got_qos) == (f"home/room{number}/temperature", b"%d.5" % number, qos)
                assert not retain

    asyncio.run(scenario())


@pytest.mark.parametrize("version", VERSIONS)
def test_retained_messages_and_the_will(service, version):
    async def scenario():
        topic = f"gmqtt/{version}/availability"
        will = gmqtt.Message(topic, "offline", qos=1, retain=True)
        async with joined(service, "gmqtt-watcher", version) as watcher:
            await watcher.granted(topic, qos=1)
            async with joined(service, f"gmqtt-agent-{version}", version, will_message=will) as agent:
                agent.publish(topic, "online", qos=1, retain=True)
                assert (await watcher.message())[1] == b"online"
                agent._is_active = False  # it shall not come back
                agent._connection._transport.abort()  # the link is cut
                assert (await watcher.message())[1] == b"offline"
        async with joined(service, "gmqtt-late", version) as late:
            await late.granted(topic, qos=1)
            assert (await late.message())[:4] == (topic, b"offline", 1, 1)

    asyncio.run(scenario())


def test_properties_travel(service):
    async def scenario():
        async with (
            joined(service, "gmqtt-reader", MQTTv50) as reader,
            joined(service, "gmqtt-writer", MQTTv50) as writer,
        ):
            await reader.granted("gmqtt/properties", qos=1)
            writer.publish("gmqtt/properties", "21.4", qos=1, user_property=[("agent", "attic")], content_type="number")
            topic, payload, _, _, user_properties = await reader.message()
            assert (topic, payload, user_properties) == ("gmqtt/properties", b"21.4", {"agent": "attic"})

    asyncio.run(scenario())
