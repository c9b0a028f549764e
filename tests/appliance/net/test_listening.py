import errno
import os
import socket
import stat

import pytest

from appliance.net import listening
from appliance.net.listening import SocketFile, SocketFileError, listen_tcp, peer_name
from appliance.places import reachable


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
    control = SocketFile(tmp_path / "control.sock")
    opened(control)
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    assert not os.get_inheritable(control.socket.fileno())


def test_a_path_longer_than_the_system_takes(tmp_path, opened):
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    assert len(str(path)) > 107
    opened(SocketFile(path))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(reachable(descriptor, path.name))
    finally:
        os.close(descriptor)


def test_what_a_killed_process_left_is_replaced(tmp_path, opened):
    path = tmp_path / "control.sock"
    left_behind(path)
    opened(SocketFile(path))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))


def test_a_live_one_is_left_alone(tmp_path, opened):
    path = tmp_path / "control.sock"
    opened(SocketFile(path))
    with pytest.raises(SocketFileError, match="already running there; stop it") as refused:
        SocketFile(path)
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
        with pytest.raises(SocketFileError, match="already running"):
            SocketFile(path)


def test_what_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(SocketFileError, match="move it away"):
        SocketFile(path)
    assert path.read_text() == "mine"


def test_a_missing_folder(tmp_path):
    with pytest.raises(SocketFileError, match="make the folder"):
        SocketFile(tmp_path / "none" / "control.sock")


@pytest.mark.parametrize("length", [100, 300])
def test_a_name_longer_than_the_system_takes(tmp_path, length):
    with pytest.raises(SocketFileError, match=r"too long: shorten it$"):
        SocketFile(tmp_path / ("a" * length))


REFUSALS = [
    ("open", errno.EACCES, "Permission denied: let this user enter {folder}"),
    ("open", errno.ENOTDIR, "Not a directory: make the folder {folder}"),
    ("stat", errno.EACCES, "Permission denied: let this user enter {folder}"),
    ("chmod", errno.EACCES, "Permission denied: let this user write to {folder}"),
    ("chmod", errno.EPERM, "Operation not permitted: choose a directory on another disk"),
    ("chmod", errno.EOPNOTSUPP, "Operation not supported: choose a directory on another disk"),
]


@pytest.mark.parametrize(("call", "number", "words"), REFUSALS)
def test_each_cause_has_its_cure(tmp_path, monkeypatch, call, number, words):
    real = getattr(os, call)

    def refuse(path, *arguments, **options):
        if str(path) in {str(tmp_path), "mqtt.sock"}:  # root may do everything, so a mode proves nothing
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(listening.os, call, refuse)
    with pytest.raises(SocketFileError) as caught:
        SocketFile(tmp_path / "mqtt.sock", name="socket file")
    monkeypatch.undo()
    assert str(caught.value) == f"socket file {tmp_path}/mqtt.sock: {words.format(folder=tmp_path)}"


def test_removing_spares_a_successor(tmp_path, opened):
    path = tmp_path / "control.sock"
    first = SocketFile(path)
    first.socket.close()
    second = SocketFile(path)
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


def test_a_group_may_be_let_in(tmp_path, opened):
    opened(SocketFile(tmp_path / "mqtt.sock", mode=0o660, name="socket file"))
    assert stat.S_IMODE((tmp_path / "mqtt.sock").stat().st_mode) == 0o660
    with pytest.raises(SocketFileError, match=f"^socket file {tmp_path}/mqtt.sock: an appliance is already running"):
        SocketFile(tmp_path / "mqtt.sock", name="socket file")


NAMES = [("127.0.0.1", "127.0.0.1", "127.0.0.1:"), ("::1", "::1", "[::1]:")]


@pytest.mark.parametrize(("listen", "visit", "expected"), NAMES)
def test_names_of_those_who_come(listen, visit, expected):
    with listen_tcp(listen, 0) as listener, socket.create_connection((visit, listener.getsockname()[1])) as visitor:
        listener.setblocking(True)
        client, address = listener.accept()
        with client:
            assert peer_name(client, address) == f"{expected}{visitor.getsockname()[1]}"


def test_a_listener_of_ipv6_serves_ipv4_too_and_names_it_so():
    """What :: does on the network is shown here on loopback, with the address that stands for IPv4 in IPv6."""
    mapped = "::ffff:127.0.0.1"
    with listen_tcp(mapped, 0) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as one:
        listener.setblocking(True)
        client, address = listener.accept()
        with client:
            assert address[0] == mapped
            assert peer_name(client, address) == f"127.0.0.1:{one.getsockname()[1]}"


def test_a_program_of_this_computer_is_named_by_its_process(tmp_path, opened):
    file = SocketFile(tmp_path / "mqtt.sock")
    opened(file)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(tmp_path / "mqtt.sock"))
        file.socket.setblocking(True)
        client, address = file.socket.accept()
        with client:
            assert peer_name(client, address) == f"unix process {os.getpid()} of user {os.getuid()}"


def test_who_is_gone_already_has_no_name():
    with socket.socket() as client:
        assert peer_name(client, None) == "?"
