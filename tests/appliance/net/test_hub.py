import asyncio
from time import monotonic

import pytest
from sockets import loopback, until

from appliance.broker.ports import NoJournal
from appliance.mqtt.packets import ConnAck, Connect, PingReq, PingResp, Publish, Subscribe, Subscription, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import ReasonCode, Version
from appliance.net.hub import Hub, next_client_id

V311 = Version.MQTT_3_1_1


class Doorkeeper:
    """Lets ann in, slowly; breaks on eve."""

    def __init__(self):
        self.open = asyncio.Event()
        self.peers = []

    async def authenticate(self, _client_id, username, password, peer):
        self.peers.append(peer)
        await self.open.wait()
        if username == "eve":
            raise RuntimeError("planted")
        right = (username, password) == ("ann", b"secret")
        return ReasonCode.SUCCESS if right else ReasonCode.BAD_USER_NAME_OR_PASSWORD

    def knows(self, username):
        return username == "ann"


async def knock(server, username, password=b"secret"):
    link = await server.link()
    link.write(Connect(client_id=username, username=username, password=password, version=V311))
    return link


def test_authentication_is_answered_later_and_stalls_nobody(run):
    async def scenario():
        doorkeeper = Doorkeeper()
        async with loopback(doorkeeper) as server:
            ann = await knock(server, "ann")
            ann.write(PingReq())
            await until(lambda: server.hub._asking)
            bob = await knock(server, "bob")
            await until(lambda: len(server.hub._asking) == 2)
            doorkeeper.open.set()
            assert await ann.packet() == ConnAck()
            assert await ann.packet() == PingResp()
            assert await bob.packet() == ConnAck(reason_code=4)
            assert await bob.packet() is None
            assert all(peer.startswith("127.0.0.1:") for peer in doorkeeper.peers)
            assert len(set(doorkeeper.peers)) == 2

    run(scenario())


def test_a_name_writes_no_line_of_its_own_into_the_log(run, caplog):
    async def scenario():
        doorkeeper = Doorkeeper()
        doorkeeper.open.set()
        async with loopback(doorkeeper) as server:
            for username in ("eve", "bob"):
                link = await server.link()
                forged = Connect(client_id="a\nCRITICAL all is lost\u2028", username=username, version=V311)
                link.write(forged)
                await link.packet()
                await link.close()

    caplog.set_level("INFO")
    run(scenario())
    assert len([record for record in caplog.records if "a?CRITICAL all is lost?" in record.message]) >= 3
    assert all(len(record.message.splitlines()) == 1 for record in caplog.records)


def test_nobody_is_asked_about_a_client_that_left(run):
    async def scenario():
        doorkeeper = Doorkeeper()
        async with loopback(doorkeeper) as server:
            ann = await knock(server, "ann")
            await until(lambda: server.hub._asking)
            (task,) = server.hub._asking.values()
            await ann.close()
            await until(lambda: not server.hub._asking)
            assert task.cancelled()

    run(scenario())


def test_an_authenticator_that_breaks_lets_nobody_in(run, caplog):
    async def scenario():
        doorkeeper = Doorkeeper()
        doorkeeper.open.set()
        async with loopback(doorkeeper) as server:
            eve = await knock(server, "eve")
            assert await eve.packet() == ConnAck(reason_code=3)
            assert await eve.packet() is None

    run(scenario())
    assert "planted" in caplog.text


def test_stopping_while_somebody_is_asked_about(run):
    async def scenario():
        async with loopback(Doorkeeper()) as server:
            await knock(server, "ann")
            await until(lambda: server.hub._asking)

    run(scenario())


def test_one_write_a_turn_however_many_packets(run, monkeypatch):
    async def scenario():
        async with loopback() as server:
            reader, publisher = await server.client("reader"), await server.client("publisher")
            reader.write(Subscribe(1, (Subscription("#"),)))
            await reader.packet()
            link = server.broker.sessions["reader"].connection.link
            writes = []
            write = type(link).write
            monkeypatch.setattr(
                type(link), "write", lambda self, data: (writes.append((self, len(data))), write(self, data))[1]
            )
            publisher.write(b"".join(b"\x30\x04\x00\x01a1" for _ in range(1000)))
            for _ in range(1000):
                assert await reader.packet() == Publish("a", b"1")
            to_reader = [size for written, size in writes if written is link]
            assert len(to_reader) <= 5
            assert sum(to_reader) == 6000

    run(scenario())


def test_the_keep_alive_rings_without_traffic(run):
    async def scenario():
        async with loopback() as server:
            client = await server.client("a", keep_alive_s=1)
            assert await client.packet() is None

    run(scenario())


def test_a_short_keep_alive_rings_after_a_slow_authentication_too(run):
    async def scenario():
        doorkeeper = Doorkeeper()
        async with loopback(doorkeeper) as server:
            ann = await server.link()
            ann.write(Connect(client_id="ann", username="ann", password=b"secret", keep_alive_s=1, version=V311))
            await until(lambda: server.hub._asking)
            doorkeeper.open.set()
            assert await ann.packet() == ConnAck()
            before = server.hub.clock()
            assert await ann.packet() is None
            assert server.hub.clock() - before < 3

    run(scenario())


def test_a_timer_that_fails_is_not_the_last(run):
    class Broken(NoJournal):
        asked = 0

        def append(self, _message, _flags, _now):
            self.asked += 1
            raise RuntimeError("planted")

    async def scenario():
        journal, troubles = Broken(), []
        async with loopback(connect_timeout_s=0.2, journal=journal) as server:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context["exception"]))
            will = Will("a", b"told late", retain=True, properties=Properties(will_delay_interval=1))
            properties = Properties(session_expiry_interval=60)
            client = await server.client("a", Version.MQTT_5, will=will, properties=properties)
            await client.close()
            await until(lambda: journal.asked)
            assert [str(trouble) for trouble in troubles] == ["planted"]
            assert await (await server.link()).packet() is None  # whoever says no CONNECT is closed all the same

    run(scenario())


def test_what_waits_for_a_slow_link_is_in_few_pieces(run):
    async def scenario():
        async with loopback() as server:
            client = await server.client("a")
            connection = server.broker.sessions["a"].connection
            connection.link.behind = True
            for _ in range(5):
                client.write(b"\xc0\x00" * 1_500)
                await until(lambda: not connection.dirty and len(connection.output) == 1)
            connection.link.behind = False
            server.hub.writable(connection)
            for _ in range(7_500):
                assert await client.packet() == PingResp()

    run(scenario())


def test_client_ids_are_never_the_same():
    assert len({next_client_id() for _ in range(1000)}) == 1000


def test_a_hub_that_was_not_started_says_so():
    from appliance.broker.core import Broker
    from appliance.settings import Limits

    hub = Hub(Broker(Limits(), next_client_id=next_client_id))
    hub.broker.dirty.append(None)
    with pytest.raises(RuntimeError, match="not started"):
        hub.turn()


def test_a_service_that_slept_reads_before_it_judges(run):
    async def scenario():
        async with loopback() as server:
            spoke, silent = [await server.client(f"{n}", keep_alive_s=60) for n in range(2)]
            slept_s = 0
            server.hub.clock = lambda: monotonic() + slept_s
            slept_s = 600
            server.hub._tick()
            spoke.write(PingReq())
            assert await spoke.packet() == PingResp()
            assert await silent.packet() is None
            spoke.write(PingReq())
            assert await spoke.packet() == PingResp()

    run(scenario())
