import os
import socket
import stat

import pytest

from appliance.control import reachable
from appliance.features.web.listening import ControlSocket, ControlSocketError, listen_tcp


@pytest.fixture
def opened():
    sockets = []
    yield sockets.append
    for control in sockets:
        control.socket.close()


def left_behind(path):
    """What a killed process leaves: a file nobody listens to."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_only_the_owner_may_open_it(tmp_path, opened):
    control = ControlSocket(tmp_path / "control.sock")
    opened(control)
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    assert not os.get_inheritable(control.socket.fileno())


def test_a_path_longer_than_the_system_takes(tmp_path, opened):
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    assert len(str(path)) > 107
    opened(ControlSocket(path))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(reachable(descriptor, path.name))
    finally:
        os.close(descriptor)


def test_what_a_killed_process_left_is_replaced(tmp_path, opened):
    path = tmp_path / "control.sock"
    left_behind(path)
    opened(ControlSocket(path))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))


def test_a_live_one_is_left_alone(tmp_path, opened):
    path = tmp_path / "control.sock"
    opened(ControlSocket(path))
    with pytest.raises(ControlSocketError, match="already running there; stop it") as refused:
        ControlSocket(path)
    assert isinstance(refused.value, OSError)
    assert "\n" not in str(refused.value)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))


def test_a_live_one_with_a_full_backlog_is_left_alone(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ControlSocketError, match="already running"):
            ControlSocket(path)


def test_what_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(ControlSocketError, match="move it away"):
        ControlSocket(path)
    assert path.read_text() == "mine"


def test_a_missing_folder(tmp_path):
    with pytest.raises(ControlSocketError, match="make the folder"):
        ControlSocket(tmp_path / "none" / "control.sock")


def test_removing_spares_a_successor(tmp_path, opened):
    path = tmp_path / "control.sock"
    first = ControlSocket(path)
    first.socket.close()
    second = ControlSocket(path)
    opened(second)
    first.remove()
    assert path.exists()
    second.remove()
    assert not path.exists()
    second.remove()  # twice is fine


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_a_port_is_listened_to_once(address):
    with listen_tcp(address, 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen_tcp(address, port)
