"""`pub` against a running broker."""

import socket
from threading import Thread

import pytest
from processes import appliance, free_port, running

from appliance.exits import Exit


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def broker(home):
    port = free_port()
    with running(home, "run", "--data", home / "d", "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        yield port


def retained(home, broker, *topics):
    """Give the first that is there."""
    filters = [word for topic in topics for word in ("-t", topic)]
    return appliance(home, "sub", "-p", broker, *filters, "-C", "1", "-N").stdout


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_arrives(home, broker, version, qos):
    topic = f"home/{version}/{qos}"
    done = appliance(home, "pub", "-p", broker, "-t", topic, "-m", "ä", "-r", "-q", qos, "-V", version)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert retained(home, broker, topic) == "ä"


def test_an_empty_message_deletes_a_retained_one(home, broker):
    appliance(home, "pub", "-p", broker, "-t", "home/x", "-m", "1", "-r", "-q", "1")
    appliance(home, "pub", "-p", broker, "-t", "home/x", "-n", "-r", "-q", "1")
    appliance(home, "pub", "-p", broker, "-t", "home/y", "-m", "2", "-r", "-q", "1")
    assert retained(home, broker, "home/x", "home/y") == "2"


def test_a_file_and_standard_input(home, broker, tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(b"two\nlines\n")
    appliance(home, "pub", "-p", broker, "-t", "home/file", "-f", path, "-r", "-q", "1")
    assert retained(home, broker, "home/file") == "two\nlines\n"
    appliance(home, "pub", "-p", broker, "-t", "home/stdin", "-s", "-r", "-q", "1", stdin="all\nof it")
    assert retained(home, broker, "home/stdin") == "all\nof it"


@pytest.mark.parametrize("qos", [0, 1])
def test_each_line_is_a_message(home, broker, qos):
    topic = f"home/lines/{qos}"
    with running(
        home, "sub", "-p", broker, "-t", topic, "-q", "1", "-C", "2501", "-t", f"home/mark/{qos}"
    ) as subscriber:
        appliance(home, "pub", "-p", broker, "-t", f"home/mark/{qos}", "-m", "go", "-r", "-q", "1")
        assert subscriber.line() == "go\n"
        lines = [f"line {i}\n" for i in range(2500)]
        done = appliance(home, "pub", "-p", broker, "-t", topic, "-l", "-q", qos, stdin="".join(lines))
        assert (done.returncode, done.stderr) == (0, "")
        assert [subscriber.line() for _ in lines] == lines


def test_a_broker_that_stays_silent_is_left_with_27(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = appliance(home, "pub", "-h", "127.0.0.1", "-p", port, "-t", "a", "-m", "x", "-W", "0.3")
    assert done.returncode == Exit.TIMEOUT
    assert "has not acknowledged the connection within 0.3 s" in done.stderr


def test_a_message_that_is_not_acknowledged_is_left_with_27(home):
    def greet(server):
        link, _ = server.accept()
        with link:
            link.recv(1000)
            link.sendall(b"\x20\x02\x00\x00")  # CONNACK, and nothing after it
            while link.recv(1000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=greet, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        done = appliance(home, "pub", "-h", "127.0.0.1", "-p", port, "-t", "a", "-m", "x", "-q", "1", "-W", "3")
        thread.join()
    assert done.returncode == Exit.TIMEOUT
    assert "has not acknowledged the message within 3 s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("-t", "a/#", "-m", "x"), Exit.USAGE, "-t: the topic name 'a/#' contains a wildcard"),
        (("-t", "", "-m", "x"), Exit.USAGE, "-t: the topic name is empty"),
        (("-t", "a", "-f", "/nope"), Exit.NOTHING, "/nope cannot be read (No such file or directory); check its path"),
        (("-t", "a", "-m", "x", "-P", "x"), Exit.USAGE, "-P needs a user name: add -u NAME"),
        (("-t", "a", "-m", "x", "-p", "1"), Exit.UNAVAILABLE, "no broker at localhost:1 (Connection refused)"),
    ],
)
def test_one_line_says_what_is_wrong(home, arguments, code, complaint):
    done = appliance(home, "pub", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"appliance: {complaint}")
    assert done.stderr.count("\n") == 1


def test_a_broker_that_refuses(home, broker):
    done = appliance(home, "pub", "-p", broker, "-t", "a", "-m", "x", "-i", "x" * 300)
    assert done.returncode == Exit.UNAVAILABLE
    assert f"localhost:{broker} refused the connection" in done.stderr


def serve(server, connack, puback):
    """Greet each client; answer what it publishes, or close when there is no answer."""
    while True:
        try:
            link, _ = server.accept()
        except OSError:
            return
        with link:
            link.recv(1000)
            link.sendall(connack)
            link.recv(1000)
            if puback:
                link.sendall(puback)
                link.recv(1000)


@pytest.mark.parametrize(
    ("version", "connack", "puback", "complaint"),
    [
        ("mqttv311", b"\x20\x02\x00\x00", b"", "closes the connection instead of acknowledging the message; its disk"),
        (
            "mqttv5",
            b"\x20\x03\x00\x00\x00",
            b"\x40\x0f\x00\x01\x97\x0b\x1f\x00\x08disk\x1b[0m",
            "(Quota exceeded: disk\\x1b[0m); its disk may be full: `appliance status` there says so",
        ),
    ],
)
def test_a_broker_that_cannot_store(home, version, connack, puback, complaint):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, args=(server, connack, puback))
        thread.start()
        port = server.getsockname()[1]
        done = appliance(home, "pub", "-h", "127.0.0.1", "-p", port, "-t", "a", "-m", "x", "-q", "1", "-V", version)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert done.returncode == Exit.UNAVAILABLE
    assert complaint in done.stderr
