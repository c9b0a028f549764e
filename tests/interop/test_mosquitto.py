"""Mosquitto's own clients, and Mosquitto itself as a bridge, at our broker."""

import contextlib
import itertools
import shutil
import subprocess
import time

import pytest
from mosquitto_peer import BINARY, Mosquitto
from raw import PATIENCE_S, publish

PUB, SUB, RR = (shutil.which(f"mosquitto_{name}") for name in ("pub", "sub", "rr"))

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(None in {PUB, SUB, RR}, reason="no Mosquitto clients here; apt install mosquitto-clients"),
]

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]


def pub(service, topic, *arguments, version="mqttv311", stdin=None):
    command = [PUB, "-h", "127.0.0.1", "-p", str(service.port), "-V", version, "-t", topic, *arguments]
    subprocess.run(command, input=stdin, check=True, timeout=PATIENCE_S, capture_output=True)


@contextlib.contextmanager
def sub(service, *arguments, version="mqttv311"):
    """Run mosquitto_sub until it ends by itself or the test does; it has subscribed when this returns."""
    command = [SUB, "-h", "127.0.0.1", "-p", str(service.port), "-V", version, "-d", *arguments]
    process = subprocess.Popen(["stdbuf", "-oL", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        try:
            for line in process.stdout:
                if line.startswith(b"Subscribed"):
                    break
            yield process
        finally:
            process.kill()


def lines(process, count):
    """Give the next messages, without what -d says of packets."""
    shown = (line.rstrip(b"\n") for line in process.stdout if not line.startswith((b"Client ", b"Subscribed")))
    return list(itertools.islice(shown, count))


@pytest.mark.parametrize("qos", "012")
@pytest.mark.parametrize("reader", VERSIONS)
@pytest.mark.parametrize("writer", VERSIONS)
def test_every_version_to_every_version(service, writer, reader, qos):
    with sub(service, "-t", "home/+/temperature", "-q", qos, "-F", "%t %q %r %p", version=reader) as process:
        pub(service, "home/kitchen/temperature", "-m", "21.4", "-q", qos, version=writer)
        pub(service, "home/attic/temperature", "-m", "", "-q", qos, version=writer)
        expected = [f"home/kitchen/temperature {qos} 0 21.4", f"home/attic/temperature {qos} 0 "]
        assert lines(process, 2) == [line.encode() for line in expected]


@pytest.mark.parametrize("version", VERSIONS)
def test_retained_messages(service, version):
    pub(service, f"kept/{version}", "-m", "21.4", "-r", "-q", "1", version=version)
    with sub(service, "-t", "kept/+", "-q", "1", "-F", "%t %q %r %p", version=version) as process:
        assert lines(process, 1) == [f"kept/{version} 1 1 21.4".encode()]
        pub(service, f"kept/{version}", "-m", "22.0", "-r", version=version)
        assert lines(process, 1) == [f"kept/{version} 0 0 22.0".encode()]
        pub(service, f"kept/{version}", "-n", "-r", version=version)
        assert lines(process, 1) == [f"kept/{version} 0 0 ".encode()]
    with sub(service, "-t", "kept/+", "-F", "%t", version=version) as process:
        pub(service, "kept/end", "-m", "x")
        assert lines(process, 1) == [b"kept/end"]


def test_remove_retained(service):
    for number in range(20):
        pub(service, f"old/{number}", "-m", "x", "-r")
    watcher = service.reader("old/#", qos=1)
    watcher.packets(20)
    with sub(service, "-t", "old/#", "--remove-retained"):
        sizes = {len(publish(f"old/{number}", b"", 1)) for number in range(20)}
        assert {len(packet) for packet in watcher.packets(20)} == sizes  # nothing but topic and packet id
    service.reader("old/#").silent()


@pytest.mark.parametrize("qos", "012")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_a_thousand_lines_in_order(service, version, qos):
    numbers = [b"%04d" % number for number in range(1_000)]
    with sub(service, "-t", "many", "-q", qos, "-C", "1000", version=version) as process:
        pub(service, "many", "-l", "-q", qos, stdin=b"\n".join(numbers) + b"\n", version=version)
        assert lines(process, 1_000) == numbers


@pytest.mark.parametrize("qos", "012")
def test_a_large_message(service, tmp_path, qos):
    file = tmp_path / "large"
    file.write_bytes(bytes(range(256)) * 900)
    with sub(service, "-t", "large", "-q", qos, "-F", "%l %x", version="mqttv5") as process:
        pub(service, "large", "-f", str(file), "-q", qos)
        assert lines(process, 1) == [b"230400 " + file.read_bytes().hex().encode()]


def test_a_message_that_is_too_large_closes_that_client_only(service, tmp_path):
    file = tmp_path / "too-large"
    file.write_bytes(bytes(300_000))
    with sub(service, "-t", "large", "-F", "%l") as process:
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            command = [PUB, "-p", str(service.port), "-t", "large", "-f", str(file), "-q", "0"]
            subprocess.run(command, check=True, timeout=5, capture_output=True)
        pub(service, "large", "-m", "12345")
        assert lines(process, 1) == [b"5"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_keeps_what_came_meanwhile(service, version):
    expiry = ["-x", "300"] if version == "mqttv5" else []
    session = ["-i", f"kept-{version}", "-c", "-q", "1", "-t", "meanwhile", *expiry]
    with sub(service, *session, "-E", version=version) as process:
        process.wait(PATIENCE_S)
    for number in range(5):
        pub(service, "meanwhile", "-m", str(number), "-q", "1")
    command = [SUB, "-h", "127.0.0.1", "-p", str(service.port), "-V", version, *session, "-C", "5"]
    shown = subprocess.run(command, check=True, timeout=PATIENCE_S, capture_output=True).stdout
    assert shown.splitlines() == [b"0", b"1", b"2", b"3", b"4"]
    service.client(f"kept-{version}").silent()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_will_of_a_killed_client(service, version):
    watcher = service.reader("will/#", qos=1)
    will = ["--will-topic", "will/it", "--will-payload", "offline", "--will-qos", "1", "--will-retain"]
    with sub(service, "-t", "nothing", *will, version=version) as process:
        process.kill()
    watcher.expect(publish("will/it", b"offline", 1, 1))
    pub(service, "will/it", "-n", "-r")


def test_the_will_of_a_client_that_says_goodbye_is_not_told(service):
    watcher = service.reader("will/#")
    with sub(service, "-t", "nothing", "--will-topic", "will/it", "--will-payload", "offline") as process:
        process.terminate()
        process.wait(PATIENCE_S)
    watcher.silent()


def test_properties_of_mqtt_5(service):
    shown = "%t|%p|%P|%C|%R|%D|%E|%F|%S"
    subscription = ["-D", "subscribe", "subscription-identifier", "7"]
    with sub(service, "-t", "p/#", "-q", "1", "-F", shown, *subscription, version="mqttv5") as process:
        properties = [
            *("-D", "publish", "user-property", "agent", "kitchen"),
            *("-D", "publish", "user-property", "seq", "9"),
            *("-D", "publish", "content-type", "text/plain"),
            *("-D", "publish", "response-topic", "answers"),
            *("-D", "publish", "correlation-data", "c1"),
            *("-D", "publish", "message-expiry-interval", "600"),
            *("-D", "publish", "payload-format-indicator", "1"),
        ]
        pub(service, "p/a", "-m", "21.4", "-q", "1", *properties, version="mqttv5")
        (line,) = lines(process, 1)
        fields = line.decode().split("|")
        assert fields[:2] == ["p/a", "21.4"]
        assert fields[2].split() == ["agent:kitchen", "seq:9"]
        assert fields[3:6] == ["text/plain", "answers", "c1"]
        assert 598 <= int(fields[6]) <= 600
        assert fields[7:] == ["1", "7"]


@pytest.mark.parametrize("correlation", ["", "c-1"], ids=["plain", "with correlation data"])
@pytest.mark.parametrize("qos", "012")
def test_a_request_gets_the_response_to_its_topic(service, qos, correlation):
    """The responder knows where to answer, and to what, from the request's properties alone."""

    def correlated(data):
        return ["-D", "publish", "correlation-data", data] if data else []

    ask = [RR, "-h", "127.0.0.1", "-p", str(service.port), "-V", "mqttv5", "-q", qos, "-W", str(int(PATIENCE_S))]
    ask += ["-t", "ask", "-e", "answers/1", "-m", "q", "-F", "%t|%p|%D", *correlated(correlation)]
    with (
        sub(service, "-t", "ask", "-q", qos, "-F", "%p|%R|%D", version="mqttv5") as responder,
        subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking,
    ):
        try:
            (request,) = lines(responder, 1)
            question, response_topic, data = request.decode().split("|")
            assert (question, response_topic, data) == ("q", "answers/1", correlation)
            pub(service, "answers/2", "-m", "for another", "-q", qos, version="mqttv5")
            pub(service, response_topic, "-m", "21.4", "-q", qos, *correlated(data), version="mqttv5")
            shown, errors = asking.communicate(timeout=PATIENCE_S)
        finally:
            asking.kill()
    assert (asking.returncode, errors) == (0, b"")
    assert shown.decode() == f"answers/1|21.4|{correlation}\n"


def test_a_client_of_3_1_1_gets_the_message_without_its_properties(service):
    with sub(service, "-t", "p/#", "-q", "1", "-F", "%t|%p|%P") as process:
        pub(service, "p/a", "-m", "21.4", "-q", "1", "-D", "publish", "user-property", "a", "b", version="mqttv5")
        assert lines(process, 1) == [b"p/a|21.4|"]


def test_a_second_client_with_the_id_takes_over(service):
    with sub(service, "-t", "x", "-i", "the-one", version="mqttv5") as first:
        service.client("the-one")
        for line in first.stdout:
            if b"DISCONNECT (142)" in line:
                break
        else:
            raise AssertionError("it was not told that its session was taken over")


def sys_topics(broker):
    """The names below $SYS that somebody finds who subscribes."""
    command = [SUB, "-h", "127.0.0.1", "-p", str(broker.port), "-t", "$SYS/#", "-F", "%r %t", "-W", "2"]
    shown = subprocess.run(command, check=False, timeout=PATIENCE_S, capture_output=True).stdout.decode()
    return {line[2:] for line in shown.splitlines() if line.startswith("1 ")}


@pytest.mark.skipif(BINARY is None, reason="no Mosquitto here; apt install mosquitto")
def test_whoever_reads_mosquittos_figures_finds_them_here(service, tmp_path):
    with Mosquitto(tmp_path, "sys_interval 1") as peer:
        theirs = sys_topics(peer)
    assert len(theirs) > 40
    assert theirs - sys_topics(service) == set()


@pytest.mark.skipif(BINARY is None, reason="no Mosquitto here; apt install mosquitto")
@pytest.mark.parametrize("protocol", ["mqttv311", "mqttv50"])
def test_mosquitto_bridges_to_us(service, tmp_path, protocol):
    settings = [
        "connection hub",
        f"address 127.0.0.1:{service.port}",
        f"bridge_protocol_version {protocol}",
        "try_private false",  # or its first attempt is made with a protocol level of Mosquitto's own
        "notifications_local_only true",
        "topic out/# out 1 local/ remote/",
        "topic in/# in 1 local/ remote/",
    ]
    reader = service.reader("remote/out/#", qos=1)
    reader.socket.settimeout(0.2)
    with Mosquitto(tmp_path, *settings) as peer:
        command = [PUB, "-h", "127.0.0.1", "-p", str(peer.port), "-q", "1", "-t", "local/out/a", "-m", "1"]
        deadline = time.monotonic() + PATIENCE_S
        while True:  # Mosquitto keeps nothing for a bridge that has not connected yet
            subprocess.run(command, check=True, timeout=PATIENCE_S)
            with contextlib.suppress(TimeoutError):
                reader.expect(publish("remote/out/a", b"1", 1, 1))
                break
            assert time.monotonic() < deadline, peer.log.read_text()
        with sub(peer, "-t", "local/in/#", "-F", "%t %p") as process:
            pub(service, "remote/in/b", "-m", "2", "-q", "1")
            assert lines(process, 1) == [b"local/in/b 2"]
