"""Every port that cannot be had is named before anything is made."""

import errno
import socket
from contextlib import contextmanager

import pytest

from appliance import ports
from appliance.exits import CommandError, Exit
from appliance.ports import look_whether_free
from appliance.settings import Listener, Mqtt, Settings, Web


@contextmanager
def taken():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def refused(settings):
    with pytest.raises(CommandError) as caught:
        look_whether_free(settings)
    assert caught.value.exit_code == Exit.UNAVAILABLE
    return str(caught.value)


def test_free_ports_stay_free():
    with taken() as port:
        pass
    for _ in range(2):
        look_whether_free(Settings(mqtt=Mqtt(port=port), web=Web(port=0)))


def test_all_that_are_taken_are_named_at_once():
    with taken() as one, taken() as two, taken() as three:
        listener = Listener(serve="mqtt", address="127.0.0.1", port=three, plain=True)
        assert refused(Settings(mqtt=Mqtt(port=one), web=Web(port=two), listener=[listener])) == (
            f"port {one} on 127.0.0.1 is taken by another program; "
            "stop that one or choose another with --mqtt-port (0 for none); "
            f"port {two} on 127.0.0.1 is taken by another program; "
            "stop that one or choose another with --http-port (0 for none); "
            f"listener[1].port: 127.0.0.1:{three} is taken by another program; stop that one or choose another"
        )


def test_a_port_only_root_may_open(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ports, "bind_tcp", refuse)
    assert refused(Settings(mqtt=Mqtt(port=80), web=Web(port=0))) == (
        "port 80 on 127.0.0.1 may not be opened by this user; choose another with --mqtt-port (0 for none)"
    )


def test_an_address_of_another_computer():
    listener = Listener(serve="web", address="192.0.2.1", port=8443)
    assert refused(Settings(mqtt=Mqtt(port=0), web=Web(port=0), listener=[listener])).startswith(
        "listener[1].address: 192.0.2.1:8443 is no address of this computer"
    )
