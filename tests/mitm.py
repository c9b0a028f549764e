"""A man in the middle of agent and hub, with a certificate of its own: hears all that is said, and may change it."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

from appliance.net.certificates import server_context


class ManInTheMiddle:
    """Answers in the hub's place; `meddle(path, body)` gives what goes to the hub, `twist(path, body)` what comes back.

    `recorded` holds (path, request, answer) as they were said, before anything was changed.
    """

    def __init__(self, authority, hub_port, meddle=None, twist=None, impersonate=None):
        self.recorded = []
        self._context = server_context(str(authority.certificate), str(authority.key), protocol="http/1.1")
        self._hub_port = hub_port
        self._meddle = meddle or (lambda _path, body: body)
        self._twist = twist or (lambda _path, body: body)
        self._impersonate = impersonate  # answers by itself: (path, body) -> (status, body)
        self._tasks = []
        self.port = 0

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader, writer):
        self._tasks.append(asyncio.current_task())
        try:
            await self._answer(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head, body = await _message(reader)
                path = head.split(b" ")[1].decode()
                status, answer = await self._answered(path, body)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))
                await writer.drain()

    async def _answered(self, path, body):
        if self._impersonate is not None:
            status, answer = self._impersonate(path, body)
            self.recorded.append((path, body, answer))
            return status, answer
        status, answer = await self.tell(path, self._meddle(path, body))
        self.recorded.append((path, body, answer))
        return status, self._twist(path, answer) if status == 200 else answer

    async def tell(self, path, body):
        """Say something to the hub oneself."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", self._hub_port, ssl=context)
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            top, answer = await _message(reader)
            return int(top.split(b" ")[1]), answer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    def heard(self):
        """Everything, one after the other."""
        return b"\n".join(part for _, *parts in self.recorded for part in parts)


async def _message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(size)
