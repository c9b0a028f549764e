"""MQTT over WebSocket on the page's port, with the library's own client and with frames made by hand."""

import asyncio
import os
import struct
from contextlib import asynccontextmanager, suppress

import pytest
from authority import Authority
from raw import ACCEPTED, PINGREQ, PINGRESP, connect, puback, publish, subscribe
from sockets import PATIENCE_S, until
from webserver import page
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.server import ServerProtocol

from appliance.features.web.server import Door
from appliance.mqtt import codec
from appliance.mqtt.packets import Connect, Disconnect, PingResp
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import ReasonCode, Version
from appliance.net import websocket
from appliance.net.certificates import server_context
from appliance.net.handshakes import RECORD_BYTES
from appliance.net.websocket import SUBPROTOCOLS, WebSocketLink, select_subprotocol

BINARY, TEXT, CONTINUED, CLOSE, PING, PONG = 0x2, 0x1, 0x0, 0x8, 0x9, 0xA


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class Client:
    """MQTT packets over one WebSocket; frames may be cut anywhere."""

    def __init__(self, socket, version=Version.MQTT_3_1_1):
        self.socket = socket
        self._stream = PacketStream(version)
        self._bytes = b""

    async def send(self, *data):
        for piece in data:
            await self.socket.send(piece)

    async def expect(self, wanted):
        async with asyncio.timeout(PATIENCE_S):
            while len(self._bytes) < len(wanted):
                self._bytes += await self.socket.recv()
        assert self._bytes[: len(wanted)] == wanted
        self._bytes = self._bytes[len(wanted) :]

    async def packet(self):
        async with asyncio.timeout(PATIENCE_S):
            while (packet := self._stream.next_packet()) is None:
                self._stream.feed(await self.socket.recv())
            return packet

    async def closed(self):
        """Wait for the end; gives its code."""
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionClosedError):  # any end but that of 1000 and 1001
                async for _ in self.socket:
                    pass
        return self.socket.close_code


class Page:
    """The page, and clients of its /mqtt."""

    def __init__(self, served, port=None, **options):
        self.served, self.hub, self.broker = served, served.broker.hub, served.broker.broker
        scheme = "wss" if "ssl" in options else "ws"
        self.url = f"{scheme}://127.0.0.1:{port or served.port}/mqtt"
        self.options = options

    @asynccontextmanager
    async def link(self, version=Version.MQTT_3_1_1, **options):
        wanted = {"subprotocols": ["mqtt"], "compression": None, "proxy": None, **self.options, **options}
        async with open_websocket(self.url, **wanted) as socket:
            yield Client(socket, version)

    @asynccontextmanager
    async def client(self, client_id="", version=Version.MQTT_3_1_1, **options):
        async with self.link(version, **options) as client:
            await client.send(codec.encode(Connect(client_id=client_id, version=version), version))
            await client.packet()
            yield client

    @asynccontextmanager
    async def raw(self):
        """A connection that has switched protocols, for frames made by hand."""
        async with self.served.link() as (reader, writer):
            writer.write(UPGRADE.replace(b"PORT", str(self.served.port).encode()))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            yield reader, writer


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def frame(opcode, payload=b"", *, last=True, length=None):
    """A client's frame, masked with zeros."""
    size = len(payload) if length is None else length
    head = bytes([0x80 * last | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + struct.pack("!H", size)
    else:
        head += b"\xff" + struct.pack("!Q", size)
    return head + b"\0\0\0\0" + payload


async def answer(reader):
    """The server's next frame: opcode and payload."""
    async with asyncio.timeout(PATIENCE_S):
        first, size = await reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        return first & 0xF, await reader.readexactly(size)


@pytest.fixture
def serve(run, tmp_path):
    """Run a scenario with a page on both kinds of loop; `limits` are the broker's."""

    def serve(scenario, **limits):
        async def whole():
            async with page(tmp_path, **limits) as served:
                await scenario(Page(served))
                await until(lambda: not any(isinstance(link, WebSocketLink) for link in served.broker.hub.links))

        run(whole())

    return serve


@pytest.mark.parametrize("version", [Version.MQTT_3_1_1, Version.MQTT_5])
def test_a_message_crosses_to_another_kind_of_link(serve, version):
    async def scenario(page):
        async with page.client("reader", version) as reader:
            tcp = await page.served.broker.client("writer")
            await reader.send(b"\x82\x0c\x00\x01\x00" + b"\x00\x06home/#\x01" if version is Version.MQTT_5 else
                              subscribe("home/#", qos=1))  # fmt: skip
            assert (await reader.packet()).packet_id == 1
            tcp.write(publish("home/kitchen/temperature", b"21.4", 1, 9))
            await tcp.packet()
            message = await reader.packet()
            assert (message.topic, message.payload, message.packet_id) == ("home/kitchen/temperature", b"21.4", 1)
            assert reader.socket.subprotocol == "mqtt"
            assert page.broker.sessions["reader"].connection.peer.startswith("127.0.0.1:")

    serve(scenario)


CUTS = [
    ("one frame", lambda whole: [whole]),
    ("single bytes", lambda whole: [whole[i : i + 1] for i in range(len(whole))]),
    ("with empty frames", lambda whole: [b"", whole[:5], b"", whole[5:], b""]),
]


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_packets_share_frames_and_span_them(serve, name, cut):  # noqa: ARG001
    """[MQTT-6.0.0-2]"""

    async def scenario(page):
        async with page.link() as client:
            await client.send(*cut(connect("a") + subscribe("t") + publish("t", b"1") + PINGREQ))
            await client.expect(ACCEPTED + b"\x90\x03\x00\x01\x00" + publish("t", b"1") + PINGRESP)

    serve(scenario)


def test_fragments_of_one_message(serve):
    async def scenario(page):
        async with page.raw() as (reader, writer):
            whole = connect("a") + PINGREQ
            pieces = [frame(BINARY, whole[:3], last=False), frame(PING, b"between"), frame(CONTINUED, whole[3:])]
            writer.write(b"".join(pieces))
            assert await answer(reader) == (PONG, b"between")
            assert await answer(reader) == (BINARY, ACCEPTED + PINGRESP)

    serve(scenario)


@pytest.mark.parametrize("offered", [["mqtt"], ["mqttv3.1"], ["other", "mqtt"], ["mqttv3.1", "mqtt"]])
def test_subprotocols(serve, offered):
    """[MQTT-6.0.0-4]"""

    async def scenario(page):
        async with page.client(subprotocols=offered) as client:
            assert client.socket.subprotocol == ("mqtt" if "mqtt" in offered else "mqttv3.1")

    serve(scenario)


@pytest.mark.parametrize("offered", [None, ["other"], ["MQTT"]])
def test_who_does_not_ask_for_mqtt_is_told_to(serve, offered):
    """[MQTT-6.0.0-3]"""

    async def scenario(page):
        with pytest.raises(InvalidStatus) as caught:
            async with page.link(subprotocols=offered):
                pass
        assert caught.value.response.status_code == 400
        assert b"ask for the subprotocol mqtt" in caught.value.response.body
        assert page.broker.stats.connections_total == 0

    serve(scenario)


def test_the_first_of_ours_is_chosen():
    assert select_subprotocol(ServerProtocol(), list(reversed(SUBPROTOCOLS))) == "mqtt"


ORIGINS = [
    ("http://127.0.0.1:PORT", True),
    ("http://example.org", False),
    ("http://127.0.0.1:1", False),
    ("https://127.0.0.1:PORT", False),
    ("null", False),
]


@pytest.mark.parametrize(("origin", "good"), ORIGINS)
def test_pages_of_strangers_are_refused(serve, origin, good):
    async def scenario(page):
        shown = origin.replace("PORT", str(page.served.port))
        if good:
            async with page.client(origin=shown) as client:
                await client.send(PINGREQ)
        else:
            with pytest.raises(InvalidStatus) as caught:
                async with page.link(origin=shown):
                    pass
            assert caught.value.response.status_code == 403
            assert b"another site" in caught.value.response.body

    serve(scenario)


@pytest.mark.parametrize(("origin", "status"), [(b"", b"101"), (b"Origin: http://evil.example\r\n", b"421")])
def test_a_name_that_is_not_ours_is_refused_to_browsers_alone(serve, origin, status):
    """A device may know us by another name; of a browser's page it shows DNS rebinding."""

    async def scenario(page):
        async with page.served.link() as (reader, writer):
            writer.write(UPGRADE.replace(b"127.0.0.1:PORT\r\n", b"evil.example\r\n" + origin))
            assert (await reader.readline()).split()[1] == status

    serve(scenario)


def test_names_that_a_door_has_besides(run, tmp_path):
    async def scenario():
        async with page(tmp_path, doors=[Door("127.0.0.1", 0, names=frozenset({"hub.lan"}))]) as served:
            own, port = served.port, served.server.ports[0]
            request = UPGRADE.replace(b"127.0.0.1:PORT\r\n", b"hub.lan\r\nOrigin: http://hub.lan\r\n")
            for served.port, status in ((own, b"421"), (port, b"101")):
                async with served.link() as (reader, writer):
                    writer.write(request)
                    assert (await reader.readline()).split()[1] == status
            assert (await served.ask("/healthz", headers={"Host": "hub.lan"})).status == 200

    run(scenario())


def test_what_comes_along_with_the_request_is_not_lost(serve):
    async def scenario(page):
        async with page.served.link() as (reader, writer):
            writer.write(UPGRADE.replace(b"PORT", str(page.served.port).encode()) + frame(BINARY, connect("eager")))
            await reader.readuntil(b"\r\n\r\n")
            assert await answer(reader) == (BINARY, ACCEPTED)

    serve(scenario)


def test_other_paths_are_no_mqtt(serve):
    async def scenario(page):
        page.url += "/x"
        with pytest.raises(InvalidStatus):
            async with page.link():
                pass
        assert (await page.served.ask("/mqtt")).status == 404

    serve(scenario)


@pytest.mark.parametrize("before", [b"", connect("a")])
def test_text_closes(serve, before):
    """[MQTT-6.0.0-1]"""

    async def scenario(page):
        async with page.link() as client:
            if before:
                await client.send(before)
                await client.expect(ACCEPTED)
            await client.send("text")
            assert await client.closed() == 1003

    serve(scenario)


def test_what_comes_after_a_text_is_not_acted_on(serve):
    async def scenario(page):
        async with page.raw() as (reader, writer):
            writer.write(frame(BINARY, connect("a")) + frame(TEXT, b"x") + frame(BINARY, publish("t", b"1")))
            assert await answer(reader) == (BINARY, ACCEPTED) or True
            await reader.read()
            assert page.broker.stats.publish_received == 0

    serve(scenario)


BROKEN = [
    (b"\x82\x00", 1002),  # not masked
    (frame(0x3), 1002),  # reserved
    (b"\xc2" + frame(BINARY)[1:], 1002),  # an extension that was not agreed on
    (frame(PING, bytes(126)), 1002),
    (frame(CONTINUED, b"x"), 1002),
    (frame(BINARY, length=10_000_000), 1009),
    (frame(BINARY, length=2**62), 1009),
]


@pytest.mark.parametrize(("data", "code"), BROKEN)
def test_broken_frames_close(serve, data, code):
    async def scenario(page):
        async with page.raw() as (reader, writer):
            writer.write(data)
            opcode, said = await answer(reader)
            assert (opcode, int.from_bytes(said[:2], "big")) == (CLOSE, code)
            assert await reader.read() == b""

    serve(scenario)


def test_a_stranger_costs_little(serve):
    """A frame may be as long as the largest packet, but not before its sender has said CONNECT."""

    async def scenario(page):
        async with page.raw() as (reader, writer):
            writer.write(frame(BINARY, bytes(100_000), length=200_000))
            opcode, said = await answer(reader)
            assert (opcode, said[:2]) == (CLOSE, (1009).to_bytes(2, "big"))
        async with page.client() as client:
            await client.send(subscribe("t"), publish("t", bytes(200_000)))
            await client.expect(b"\x90\x03\x00\x01\x00" + publish("t", bytes(200_000)))

    serve(scenario)


def test_a_malformed_packet_is_told_why_and_closed_with_1000(serve):
    async def scenario(page):
        async with page.client("bad", Version.MQTT_5) as bad, page.client("good") as good:
            await bad.send(b"\xff\x00")
            assert (await bad.packet()).reason_code == ReasonCode.MALFORMED_PACKET
            assert await bad.closed() == 1000
            await good.send(PINGREQ)
            assert await good.packet()

    serve(scenario)


def test_a_clean_end(serve):
    async def scenario(page):
        async with page.client("a") as client:
            await client.send(b"\xe0\x00")
            assert await client.closed() == 1001
        async with page.client("b") as client:
            await client.socket.close()
            assert client.socket.close_code == 1000

    serve(scenario)


def test_a_broken_link_tells_the_will(serve):
    async def scenario(page):
        watcher = await page.served.broker.client("watcher")
        watcher.write(subscribe("will"))
        await watcher.packet()
        async with page.link() as client:
            await client.send(connect("doomed", will=("will", b"offline", 0, False)))
            await client.expect(ACCEPTED)
            client.socket.transport.abort()
            assert (await watcher.packet()).payload == b"offline"

    serve(scenario)


def test_who_never_says_connect_is_cut_in_time(serve):
    async def scenario(page):
        async with page.raw() as (reader, _):
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.read() == b"\x88\x02" + (1001).to_bytes(2, "big")

    serve(scenario, connect_timeout_s=0.2)


def test_who_does_not_close_is_cut(serve, monkeypatch):
    monkeypatch.setattr(websocket, "LINGER_S", 0.1)

    async def scenario(page):
        async with page.raw() as (_, writer):
            writer.write(frame(TEXT, b"x"))
            await until(lambda: page.broker.stats.connections_total and not page.hub.links)

    serve(scenario)


def test_an_error_of_ours_closes_that_link_only(serve, monkeypatch, caplog):
    async def scenario(page):
        async with page.client("good") as good, page.client("bad") as bad:
            handle = page.broker._inbound._handle

            def failing(connection, packet, now):
                if connection.client_id == "bad":
                    raise RuntimeError("planted")
                handle(connection, packet, now)

            monkeypatch.setattr(page.broker._inbound, "_handle", failing)
            await bad.send(subscribe("a"))
            assert await bad.closed() == 1001
            await good.send(subscribe("a"))
            assert (await good.packet()).packet_id == 1

    serve(scenario)
    assert "planted" in caplog.text


def test_a_client_that_never_reads_costs_bounded_memory_and_nobody_else(serve):
    async def scenario(page):
        fine, publisher = await page.served.broker.client("fine"), await page.served.broker.client("publisher")
        async with page.raw() as (reader, writer):
            writer.write(frame(BINARY, connect("stuck") + subscribe("a")))
            reader._transport.pause_reading()
            fine.write(subscribe("a"))
            await fine.packet()
            await until(lambda: "stuck" in page.broker.sessions and page.broker.sessions["stuck"].subscriptions)
            connection = page.broker.sessions["stuck"].connection
            most = 0
            for number in range(300):
                publisher.write(publish("a", b"%6d" % number + bytes(50_000)))
                writer.write(frame(PING, os.urandom(100)))
                assert (await fine.packet()).payload[:6] == b"%6d" % number
                kept = connection.link._transport.get_write_buffer_size() + sum(map(len, connection.output))
                most = max(most, kept)
            assert page.broker.stats.dropped["slow client"] > 0
            assert 50_000 < most <= 220_000

    serve(scenario, max_output_bytes=100_000)


def test_pings_that_nobody_reads_the_answers_to_leave_one_answer(serve):
    async def scenario(page):
        async with page.raw() as (reader, writer):
            writer.write(frame(BINARY, connect("stuck")))
            await answer(reader)
            link = page.broker.sessions["stuck"].connection.link
            link.pause_writing()
            writer.write(b"".join(frame(PING, b"%d" % number) for number in range(1_000)))
            await until(lambda: link._pong.endswith(b"999"))
            link.resume_writing()
            assert await answer(reader) == (PONG, b"999")

    serve(scenario)


def test_a_slow_client_gets_everything_of_qos_1_once_it_reads(serve):
    async def scenario(page):
        publisher = await page.served.broker.client("publisher")
        async with page.client("slow", max_queue=1) as slow:
            await slow.send(subscribe("a", qos=1))
            await slow.packet()
            for number in range(200):
                publisher.write(publish("a", b"%6d" % number + bytes(20_000), 1, 1))
                await publisher.packet()
            for number in range(200):
                packet = await slow.packet()
                assert packet.payload[:6] == b"%6d" % number
                await slow.send(puback(packet.packet_id))

    serve(scenario, max_output_bytes=50_000, max_queued_bytes=10_000_000)


def test_stopping_says_goodbye_after_the_page_is_gone(serve):
    async def scenario(page):
        async with page.client("new", Version.MQTT_5) as new, page.client("old") as old:
            await page.served.server.stop()
            await new.send(b"\xc0\x00")
            assert await new.packet()  # the page has gone, the client has not
            await page.hub.stop()
            goodbye = await new.packet()
            assert isinstance(goodbye, Disconnect)
            assert goodbye.reason_code == ReasonCode.SERVER_SHUTTING_DOWN
            assert await new.closed() == 1000
            assert await old.closed() == 1001  # MQTT 3.1.1 has no words for it, WebSocket has

    serve(scenario)


def test_encrypted(run, tmp_path, authority):
    context = server_context(str(authority.certificate), str(authority.key), protocol="http/1.1")

    async def scenario():
        async with page(tmp_path, doors=[Door("127.0.0.1", 0, context)], max_output_bytes=100_000) as served:
            encrypted = Page(served, served.server.ports[0], ssl=authority.trust())
            async with encrypted.client("reader", Version.MQTT_5) as reader, encrypted.client("b") as writer:
                await reader.send(b"\x82\x09\x00\x01\x00\x00\x03a/#\x00")
                assert (await reader.packet()).packet_id == 1
                for number in range(30):
                    await writer.send(publish("a/b", bytes([number]) * 100_000))
                    assert (await reader.packet()).payload == bytes([number]) * 100_000
                reader.socket.transport.pause_reading()
                link = encrypted.broker.sessions["reader"].connection.link
                assert len(link._transport._ssl_protocol._ssl_buffer) == RECORD_BYTES  # and not 256 KiB
                for _ in range(100):
                    await writer.send(publish("a/b", bytes(100_000)) + PINGREQ)
                    await writer.packet()
                assert encrypted.broker.stats.dropped["slow client"] > 0
                assert link.behind
                assert link._transport.get_write_buffer_size() <= 300_000
                reader.socket.transport.resume_reading()
                await reader.send(PINGREQ)
                while await reader.packet() != PingResp():
                    pass
                await encrypted.hub.stop()
                while not isinstance(goodbye := await reader.packet(), Disconnect):
                    pass
                assert goodbye.reason_code == ReasonCode.SERVER_SHUTTING_DOWN

    run(scenario())
