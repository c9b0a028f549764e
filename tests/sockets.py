"""A real broker on loopback and raw sockets to it, in the test's own event loop."""

import asyncio
from contextlib import asynccontextmanager, suppress

from appliance.broker.core import Broker
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import Version
from appliance.net.hub import Hub, next_client_id
from appliance.net.tcp import TcpListener
from appliance.settings import Limits

PATIENCE_S = 10


class RawClient:
    """One socket that speaks packets."""

    def __init__(self, reader, writer, version):
        self.reader, self.writer, self.version = reader, writer, version
        self._stream = PacketStream(version)

    def write(self, packet):
        self.writer.write(packet if isinstance(packet, bytes) else codec.encode(packet, self.version))

    async def packet(self):
        """The next packet; None when the server closed."""
        async with asyncio.timeout(PATIENCE_S):
            while (packet := self._stream.next_packet()) is None:
                try:
                    data = await self.reader.read(65_536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._stream.feed(data)
            return packet

    async def close(self):
        self.writer.close()
        with suppress(ConnectionError):  # the server may be quicker
            await self.writer.wait_closed()


class LoopbackServer:
    def __init__(self, hub, listener):
        self.hub, self.listener, self.broker = hub, listener, hub.broker
        self.clients = []
        self.open = lambda **how: asyncio.open_connection("127.0.0.1", listener.port, **how)

    async def link(self, version=Version.MQTT_3_1_1):
        reader, writer = await self.open()
        client = RawClient(reader, writer, version)
        self.clients.append(client)
        return client

    async def client(self, client_id="", version=Version.MQTT_3_1_1, **fields):
        client = await self.link(version)
        client.write(Connect(client_id=client_id, version=version, **fields))
        assert isinstance(await client.packet(), ConnAck)
        return client


@asynccontextmanager
async def loopback(authenticator=None, listen=None, journal=None, **limits):
    """Serve on loopback; `listen(hub)` gives another listener than that of plain TCP."""
    hub = Hub(Broker(Limits(**limits), next_client_id=next_client_id, journal=journal), authenticator)
    hub.start()
    listener = listen(hub) if listen else await TcpListener.open(hub, "127.0.0.1", 0)
    server = LoopbackServer(hub, listener)
    try:
        yield server
    finally:
        closed = listener.close()
        if closed is not None:
            await closed
        await hub.stop()
        for client in server.clients:
            await client.close()


async def until(condition):
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 what is waited for tells nobody
            await asyncio.sleep(0.005)
