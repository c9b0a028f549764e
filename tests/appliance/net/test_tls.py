"""Clients over TLS: what test_tcp asks of a link, and what only TLS can do wrong."""

import asyncio
import contextlib
import socket
import ssl

import pytest
from authority import Authority
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
from appliance.mqtt.types import QoS, ReasonCode, Version
from appliance.net import hub, tls
from appliance.net.certificates import server_context
from appliance.net.handshakes import Bounds
from appliance.net.listening import listen_tcp
from appliance.net.tls import listen_tls

V311, V5 = Version.MQTT_3_1_1, Version.MQTT_5
both = pytest.mark.parametrize("version", [V311, V5])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.asynccontextmanager
async def encrypted(authority, *, at_most=64, timeout_s=10.0, client_ca="", client_must=False, address="127.0.0.1",
                    **limits):  # fmt: skip
    context = server_context(
        str(authority.certificate), str(authority.key), client_ca, client_must=client_must, protocol="mqtt"
    )

    def listen(hub):
        return listen_tls(hub, listen_tcp(address, 0), context, Bounds(at_most, at_most, timeout_s))

    async with loopback(listen=listen, **limits) as server:
        trusting = authority.trust()
        server.open = lambda: asyncio.open_connection(address, server.listener.port, ssl=trusting)
        server.plain = lambda: socket.create_connection((address, server.listener.port), timeout=5)
        yield server


@both
def test_a_message_crosses(run, authority, version):
    async def scenario():
        async with encrypted(authority) as server:
            reader, publisher = await server.client("reader", version), await server.client("publisher", version)
            reader.write(Subscribe(1, (Subscription("home/#", QoS(1)),)))
            assert await reader.packet() == SubAck(1, (1,))
            publisher.write(Publish("home/kitchen/temperature", b"21.4", QoS(1), packet_id=9))
            assert await publisher.packet() == PubAck(9)
            assert await reader.packet() == Publish("home/kitchen/temperature", b"21.4", QoS(1), packet_id=1)
            assert server.listener.under_way == 0

    run(scenario())


def test_over_ipv6(run, authority):
    async def scenario():
        async with encrypted(authority, address="::1") as server:
            client = await server.client("six")
            assert server.broker.sessions["six"].connection.peer.startswith("[::1]:")
            client.write(PingReq())
            assert await client.packet() == PingResp()

    run(scenario())


def test_ten_thousand_packets_in_one_write(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            reader, publisher = await server.client("reader"), await server.client("publisher")
            reader.write(Subscribe(1, (Subscription("a"),)))
            await reader.packet()
            publisher.write(b"".join(codec.encode(Publish("a", b"%d" % number), V311) for number in range(10_000)))
            for number in range(10_000):
                assert (await reader.packet()).payload == b"%d" % number

    run(scenario())


def test_a_large_message_both_ways(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            client = await server.client("a")
            client.write(Subscribe(1, (Subscription("a"),)))
            await client.packet()
            payload = bytes(range(256)) * 1_000
            for _ in range(5):
                client.write(Publish("a", payload))
                assert (await client.packet()).payload == payload

    run(scenario())


def test_a_broken_link_tells_the_will_at_once(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            watcher = await server.client("watcher")
            watcher.write(Subscribe(1, (Subscription("a/availability"),)))
            await watcher.packet()
            client = await server.client("a", will=Will("a/availability", b"offline"))
            client.writer.transport.abort()
            assert (await watcher.packet()).payload == b"offline"

    run(scenario())


def test_a_malformed_packet_closes_that_link_only(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            good, bad = await server.client("good"), await server.client("bad", V5)
            bad.write(b"\xff\x00")
            assert (await bad.packet()).reason_code == ReasonCode.MALFORMED_PACKET
            assert await bad.packet() is None
            good.write(PingReq())
            assert await good.packet() == PingResp()

    run(scenario())


def test_a_client_that_goes_on_sending_still_reads_why_it_was_closed(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            bad = await server.client("bad", V5)
            bad.write(b"\xff\x00")
            for _ in range(5):
                bad.write(b"\x30\x05\x00\x01abc" * 1_000)
                await asyncio.sleep(0)
            assert (await bad.packet()).reason_code == ReasonCode.MALFORMED_PACKET
            await bad.close()
            await until(lambda: not server.hub.links)

    run(scenario())


def test_a_closed_client_that_stays_is_cut_off(run, authority, monkeypatch):
    monkeypatch.setattr(hub, "LINGER_S", 0.1)

    async def scenario():
        async with encrypted(authority) as server:
            with (
                server.plain() as plain,
                authority.trust().wrap_socket(
                    plain, server_hostname="127.0.0.1", do_handshake_on_connect=False
                ) as client,
            ):
                await asyncio.to_thread(client.do_handshake)
                client.sendall(codec.encode(Connect(client_id="a"), V5) + b"\xff\x00")
                await until(lambda: server.broker.stats.connections_total and not server.broker._links)
                await until(lambda: not server.hub.links)

    run(scenario())


def test_an_error_of_ours_closes_that_link_only(run, authority, monkeypatch, caplog):
    async def scenario():
        async with encrypted(authority) as server:
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

    run(scenario())
    assert "planted" in caplog.text


def stop_reading(client):
    client.writer.transport.pause_reading()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def test_a_client_that_never_reads_costs_bounded_memory_and_nobody_else(run, authority):
    async def scenario():
        async with encrypted(authority, max_output_bytes=100_000) as server:
            stuck, fine, publisher = [await server.client(name) for name in ("stuck", "fine", "publisher")]
            stop_reading(stuck)
            for client in (stuck, fine):
                client.write(Subscribe(1, (Subscription("a"),)))
            await fine.packet()
            await until(lambda: len(server.broker.sessions["stuck"].subscriptions) == 1)
            connection = server.broker.sessions["stuck"].connection
            most = 0
            for number in range(400):
                publisher.write(Publish("a", b"%6d" % number + bytes(50_000)))
                assert (await fine.packet()).payload[:6] == b"%6d" % number
                kept = len(connection.link._kept) + sum(map(len, connection.output))
                assert connection.backlog >= kept - 60_000  # what the core was told is what there is
                most = max(most, kept)
            assert server.broker.stats.dropped["slow client"] > 0
            assert 50_000 < most <= 200_000
            stuck.writer.transport.abort()  # it would fail on what it has not read
            server.clients.remove(stuck)

    run(scenario())


def test_a_slow_client_gets_everything_of_qos_1_once_it_reads(run, authority):
    async def scenario():
        async with encrypted(authority, max_output_bytes=50_000, max_queued_bytes=10_000_000) as server:
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


def test_clients_come_and_go_and_leave_nothing(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            for _ in range(10):
                for number in range(10):
                    await server.client(f"c{number}")
                while server.clients:
                    await server.clients.pop().close()
            await until(lambda: not server.broker.sessions)
            assert not server.hub.links
            assert not server.broker._links
            assert server.listener.under_way == 0

    run(scenario())


def test_stopping_says_goodbye(run, authority):
    async def scenario():
        async with encrypted(authority) as server:
            old, new = await server.client("old"), await server.client("new", V5)
            server.listener.close()
            await server.hub.stop()
            words = Properties(reason_string="the server is shutting down")
            assert await new.packet() == Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, words)
            assert await new.packet() is None
            assert await old.packet() is None

    run(scenario())


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["mqtt"], "mqtt"), (["x", "mqtt"], "mqtt"), (["x"], None), (None, None)]
)
def test_alpn(run, authority, offered, chosen):
    async def scenario():
        async with encrypted(authority) as server:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.listener.port, ssl=authority.trust(alpn=offered)
            )
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    run(scenario())


def test_a_certificate_whose_name_cannot_be_read_is_refused(run, authority, monkeypatch, caplog):
    """OpenSSL refuses most of them itself; Python may stumble over the rest."""
    caplog.set_level("INFO")

    def stumble(_):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "planted")

    monkeypatch.setattr(tls, "has_odd_name", stumble)

    async def scenario():
        async with encrypted(authority) as server:
            link = await server.link()
            assert await link.packet() is None
            await until(lambda: not server.listener.under_way)
            assert server.broker.stats.connections_total == 0

    run(scenario())
    assert "no TLS handshake" in caplog.text
