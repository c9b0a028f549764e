"""Sockets to listen on: TCP ports and socket files. And how those who come are called."""

import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any, Final

from appliance.places import reachable

BACKLOG: Final = 512
PEER: Final = struct.Struct("3i")  # struct ucred: process, user, group


class SocketFileError(OSError):
    """A socket file cannot be opened; the text is one line with the cure."""

    def __str__(self) -> str:
        """Only the line for people."""
        return str(self.args[1])


class ListenerError(Exception):
    """One of several listeners cannot be opened; `number` is its place in their list."""

    def __init__(self, number: int, why: OSError) -> None:
        super().__init__(number, why)
        self.number = number
        self.why = why


def listen_tcp(address: str, port: int) -> socket.socket:
    """Open a port, 0 takes any free one; OSError when it is taken or the address is not ours.

    An IPv6 address that means every address means those of IPv4 too.
    """
    listener = bind_tcp(address, port)
    try:
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_tcp(address: str, port: int) -> socket.socket:
    """Take a port without listening on it yet: whoever tries to connect is refused as before. OSError as above."""
    host = address.encode() if address.isascii() else address  # others want tables of some hundred kilobytes
    family, _, _, _, target = min(
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
        key=lambda found: found[0] != socket.AF_INET,  # localhost means 127.0.0.1 first
    )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(target)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_name(client: Any, address: Any) -> str:
    """Name who is at the other end: address and port, or the process on this computer."""
    if client.family == socket.AF_UNIX:
        process, user, _ = peer_credentials(client)
        return f"unix process {process} of user {user}"
    if not address:  # it is gone already
        return "?"
    host, port = address[:2]
    if client.family == socket.AF_INET6:
        mapped = host.removeprefix("::ffff:")
        host = mapped if "." in mapped else f"[{host}]"
    return f"{host}:{port}"


def peer_credentials(client: Any) -> tuple[int, int, int]:
    """Process, user and group at the other end of a socket file, as the kernel says."""
    process, user, group = PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return process, user, group


class SocketFile:
    """A way in for this computer's own programs: a file that those may open whom its mode lets."""

    def __init__(self, path: Path, *, mode: int = 0o600, name: str = "control socket") -> None:
        """Open it, in place of one that a killed process left; SocketFileError when a live one is there.

        `name` is what it is called when it cannot be opened.
        """
        self._path = path
        self._mode = mode
        self._name = name
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            cure = self._cure(error, f"make the folder {path.parent}", "enter")
            raise self._trouble(error.errno, f"{error.strerror}: {cure}") from error
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
            raise self._trouble(errno.EBUSY, "another program is busy with its folder; try again") from error
        self._remove_stale(folder)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.bind(reachable(folder, path.name))
            os.chmod(path.name, self._mode, dir_fd=folder)  # nobody gets in before: it listens only below
            self._identity = _identity(os.stat(path.name, dir_fd=folder, follow_symlinks=False))
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            cure = self._cure(error, "choose a directory on another disk", "write to")
            raise self._trouble(error.errno, f"{error.strerror or error}: {cure}") from error

    def remove(self) -> None:
        """Remove the file, unless somebody else has put theirs there meanwhile."""
        try:
            if _identity(self._path.lstat()) == self._identity:
                self._path.unlink()
        except FileNotFoundError:
            pass

    def _remove_stale(self, folder: int) -> None:
        path = self._path
        try:
            mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            cure = self._cure(error, "choose a directory on another disk", "enter")
            raise self._trouble(error.errno, f"{error.strerror}: {cure}") from error
        if not stat.S_ISSOCK(mode):
            raise self._trouble(errno.EEXIST, "something that is not a socket has its place; move it away")
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
                raise self._trouble(
                    error.errno, f"{error.strerror or error}: remove it if no appliance is running"
                ) from error
        raise self._trouble(
            errno.EADDRINUSE, "an appliance is already running there; stop it or choose another directory"
        )

    def _cure(self, error: OSError, usual: str, do: str) -> str:
        if error.errno == errno.EACCES:
            return f"let this user {do} {self._path.parent}"
        is_too_long = error.errno == errno.ENAMETOOLONG or "too long" in str(error)  # Python's own has no number
        return "shorten it" if is_too_long else usual

    def _trouble(self, number: int | None, what: str) -> SocketFileError:
        return SocketFileError(number or errno.EIO, f"{self._name} {self._path}: {what}")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns  # numbers alone are given again after a removal
