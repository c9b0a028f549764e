"""A real page on loopback, a real broker and database behind it, and requests as browsers and scripts send them."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from keeper import Keeper
from sockets import PATIENCE_S, loopback
from websockets.asyncio.client import connect

from appliance.features.web.server import WebServer
from appliance.net.listening import SocketFile
from appliance.net.local import LocalClient
from appliance.net.websocket import WebSocketLink
from appliance.store.gaps import Gaps
from appliance.store.tier_reader import TierReader


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Page:
    def __init__(self, server, local, broker):
        self.server, self.local, self.broker = server, local, broker
        self.port = server.port

    async def ask(self, target, method="GET", headers=None, body=b""):
        """One request over a connection of its own."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            lines = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **(headers or {})}
            if body:
                lines["Content-Length"] = len(body)
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
            raw = await reader.read()
            writer.close()
            await writer.wait_closed()
        top, _, rest = raw.partition(b"\r\n\r\n")
        status, *fields = top.decode("latin-1").split("\r\n")
        answered = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return Answer(int(status.split()[1]), answered, rest)

    @asynccontextmanager
    async def link(self, **options):
        """A raw connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def post(self, body, **headers):
        return await self.ask(
            "/api/publish", "POST", {"Content-Type": "application/json", **headers}, json.dumps(body).encode()
        )

    def watch(self, **options):
        """The live feed, as a script opens it; a browser adds its Origin."""
        return connect(f"ws://127.0.0.1:{self.port}/api/live", proxy=None, compression=None, **options)


async def is_closed(reader):
    """Whether the server ends the connection without another word."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


async def frame(socket):
    """The next frame of a live feed."""
    async with asyncio.timeout(PATIENCE_S):
        return json.loads(await socket.recv())


def record(path, readings, gaps=()):
    """Write (topic, at, value) into a database; True and False are ON and OFF. Gaps are (note, since, until)."""
    keeper = Keeper(path)
    try:
        keeper.record(
            (topic, "binary" if isinstance(value, bool) else "number", at, float(value))
            for topic, at, value in readings
        )
        keeper.move()
        with keeper.database.transaction():
            Gaps(keeper.database.connection).write(
                [note._replace(opened=since, closed=until) for note, since, until in gaps],
                lambda at: keeper.clock.place(round(at * 1000)).tick,
            )
        keeper.move()  # or a service would find rows that it has not staged
    finally:
        keeper.stop()
    return path


@asynccontextmanager
async def page(
    tmp_path,
    *,
    history=None,
    control=False,
    port=0,
    status=lambda: {"version": "test"},
    doors=(),
    pairing=None,
    reload=None,
    **limits,
):
    async with loopback(**limits) as server:
        local = LocalClient(server.hub, "page")
        web = WebServer(
            site="home",
            address="127.0.0.1",
            port=port,
            control=(lambda: SocketFile(tmp_path / "control.sock")) if control else None,
            local=local,
            history=None if history is None else TierReader(history),
            status=status,
            reload=reload,
            mqtt=lambda: WebSocketLink(server.hub, server.broker._limits.max_packet_bytes),
            doors=doors,
            pairing=pairing,
        )
        await web.start()
        try:
            yield Page(web, local, server)
        finally:
            await web.stop()
