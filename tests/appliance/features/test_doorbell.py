import asyncio
import socket

import pytest

from appliance.features.doorbell import Doorbell
from appliance.net.listening import SocketFile
from appliance.net.serving import ServingLoop


class Porter:
    """Opens the door: everybody is told good day."""

    def __init__(self, trouble=None):
        self.opened = 0
        self.trouble = trouble

    async def __call__(self, control):
        self.opened += 1
        if self.trouble:
            raise self.trouble

        async def greet(_reader, writer):
            writer.write(b"good day")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_unix_server(greet, sock=control.socket)

        async def stop():
            server.close()

        return stop


@pytest.fixture(params=[asyncio.new_event_loop, ServingLoop], ids=["plain", "serving"])
def run(request):
    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coroutine)

    return run


async def ask(path):
    reader, writer = await asyncio.open_unix_connection(path)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def test_the_door_is_opened_for_the_first_visitor_and_stays_open(run, tmp_path):
    async def scenario():
        path, porter = tmp_path / "control.sock", Porter()
        bell = Doorbell(SocketFile(path), porter)
        bell.start()
        await asyncio.sleep(0)
        assert porter.opened == 0
        assert await asyncio.gather(ask(path), ask(path)) == [b"good day"] * 2
        assert await ask(path) == b"good day"
        assert porter.opened == 1
        await bell.stop()
        assert not path.exists()

    run(scenario())


def test_nobody_came(run, tmp_path):
    async def scenario():
        path, porter = tmp_path / "control.sock", Porter()
        bell = Doorbell(SocketFile(path), porter)
        bell.start()
        await bell.stop()
        assert porter.opened == 0
        assert not path.exists()

    run(scenario())


def test_a_door_that_cannot_be_opened_turns_visitors_away(run, tmp_path, caplog):
    async def scenario():
        path = tmp_path / "control.sock"
        bell = Doorbell(SocketFile(path), Porter(RuntimeError("planted")))
        bell.start()
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.setblocking(False)
            await asyncio.get_running_loop().sock_connect(visitor, str(path))
            async with asyncio.timeout(10):
                with pytest.raises(ConnectionError):
                    await asyncio.get_running_loop().sock_recv(visitor, 1)
        with pytest.raises(ConnectionRefusedError):
            await ask(path)
        await bell.stop()
        assert not path.exists()

    run(scenario())
    assert "planted" in caplog.text
