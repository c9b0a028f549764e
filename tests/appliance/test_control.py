import asyncio
import socket
import threading

import pytest
from webserver import page

from appliance.control import ControlClient, ControlRefused, ControlUnavailable


def test_asking_a_running_appliance(tmp_path):
    folder = tmp_path / ("long" * 30)  # further than a socket's path may reach
    folder.mkdir()

    async def scenario():
        async with page(folder, control=True, port=None) as served:
            control = ControlClient(folder / "control.sock")
            assert await asyncio.to_thread(control.get, "/api/status") == {"version": "test"}
            got = []
            stop = served.local.subscribe("#", got.append)
            await asyncio.to_thread(control.post, "/api/publish", {"topic": "home/ü/set", "payload": "ON"})
            assert [(message.topic, message.payload) for message in got] == [("home/ü/set", b"ON")]
            stop()
            with pytest.raises(ControlRefused, match=r"history\.enabled") as refused:
                await asyncio.to_thread(lambda: control.get("/api/history", topic="a & b", since="1h", limit=None))
            assert refused.value.status == 404

    asyncio.run(scenario())


def stale(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


NOBODY = [
    (lambda _: None, "no appliance is running"),
    (stale, "no appliance is running"),
    (lambda path: path.write_text("no socket"), "no appliance is running"),
]


@pytest.mark.parametrize(("prepare", "says"), NOBODY)
def test_nobody_is_there(tmp_path, prepare, says):
    path = tmp_path / "control.sock"
    prepare(path)
    with pytest.raises(ControlUnavailable, match=says) as unavailable:
        ControlClient(path).get("/api/status")
    assert str(path) in str(unavailable.value)
    assert "\n" not in str(unavailable.value)


def test_no_folder(tmp_path):
    with pytest.raises(ControlUnavailable, match="--data"):
        ControlClient(tmp_path / "none" / "control.sock").get("/api/status")


ANSWERS = [
    (b"", "does not answer as expected"),
    (b"hello\r\n\r\n", "does not answer as expected"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "does not answer as expected"),
]


@pytest.mark.parametrize(("answer", "says"), ANSWERS)
def test_something_else_answers(tmp_path, answer, says):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ControlUnavailable, match=says):
            ControlClient(path).get("/api/status")
        thread.join()


def test_nothing_answers(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ControlUnavailable, match="does not answer; look at its log"):
            ControlClient(path, timeout_s=0.05).get("/api/status")
