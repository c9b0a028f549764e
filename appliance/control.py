"""The command line's way to a running appliance: its API over the control socket."""

import errno
import json
import os
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from appliance.places import reachable

TIMEOUT_S: Final = 10.0
NOBODY: Final = "no appliance is running at"  # how it is told that a socket was left behind


class ControlUnavailable(Exception):
    """No appliance answers; the text is one line with the cure."""


class ControlRefused(Exception):
    """The appliance answered that it will not; the text is its one line, `status` the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ControlClient:
    """Asks the appliance whose control socket is at `path`; each question is a connection of its own."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def get(self, path: str, **query: object) -> object:
        """Answer of GET; ControlUnavailable when nobody is there, ControlRefused when the answer is an error."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(asked)}" if asked else path, None)

    def post(self, path: str, body: Mapping[str, object]) -> object:
        """Answer of POST; errors as in `get`."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, target: str, body: bytes | None) -> object:
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, target, body, {} if body is None else {"Content-Type": "application/json"})
            response = connection.getresponse()
            status = response.status
            answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise ControlUnavailable(_why(self._path, error)) from error
        finally:
            connection.close()
        if status >= 400:
            reason = answer.get("error") if isinstance(answer, dict) else None
            raise ControlRefused(status, str(reason or f"the appliance answered {status}"))
        return answer


class _UnixConnection(HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost")
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Open the connection, whatever the length of the path."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self._timeout_s)
            self.sock.connect(reachable(folder, self._path.name))
        except BaseException:
            self.sock.close()
            raise
        finally:
            os.close(folder)


def _why(path: Path, error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(error, TimeoutError):
        return f"the appliance at {path} does not answer; look at its log, then restart it"
    if code in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
        return f"{NOBODY} {path}; start it, or name its data directory with --data"
    if code in {errno.EACCES, errno.EPERM}:
        return f"not allowed to open {path}; run the command as the user of the appliance, or with sudo"
    return f"the appliance at {path} does not answer as expected ({error}); restart it"
