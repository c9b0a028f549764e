import asyncio
import errno

import pytest
from sockets import loopback

from appliance.mqtt.packets import PingReq, PingResp
from appliance.net import direct
from appliance.net.direct import DirectLink
from appliance.net.serving import ServingLoop


def on_a_serving_loop(scenario):
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        return runner.run(scenario())


def test_links_are_direct():
    async def scenario():
        async with loopback() as server:
            await server.client("a")
            assert all(isinstance(link, DirectLink) for link in server.hub.links)

    on_a_serving_loop(scenario)


@pytest.mark.parametrize(("number", "cure"), [(errno.EMFILE, True), (errno.EPROTO, False)])
def test_no_socket_for_a_client_is_a_pause_and_no_spin(monkeypatch, caplog, number, cure):
    monkeypatch.setattr(direct, "PAUSE_S", 0.05)

    class Exhausted:
        """The listening socket of a system that has none for a while."""

        def __init__(self, real):
            self.real = real
            self.refused = 0

        def accept(self):
            if self.refused < 3:
                self.refused += 1
                raise OSError(number, "planted")
            return self.real.accept()

        def __getattr__(self, name):
            return getattr(self.real, name)

    async def scenario():
        async with loopback() as server:
            fine = await server.client("fine")
            listener = server.hub_listener = next(
                ready.__self__
                for ready in asyncio.get_running_loop().serving._served.values()
                if isinstance(ready.__self__, direct.DirectListener)
            )
            listener._server = Exhausted(listener._server)
            late = asyncio.create_task(server.client("late"))
            fine.write(PingReq())
            assert await fine.packet() == PingResp()
            await late
            assert listener._server.refused == 3

    on_a_serving_loop(scenario)
    assert caplog.text.count("nobody new is let in") == 3
    assert ("LimitNOFILE" in caplog.text) is cure


def test_one_connection_too_many_is_closed():
    async def scenario():
        async with loopback(max_connections=1) as server:
            fine = await server.client("fine")
            late = await server.link()
            assert await late.packet() is None
            fine.write(PingReq())
            assert await fine.packet() == PingResp()
            assert len(server.hub.links) == 1

    on_a_serving_loop(scenario)
