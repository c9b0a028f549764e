"""Everything else that lives on the loop works as on asyncio's own."""

import asyncio
import logging
import os
import signal
import socket
import threading

import pytest
from sockets import loopback, until

from appliance.mqtt import codec
from appliance.mqtt.packets import Connect, PingReq, PingResp
from appliance.mqtt.types import Version
from appliance.net.serving import ServingLoop, ServingSelector, new_event_loop


def on_a_serving_loop(scenario):
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        return runner.run(scenario())


def test_timers_threads_and_signals():
    async def scenario():
        loop = asyncio.get_running_loop()
        seen = []
        signalled = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, signalled.set)
        loop.call_later(0.01, seen.append, "timer")
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(seen.append, "thread"))
        thread.start()
        assert await asyncio.to_thread(lambda: 42) == 42
        thread.join()
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(signalled.wait(), 5)
        await asyncio.sleep(0.02)
        loop.remove_signal_handler(signal.SIGUSR1)
        assert sorted(seen) == ["thread", "timer"]

    on_a_serving_loop(scenario)


def test_asyncio_is_not_starved_by_busy_links():
    async def scenario():
        async with loopback() as server:
            stop = threading.Event()
            answers = 0

            def ping():
                nonlocal answers
                with socket.create_connection(("127.0.0.1", server.listener.port), timeout=5) as link:
                    link.sendall(
                        codec.encode(Connect(client_id="busy", version=Version.MQTT_3_1_1), Version.MQTT_3_1_1)
                    )
                    while not stop.is_set():
                        link.sendall(b"\xc0\x00" * 100)
                        answers += len(link.recv(65_536)) // 2

            pinging = threading.Thread(target=ping)
            pinging.start()
            try:
                for _ in range(20):
                    before = answers
                    await asyncio.wait_for(asyncio.sleep(0.005), 5)
                    await until(lambda before=before: answers > before)
            finally:
                stop.set()
                await asyncio.to_thread(pinging.join)

    on_a_serving_loop(scenario)


def test_streams_of_asyncio_beside_links():
    async def scenario():
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async with loopback() as server:
            echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
            async with echoing:
                reader, writer = await asyncio.open_connection(*echoing.sockets[0].getsockname())
                client = await server.client("a")
                client.write(PingReq())
                writer.write(b"hello\n")
                assert await reader.readline() == b"hello\n"
                assert await client.packet() == PingResp()
                writer.close()
                await writer.wait_closed()

    on_a_serving_loop(scenario)


def test_a_call_from_a_link_is_not_delayed():
    """What a link gives asyncio to do is done before the selector waits again."""

    async def scenario():
        async with loopback() as server:
            client = await server.client("a")
            loop = asyncio.get_running_loop()
            called = asyncio.Event()
            clock = server.hub.clock

            def asked_by_the_link():
                loop.call_soon(called.set)
                return clock()

            server.hub.clock = asked_by_the_link
            client.write(PingReq())
            await asyncio.wait_for(called.wait(), 5)

    on_a_serving_loop(scenario)


def test_a_file_is_watched_once():
    selector = ServingSelector()
    read, write = os.pipe()
    try:
        selector.register(read, 1)
        with pytest.raises(KeyError):
            selector.register(read, 1)
        os.write(write, b"x")
        assert [(key.fd, events) for key, events in selector.select(0)] == [(read, 1)]
        selector.unregister(read)
        assert selector.select(0) == []
        with pytest.raises(KeyError):
            selector.get_key(read)
    finally:
        selector.close()
        os.close(read)
        os.close(write)


def test_the_loop_of_a_service():
    loop = new_event_loop()
    try:
        assert isinstance(loop, ServingLoop)
    finally:
        loop.close()


def test_an_error_in_a_served_socket_ends_nothing(caplog):
    async def scenario():
        async with loopback() as server:
            serving = asyncio.get_running_loop().serving
            one, other = socket.socketpair()
            with one, other:

                def failing(_event):
                    raise RuntimeError("planted")

                serving.serve(one.fileno(), failing)
                other.send(b"x")
                client = await server.client("a")
                flush, serving.end_of_turn = serving.end_of_turn, lambda: failing(0)
                client.write(PingReq())
                await until(lambda: "what was to be sent" in caplog.text)
                serving.end_of_turn = flush
                client.write(PingReq())
                assert [await client.packet() for _ in range(2)] == [PingResp(), PingResp()]
                assert one.fileno() not in serving._served

    on_a_serving_loop(scenario)
    assert caplog.text.count("is served no more") == 1


class Poor:
    """An epoll for whose answer there is no memory so many times; most_events: that it still is enough for."""

    def __init__(self, epoll, most_events, times):
        self._epoll, self._most_events, self.left = epoll, most_events, times

    def poll(self, timeout, maxevents):
        if maxevents > self._most_events and self.left:
            self.left -= 1
            raise MemoryError
        return self._epoll.poll(timeout, maxevents)

    def __getattr__(self, name):
        return getattr(self._epoll, name)


@pytest.mark.parametrize("most_events", [1, 0])
def test_memory_that_is_missing_to_hear_of_sockets_ends_nothing(most_events):
    async def scenario():
        async with loopback() as server:
            serving = asyncio.get_running_loop().serving
            clients = [await server.client(name) for name in "ab"]
            serving._epoll = poor = Poor(serving._epoll, most_events, times=7)
            for _ in range(9):
                for client in clients:
                    client.write(PingReq())
                assert [await client.packet() for client in clients] == [PingResp()] * 2
            assert not poor.left

    on_a_serving_loop(scenario)


def test_memory_that_is_missing_to_tell_of_an_error_ends_nothing(monkeypatch):
    async def scenario():
        async with loopback() as server:
            serving = asyncio.get_running_loop().serving
            one, other = socket.socketpair()
            with one, other:
                told = []

                def missing(*arguments):
                    told.append(arguments)
                    raise MemoryError

                monkeypatch.setattr(logging.getLogger("appliance.net.serving"), "exception", missing)
                serving.serve(one.fileno(), missing)
                other.send(b"x")
                client = await server.client("a")
                await until(lambda: len(told) == 2)
                client.write(PingReq())
                assert await client.packet() == PingResp()
                assert one.fileno() not in serving._served

    on_a_serving_loop(scenario)
