"""How many handshakes there are at a time, for how long, and who gives way."""

import asyncio
import contextlib
import errno
import socket
from contextlib import asynccontextmanager

import pytest
from sockets import until

from appliance.net import handshakes
from appliance.net.handshakes import Bounds, HandshakeListener, reason
from appliance.net.listening import listen_tcp


class Fake:
    """A handshake that ends when the test wants it to."""

    def __init__(self, client, peer):
        self.client, self.peer = client, peer
        self.ended = None
        self.is_open = True

    def start(self, ended):
        self.ended = ended

    def succeed(self):
        self.ended()

    def abort(self):
        self.is_open = False
        self.client.close()
        self.ended()


@asynccontextmanager
async def door(at_most=2, timeout_s=10.0, fake=Fake, per_address=9):
    met = []

    def greet(client, peer):
        met.append(fake(client, peer))
        return met[-1]

    listener = HandshakeListener(listen_tcp("127.0.0.1", 0), greet, Bounds(at_most, per_address, timeout_s))
    with contextlib.ExitStack() as clients:

        def visit(count, address="127.0.0.1"):
            for _ in range(count):
                to, source = ("127.0.0.1", listener.port), (address, 0)
                clients.enter_context(socket.create_connection(to, timeout=5, source_address=source))

        try:
            yield listener, met, visit
        finally:
            listener.close()
            for one in met:
                one.client.close()


def test_further_clients_wait_until_one_is_in(run):
    async def scenario():
        async with door() as (listener, met, visit):
            visit(5)
            await until(lambda: len(met) == 2)
            for number in range(3):
                assert listener.under_way == 2
                met[number].succeed()
                await until(lambda n=number: len(met) == 3 + n)
            assert all(one.is_open for one in met)
            assert (listener.timed_out, listener.gave_way) == (0, 0)

    run(scenario())


def test_who_dawdles_is_cut_in_time(run, caplog):
    caplog.set_level("INFO")

    async def scenario():
        async with door(timeout_s=0.1) as (listener, met, visit):
            visit(1)
            await until(lambda: met and not met[0].is_open)
            assert (listener.under_way, listener.timed_out) == (0, 1)

    run(scenario())
    assert "closed, no TLS handshake within 0.1 s" in caplog.text


def test_who_dawdles_gives_way_sooner(run, monkeypatch):
    monkeypatch.setattr(handshakes, "GIVES_WAY_S", 0.05)

    async def scenario():
        async with door() as (listener, met, visit):
            visit(4)
            await until(lambda: len(met) == 4)
            assert [one.is_open for one in met] == [False, False, True, True]
            assert (listener.timed_out, listener.gave_way) == (0, 2)

    run(scenario())


def test_who_has_just_come_does_not_give_way(run):
    async def scenario():
        async with door() as (listener, met, visit):
            visit(4)
            await until(lambda: listener._waiting is not None)
            assert 1.0 < listener._waiting.when() - asyncio.get_running_loop().time() <= handshakes.GIVES_WAY_S
            assert all(one.is_open for one in met)

    run(scenario())


def test_one_address_has_only_a_part_and_nobody_else_waits_for_it(run, caplog):
    caplog.set_level("INFO")

    async def scenario():
        async with door(at_most=4, per_address=2) as (listener, met, visit):
            visit(5)
            await until(lambda: listener.turned_away == 3)
            assert listener.under_way == 2
            visit(2, "127.0.0.2")
            await until(lambda: listener.under_way == 4)
            assert all(one.is_open for one in met)
            met[0].succeed()
            met[2].succeed()
            visit(1)
            await until(lambda: listener.under_way == 3)
            assert (listener.turned_away, listener.gave_way) == (3, 0)
            for one in met:
                one.succeed()
            assert not listener._of_address

    run(scenario())
    assert "closed, 2 TLS handshakes with 127.0.0.1 are under way" in caplog.text


def test_one_host_leaves_room_for_its_neighbours_of_ipv6(run, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(handshakes, "peer_name", lambda _client, at: f"[fe80::{at[0].rpartition('.')[2]}%eth0]:1")

    async def scenario():
        async with door(per_address=4, at_most=9) as (listener, met, visit):
            visit(3)
            await until(lambda: listener.turned_away == 1)
            visit(1, "127.0.0.2")
            visit(1, "127.0.0.3")
            await until(lambda: len(met) == 4)
            visit(1, "127.0.0.4")  # the network has what it may have
            await until(lambda: listener.turned_away == 2)
            for one in met:
                one.succeed()
            assert not listener._of_address

    run(scenario())
    assert "2 TLS handshakes with fe80::1 are under way" in caplog.text
    assert "4 TLS handshakes with fe80::/64 are under way" in caplog.text


def test_at_a_crowded_address_who_dawdles_gives_way_to_the_next_of_it(run, monkeypatch):
    monkeypatch.setattr(handshakes, "GIVES_WAY_S", 0.05)

    async def scenario():
        async with door(at_most=9, per_address=2) as (listener, met, visit):
            visit(1, "127.0.0.2")
            visit(2)
            await until(lambda: len(met) == 3)
            await asyncio.sleep(0.1)
            visit(1)
            await until(lambda: len(met) == 4)
            assert [one.is_open for one in met] == [True, False, True, True]
            assert (listener.turned_away, listener.gave_way, listener.under_way) == (0, 1, 3)

    run(scenario())


def test_closing_ends_the_handshakes_and_leaves_those_who_are_in(run):
    async def scenario():
        async with door(at_most=1) as (listener, met, visit):
            visit(3)
            await until(lambda: met)
            met[0].succeed()
            await until(lambda: len(met) == 2)
            listener.close()
            assert [one.is_open for one in met] == [True, False]
            assert listener.under_way == 0
            listener.close()  # twice is fine

    run(scenario())


@pytest.mark.parametrize(("number", "cure"), [(errno.EMFILE, True), (errno.EPROTO, False)])
def test_no_socket_for_a_client_is_a_pause_and_no_spin(run, monkeypatch, caplog, number, cure):
    monkeypatch.setattr(handshakes, "PAUSE_S", 0.05)

    async def scenario():
        async with door() as (listener, met, visit):
            real, refused = listener._listening, []

            class Exhausted:
                def accept(self):
                    if len(refused) < 3:
                        refused.append(1)
                        raise OSError(number, "planted")
                    return real.accept()

                def __getattr__(self, name):
                    return getattr(real, name)

            listener._listening = Exhausted()
            visit(1)
            await until(lambda: met)
            assert len(refused) == 3

    run(scenario())
    assert caplog.text.count("nobody new is let in") == 3
    assert ("LimitNOFILE" in caplog.text) is cure


def test_who_is_gone_before_the_beginning_is_forgotten(run):
    came = []

    class Gone(Fake):
        def __init__(self, client, peer):
            super().__init__(client, peer)
            came.append(peer)
            client.close()
            raise OSError(errno.ENOTCONN, "planted")

    async def scenario():
        async with door(fake=Gone) as (listener, _, visit):
            visit(3)
            await until(lambda: len(came) == 3)
            assert listener.under_way == 0

    run(scenario())


REASONS = [
    (OSError("it is gone"), "it is gone"),
    (ValueError(), "ValueError"),
]


@pytest.mark.parametrize(("error", "words"), REASONS)
def test_reasons(error, words):
    assert reason(error) == words
