"""The ports that a service wants: looked at before anything is made, and explained when they cannot be had."""

import errno
from collections.abc import Generator
from contextlib import contextmanager

from appliance.exits import CommandError, Exit
from appliance.listeners import where
from appliance.net.listening import SocketFileError, bind_tcp
from appliance.settings import Listener, Settings


def look_whether_free(settings: Settings) -> None:
    """Raise CommandError that names every port that is taken, before a data directory is made for nothing."""
    refusals: list[CommandError] = []
    for name, section in (("mqtt", settings.mqtt), ("http", settings.web)):
        if section.port:
            try:
                with explained(section.address, section.port, name):
                    bind_tcp(section.address, section.port).close()
            except CommandError as error:
                refusals.append(error)
    for number, one in enumerate(settings.listener):
        if not one.path:
            try:
                with explained_listener(number, one):
                    bind_tcp(one.address, one.port_or_usual()).close()
            except CommandError as error:
                refusals.append(error)
    if refusals:
        raise CommandError("; ".join(map(str, refusals)), refusals[0].exit_code)


@contextmanager
def explained(address: str, port: int, name: str) -> Generator[None]:
    """Turn the refusal of a port into one line; `name` is that of its option, --NAME-port."""
    try:
        yield
    except OSError as error:
        cure = f"choose another with --{name}-port (0 for none)"
        place = f"port {port} on {address}"
        problem = {
            errno.EADDRINUSE: f"{place} is taken by another program; stop that one or {cure}",
            errno.EACCES: f"{place} may not be opened by this user; {cure}",
        }.get(error.errno or 0, f"{place} cannot be opened ({error.strerror or error}); {cure}")
        raise CommandError(problem, Exit.UNAVAILABLE) from None


@contextmanager
def explained_listener(number: int, one: Listener) -> Generator[None]:
    """Turn the refusal of a listener into one line that names its key."""
    try:
        yield
    except SocketFileError as error:
        raise CommandError(f"listener[{number + 1}].path: {error}", Exit.UNAVAILABLE) from None
    except OSError as error:
        problem = {
            errno.EADDRINUSE: "is taken by another program; stop that one or choose another",
            errno.EACCES: "may not be opened by this user; choose a port above 1023",
            errno.EADDRNOTAVAIL: "is no address of this computer; choose one of its own",
        }.get(error.errno or 0, f"cannot be opened ({error.strerror or error}); choose another")
        key = "address" if error.errno == errno.EADDRNOTAVAIL else "port"
        raise CommandError(f"listener[{number + 1}].{key}: {where(one)} {problem}", Exit.UNAVAILABLE) from None
