"""Sockets to listen on: a TCP port for the page, a file for the command line."""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Final

from appliance.control import reachable

BACKLOG: Final = 128


class ControlSocketError(OSError):
    """The control socket cannot be opened; the text is one line with the cure."""

    def __str__(self) -> str:
        """Only the line for people."""
        return str(self.args[1])


def listen_tcp(address: str, port: int) -> socket.socket:
    """Open a port; OSError when it is taken or the address is not ours."""
    family, _, _, _, target = min(
        socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
        key=lambda found: found[0] != socket.AF_INET,  # localhost means 127.0.0.1 first
    )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class ControlSocket:
    """The command line's way in: a socket file that only its owner may open."""

    def __init__(self, path: Path) -> None:
        """Open it, in place of one that a killed process left; ControlSocketError when a live one is there."""
        self._path = path
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _trouble(
                error.errno, path, f"{os.strerror(error.errno or 0)}: make the folder {path.parent}"
            ) from error
        try:
            self._listen(folder)
        finally:
            os.close(folder)

    def _listen(self, folder: int) -> None:
        path = self._path
        try:
            # Held for an instant: of two processes that start together, one looks only after the other listens.
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _trouble(errno.EBUSY, path, "another program is busy with its folder; try again") from error
        _remove_stale(folder, path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.bind(reachable(folder, path.name))
            os.chmod(path.name, 0o600, dir_fd=folder)  # nobody gets in before: it listens only below
            self._identity = _identity(os.stat(path.name, dir_fd=folder, follow_symlinks=False))
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            raise _trouble(
                error.errno, path, f"{error.strerror or error}: choose a data directory on another disk"
            ) from error

    def remove(self) -> None:
        """Remove the file, unless somebody else has put theirs there meanwhile."""
        try:
            if _identity(self._path.lstat()) == self._identity:
                self._path.unlink()
        except FileNotFoundError:
            pass


def _remove_stale(folder: int, path: Path) -> None:
    try:
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _trouble(errno.EEXIST, path, "something that is not a socket has its place; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)  # a live one with a full backlog must not hold us
        try:
            visitor.connect(reachable(folder, path.name))
        except ConnectionRefusedError:
            os.unlink(path.name, dir_fd=folder)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # alive and busy
        except OSError as error:
            raise _trouble(
                error.errno, path, f"{error.strerror or error}: remove it if no appliance is running"
            ) from error
    raise _trouble(
        errno.EADDRINUSE, path, "an appliance is already running there; stop it or use another data directory"
    )


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns  # numbers alone are given again after a removal


def _trouble(number: int | None, path: Path, what: str) -> ControlSocketError:
    return ControlSocketError(number or errno.EIO, f"control socket {path}: {what}")
