import asyncio
import socket

import pytest
from sockets import loopback, until

from appliance.mqtt import codec
from appliance.mqtt.packets import (
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import QoS, ReasonCode, Version
from appliance.net import hub
from appliance.net.listening import SocketFile
from appliance.net.tcp import TcpListener

V311, V5 = Version.MQTT_3_1_1, Version.MQTT_5


def test_a_message_crosses(run):
    async def scenario():
        async with loopback() as server:
            reader, publisher = await server.client("reader"), await server.client("publisher", V5)
            reader.write(Subscribe(1, (Subscription("home/#", QoS(1)),)))
            assert await reader.packet() == SubAck(1, (1,))
            publisher.write(Publish("home/kitchen/temperature", b"21.4", QoS(1), packet_id=9))
            assert await publisher.packet() == PubAck(9)
            assert await reader.packet() == Publish("home/kitchen/temperature", b"21.4", QoS(1), packet_id=1)

    run(scenario())


def test_ten_thousand_packets_in_one_write(run):
    async def scenario():
        async with loopback() as server:
            reader, publisher = await server.client("reader"), await server.client("publisher")
            reader.write(Subscribe(1, (Subscription("a"),)))
            await reader.packet()
            publisher.write(b"".join(codec.encode(Publish("a", b"%d" % number), V311) for number in range(10_000)))
            for number in range(10_000):
                assert (await reader.packet()).payload == b"%d" % number

    run(scenario())


def test_a_broken_link_tells_the_will_at_once(run):
    async def scenario():
        async with loopback() as server:
            watcher = await server.client("watcher")
            watcher.write(Subscribe(1, (Subscription("a/availability"),)))
            await watcher.packet()
            client = await server.client("a", will=Will("a/availability", b"offline"))
            client.writer.transport.abort()
            assert (await watcher.packet()).payload == b"offline"

    run(scenario())


def test_a_malformed_packet_closes_that_link_only(run):
    async def scenario():
        async with loopback() as server:
            good, bad = await server.client("good"), await server.client("bad", V5)
            bad.write(b"\xff\x00")
            assert (await bad.packet()).reason_code == ReasonCode.MALFORMED_PACKET
            assert await bad.packet() is None
            good.write(PingReq())
            assert await good.packet() == PingResp()

    run(scenario())


def test_a_client_that_goes_on_sending_still_reads_why_it_was_closed(run):
    async def scenario():
        async with loopback() as server:
            with socket.create_connection(("127.0.0.1", server.listener.port), timeout=5) as client:
                client.sendall(codec.encode(Connect(client_id="a"), V5) + b"\xff\x00")
                await until(lambda: server.broker.stats.connections_total and not server.broker._links)
                for _ in range(5):
                    client.sendall(b"\x30\x05\x00\x01abc" * 1_000)
                    await asyncio.sleep(0.01)
                heard = b""
                while received := client.recv(1_000):
                    heard += received
            goodbye = PacketStream(V5)
            goodbye.feed(heard[heard.rindex(b"\xe0") :])
            assert goodbye.next_packet().reason_code == ReasonCode.MALFORMED_PACKET
            await until(lambda: not server.hub.links)

    run(scenario())


def test_a_closed_client_that_stays_is_cut_off(run, monkeypatch):
    async def scenario():
        monkeypatch.setattr(hub, "LINGER_S", 0.1)
        monkeypatch.setattr(hub, "LINGERING", 2)
        async with loopback() as server:
            clients = [socket.create_connection(("127.0.0.1", server.listener.port), timeout=5) for _ in range(3)]
            for number, client in enumerate(clients):
                client.sendall(codec.encode(Connect(client_id=str(number)), V5) + b"\xff\x00")
            await until(lambda: server.broker.stats.connections_total == 3 and not server.broker._links)
            assert len(server.hub.links) == 2
            await until(lambda: not server.hub.links)
            assert not server.hub._lingering
            for client in clients:
                client.close()

    run(scenario())


def test_an_error_of_ours_closes_that_link_only(run, monkeypatch, caplog):
    async def scenario():
        async with loopback() as server:
            good, bad = await server.client("good"), await server.client("bad")
            handle = server.broker._inbound._handle

            def failing(connection, packet, now):
                if connection.client_id == "bad":
                    raise RuntimeError("planted")
                handle(connection, packet, now)

            monkeypatch.setattr(server.broker._inbound, "_handle", failing)
            bad.write(Subscribe(1, (Subscription("a"),)))
            assert await bad.packet() is None
            good.write(Subscribe(1, (Subscription("a"),)))
            assert await good.packet() == SubAck(1, (0,))
            assert "bad" not in server.broker.sessions

    run(scenario())
    assert "planted" in caplog.text


def test_a_client_that_never_reads_does_not_stop_the_others(run):
    async def scenario():
        async with loopback(max_output_bytes=100_000) as server:
            stuck, fine, publisher = [await server.client(name) for name in ("stuck", "fine", "publisher")]
            stuck.writer.transport.pause_reading()
            stuck.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for client in (stuck, fine):
                client.write(Subscribe(1, (Subscription("a"),)))
            await fine.packet()
            await until(lambda: len(server.broker.sessions["stuck"].subscriptions) == 1)
            connection = server.broker.sessions["stuck"].connection
            for number in range(400):
                publisher.write(Publish("a", b"%6d" % number + bytes(50_000)))
                assert (await fine.packet()).payload[:6] == b"%6d" % number
            assert server.broker.stats.dropped["slow client"] > 0
            assert connection.backlog <= 200_000

    run(scenario())


def test_a_slow_client_gets_everything_of_qos_1_once_it_reads(run):
    async def scenario():
        async with loopback(max_output_bytes=50_000, max_queued_bytes=10_000_000) as server:
            slow, publisher = await server.client("slow"), await server.client("publisher")
            slow.write(Subscribe(1, (Subscription("a", QoS(1)),)))
            await slow.packet()
            slow.writer.transport.pause_reading()
            for number in range(300):
                publisher.write(Publish("a", b"%6d" % number + bytes(20_000), QoS(1), packet_id=1))
                await publisher.packet()
            slow.writer.transport.resume_reading()
            for number in range(300):
                packet = await slow.packet()
                assert packet.payload[:6] == b"%6d" % number
                slow.write(PubAck(packet.packet_id))

    run(scenario())


def test_a_thousand_connections_come_and_go_and_leave_nothing(run):
    async def scenario():
        async with loopback() as server:
            for _ in range(20):
                for number in range(50):
                    await server.client(f"c{number}")
                while server.clients:
                    await server.clients.pop().close()
            await until(lambda: not server.broker.sessions)
            assert not server.hub.links
            assert not server.broker._links
            assert server.broker.stats.clients_now == 0

    run(scenario())


def test_stopping_says_goodbye(run):
    async def scenario():
        async with loopback() as server:
            old, new = await server.client("old"), await server.client("new", V5)
            await server.listener.close()
            await server.hub.stop()
            words = Properties(reason_string="the server is shutting down")
            assert await new.packet() == Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, words)
            assert await new.packet() is None
            assert await old.packet() is None

    run(scenario())


def test_a_taken_port_is_an_os_error(run):
    async def scenario():
        async with loopback() as server:
            with pytest.raises(OSError, match=r"(?i)address already in use"):
                await TcpListener.open(server.hub, "127.0.0.1", server.listener.port)

    run(scenario())


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes.fromhex("16030100c8010000c4")])
def test_other_protocols_are_closed_at_once(run, greeting):
    async def scenario():
        async with loopback() as server:
            link = await server.link()
            link.write(greeting)
            assert await link.packet() is None

    run(scenario())


def test_half_a_connect_is_cut_in_time(run):
    async def scenario():
        async with loopback(connect_timeout_s=0.3) as server:
            link = await server.link()
            link.write(codec.encode(Connect(client_id="a", version=V311), V311)[:-1])
            assert await link.packet() is None

    run(scenario())


def test_a_socket_file_is_the_same_kind_of_link(run, tmp_path):
    async def scenario():
        file = SocketFile(tmp_path / "mqtt.sock", mode=0o660)
        async with loopback() as server:
            listener = await TcpListener.serve(server.hub, file.socket)
            server.open = lambda: asyncio.open_unix_connection(tmp_path / "mqtt.sock")
            reader, publisher = await server.client("reader"), await server.client("publisher", V5)
            reader.write(Subscribe(1, (Subscription("a", QoS(1)),)))
            await reader.packet()
            publisher.write(Publish("a", bytes(100_000), QoS(1), packet_id=9))
            assert await publisher.packet() == PubAck(9)
            assert (await reader.packet()).payload == bytes(100_000)
            assert server.broker.sessions["reader"].connection.peer.startswith("unix process ")
            assert listener.port == 0
            await listener.close()
            await server.hub.stop()
            assert (await publisher.packet()).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        file.remove()

    run(scenario())
