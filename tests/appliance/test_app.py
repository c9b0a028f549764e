"""The service as a whole: it starts, keeps what it was given, ends in order, and says why it cannot."""

import asyncio
import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from accounts import password, write_accounts
from authority import Authority
from processes import PATIENCE_S, free_port

from appliance import app, page
from appliance.app import Service, serving
from appliance.cli.status import TROUBLES
from appliance.control import ControlClient
from appliance.exits import CommandError, Exit
from appliance.mqtt.codec import encode
from appliance.mqtt.packets import Connect, Publish
from appliance.mqtt.properties import EMPTY
from appliance.mqtt.types import QoS, Version
from appliance.settings import Accounts, History, Listener, Mqtt, Settings, Store, Web
from appliance.store.history_reader import HistoryReader


def local(*, mqtt=0, web=0, **more):
    return Settings(mqtt=Mqtt(port=mqtt), web=Web(port=web), **more)


@contextmanager
def listening():
    """A program that has the port already."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def connect_packet(client_id="t"):
    return encode(
        Connect(
            client_id=client_id,
            clean_start=True,
            keep_alive_s=0,
            username=None,
            password=None,
            will=None,
            properties=EMPTY,
            version=Version.MQTT_3_1_1,
        ),
        Version.MQTT_3_1_1,
    )


def publish_packet(topic, payload, packet_id):
    message = Publish(topic=topic, payload=payload, qos=QoS.AT_LEAST_ONCE, retain=True, packet_id=packet_id)
    return encode(message, Version.MQTT_3_1_1)


def publish(port, *messages):
    """Publish with QoS 1 over a socket and wait for all acknowledgements."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as link:
        packets = [publish_packet(topic, payload, i + 1) for i, (topic, payload) in enumerate(messages)]
        link.sendall(connect_packet() + b"".join(packets))
        answer = b""
        while len(answer) < 4 + 4 * len(messages):
            part = link.recv(4096)
            assert part, "closed before everything was acknowledged"
            answer += part


def with_service(settings, data_dir, act):
    """Run `act(service)` in a thread beside a running service."""

    async def scenario():
        async with serving(settings, data_dir) as service:
            return await asyncio.to_thread(act, service)

    return asyncio.run(scenario())


class TestRunning:
    def test_what_was_acknowledged_is_in_the_history_when_it_ends(self, tmp_path):
        port = free_port()
        readings = [("home/kitchen/temperature", f"{20 + i / 100:.2f}".encode()) for i in range(50)]
        with_service(local(mqtt=port), tmp_path, lambda _: publish(port, *readings))
        rows = HistoryReader(tmp_path / "appliance.db").rows("home/kitchen/temperature", 0, 1e10)
        assert [row.value for row in rows] == [float(payload) for _, payload in readings]

    def test_a_second_start_goes_on_with_the_same_history(self, tmp_path):
        for value in (b"20.5", b"21"):
            port = free_port()
            with_service(local(mqtt=port), tmp_path, lambda _, p=port, v=value: publish(p, ("home/hall/co2", v)))
        rows = HistoryReader(tmp_path / "appliance.db").rows("home/hall/co2", 0, 1e10)
        assert [row.value for row in rows] == [20.5, 21.0]

    def test_status_over_the_control_socket(self, tmp_path):
        port = free_port()

        def ask(service: Service):
            publish(port, ("home/devices/house/availability", b"online"), ("home/hall/door", b"ON"))
            return ControlClient(tmp_path / "control.sock").get("/api/status"), service.web_port

        status, web_port = with_service(local(mqtt=port), tmp_path, ask)
        assert status["mqtt"] == f"127.0.0.1:{port}"
        assert (status["web"], web_port) == (None, None)
        assert status["agents"] == {"house": "online"}
        assert status["data_dir"] == str(tmp_path)
        assert status["messages_received"] == 2
        assert status["retained_now"] == 2
        assert status["store"]["trouble"] is None
        assert status["store"]["commits"] >= 1
        assert [status[key] for key in TROUBLES] == [{}] * len(TROUBLES)  # all is well
        assert status["pid"] == os.getpid()

    def test_without_history_nothing_is_recorded(self, tmp_path):
        port = free_port()
        settings = local(mqtt=port, history=History(enabled=False))
        status = with_service(
            settings, tmp_path, lambda service: (publish(port, ("home/hall/door", b"ON")), service.status())[1]
        )
        assert status["history"] is None
        assert status["store"]["commits"] > 0
        assert HistoryReader(tmp_path / "appliance.db").topics() == []

    def test_without_a_store_nothing_is_written(self, tmp_path):
        port = free_port()
        settings = local(mqtt=port, history=History(enabled=False), store=Store(enabled=False))
        status = with_service(
            settings, tmp_path, lambda service: (publish(port, ("home/hall/door", b"ON")), service.status())[1]
        )
        assert (status["store"], status["history"]) == (None, None)
        assert not (tmp_path / "appliance.db").exists()

    def test_a_history_needs_the_store(self, tmp_path):
        text, code = refusal(local(store=Store(enabled=False)), tmp_path)
        assert text.startswith("history.enabled: readings are recorded in the store, which is off; set history.enabled")
        assert code == Exit.CONFIG

    def test_retained_messages_are_there_at_the_next_start(self, tmp_path):
        for expected, value in ((0, b"20.5"), (1, b"21")):
            port = free_port()

            def act(service, p=port, v=value, found=expected):
                assert service.status()["retained_now"] == found
                publish(p, ("home/hall/co2", v))

            with_service(local(mqtt=port), tmp_path, act)

    def test_other_sites_are_served_too(self, tmp_path):
        port = free_port()
        with_service(local(mqtt=port, site="farm"), tmp_path, lambda _: publish(port, ("farm/barn/temperature", b"4")))
        assert [s.topic for s in HistoryReader(tmp_path / "appliance.db").topics()] == ["farm/barn/temperature"]

    def test_the_data_directory_is_private_and_free_afterwards(self, tmp_path):
        data_dir = tmp_path / "new" / "data"
        for _ in range(2):
            with_service(local(), data_dir, lambda _: None)
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert not (data_dir / "control.sock").exists()

    def test_a_socket_left_by_a_killed_service_is_replaced(self, tmp_path):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "control.sock"))
        ask = with_service(local(), tmp_path, lambda _: ControlClient(tmp_path / "control.sock").get("/healthz"))
        assert ask == {"alive": True}


def refusal(settings, data_dir):
    with pytest.raises(CommandError) as caught:
        with_service(settings, data_dir, lambda _: None)
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.exit_code


class TestRefusals:
    def test_a_taken_mqtt_port(self, tmp_path):
        with listening() as port:
            assert refusal(local(mqtt=port), tmp_path) == (
                (
                    f"port {port} on 127.0.0.1 is taken by another program; "
                    "stop that one or choose another with --mqtt-port (0 for none)"
                ),
                Exit.UNAVAILABLE,
            )

    def test_a_taken_page_port(self, tmp_path):
        with listening() as port:
            text, code = refusal(local(web=port), tmp_path)
        assert text.endswith("stop that one or choose another with --http-port (0 for none)")
        assert code == Exit.UNAVAILABLE
        assert not (tmp_path / "control.sock").exists()

    def test_a_taken_port_leaves_no_data_directory(self, tmp_path):
        with listening() as port:
            refusal(local(mqtt=port), tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_one_port_for_two(self, tmp_path):
        text, code = refusal(local(mqtt=1883, web=1883), tmp_path)
        assert text.startswith("web.port: 127.0.0.1:1883 is also that of mqtt.port; choose another")
        assert code == Exit.CONFIG

    def test_two_services_on_one_data_directory(self, tmp_path):
        text, code = with_service(local(), tmp_path, lambda _: refusal(local(), tmp_path))
        assert text == (
            f"another appliance (process {os.getpid()}) uses {tmp_path}; "
            "stop it, or choose another directory with --data"
        )
        assert code == Exit.UNAVAILABLE

    def test_a_data_directory_that_is_a_file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"")
        text, code = refusal(local(), path)
        assert "move the file of that name away, or choose another with --data" in text
        assert code == Exit.DATA
        assert refusal(local(), path / "below")[0].startswith(f"data directory {path}/below cannot be used")

    def test_a_database_of_another_program(self, tmp_path):
        with sqlite3.connect(tmp_path / "appliance.db") as database:
            database.execute("CREATE TABLE recipes (name TEXT)")
        database.close()
        text, code = refusal(local(), tmp_path)
        assert "belongs to another program: move it away or choose another data directory" in text
        assert code == Exit.DATA

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "appliance.db").write_bytes(b"certainly not a database, but long enough to look at " * 20)
        text, code = refusal(local(), tmp_path)
        assert "is not a database" in text
        assert code == Exit.DATA

    def test_a_database_of_a_newer_version(self, tmp_path):
        with_service(local(), tmp_path, lambda _: None)
        database = sqlite3.connect(tmp_path / "appliance.db")
        table, columns = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE '%migrations%'"
        ).fetchone()
        assert "migration_set" in columns
        database.execute(
            f"INSERT INTO {table} (migration_set, name, applied_at) "
            f"SELECT migration_set, 'from the future', applied_at FROM {table} LIMIT 1"
        )
        database.commit()
        database.close()
        text, code = refusal(local(), tmp_path)
        assert "was written by a newer version" in text
        assert "update this installation" in text
        assert code == Exit.DATA

    def test_something_else_where_the_control_socket_belongs(self, tmp_path):
        (tmp_path / "control.sock").write_bytes(b"")
        text, code = refusal(local(), tmp_path)
        assert text.startswith(f"control socket {tmp_path}/control.sock")
        assert code == Exit.DATA


def test_a_part_that_does_not_stop_is_left_behind(caplog):
    asyncio.run(app.within(0.01, asyncio.Event().wait))
    assert "took longer than" in caplog.text


def test_systemd_is_told_in_one_line_how_the_service_is(tmp_path):
    port = free_port()

    async def told():
        async with app.serving(Settings(mqtt=Mqtt(port=port), web=Web(port=0)), tmp_path) as service:
            assert service.gets_on()
            service._local.publish("home/devices/attic/availability", b"online", retain=True)
            service._local.publish("home/devices/cellar/availability", b"offline", retain=True)
            return service.summary()

    assert asyncio.run(told()) == f"0 clients, 1 of 2 agents online, 2 messages; MQTT on port {port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_loses_nothing(tmp_path, number):
    mqtt_port = free_port()
    command = [sys.executable, "-m", "appliance", "run", "--data", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--mqtt-port", str(mqtt_port), "--http-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout.readline().startswith(
                f"appliance runs: MQTT on 127.0.0.1:{mqtt_port}, no page, data in"
            )
            publish(mqtt_port, *((f"home/kitchen/x{i}", b"1") for i in range(100)))
            child.send_signal(number)
            _, complaints = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert complaints == ""
    assert child.returncode == 0
    assert len(HistoryReader(tmp_path / "appliance.db").topics()) == 100


def test_run_serves_until_the_signal(tmp_path):
    started = []

    def begin(service):
        started.append(service.status()["site"])
        os.kill(os.getpid(), signal.SIGTERM)

    asyncio.run(app.run(local(), tmp_path, begin))
    assert started == ["home"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def encrypted(authority, **more):
    return {"certificate": str(authority.certificate), "key": str(authority.key), **more}


def greeted(link):
    """Connect over a socket that is open already; the answer's first four bytes."""
    link.settimeout(PATIENCE_S)
    link.sendall(connect_packet())
    return link.recv(4)


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


class TestListeners:
    def test_every_kind_at_once(self, tmp_path, authority):
        plain, six, tls, web, https = (free_port() for _ in range(5))
        listeners = (
            Listener(port=plain),
            Listener(address="::1", port=six),
            Listener(port=tls, **encrypted(authority)),
            Listener(path=str(tmp_path / "mqtt.sock")),
            Listener(serve="web", port=web),
            Listener(serve="web", port=https, **encrypted(authority)),
        )

        def visit(service):
            places = ControlClient(tmp_path / "control.sock").get("/api/status")["listeners"]
            assert places == list(service.listeners)
            for family, address in (
                (socket.AF_INET, ("127.0.0.1", plain)),
                (socket.AF_INET6, ("::1", six)),
                (socket.AF_UNIX, str(tmp_path / "mqtt.sock")),
            ):
                with socket.socket(family) as link:
                    link.connect(address)
                    assert greeted(link) == b"\x20\x02\x00\x00"
            assert (tmp_path / "mqtt.sock").stat().st_mode & 0o777 == 0o660
            with (
                socket.create_connection(("127.0.0.1", tls)) as link,
                authority.trust(alpn=["mqtt"]).wrap_socket(link, server_hostname="127.0.0.1") as secure,
            ):
                assert greeted(secure) == b"\x20\x02\x00\x00"
                assert secure.selected_alpn_protocol() == "mqtt"
            for scheme, port in (("http", web), ("https", https)):
                context = authority.trust() if scheme == "https" else None
                with urlopen(f"{scheme}://127.0.0.1:{port}/healthz", context=context) as answer:
                    assert answer.read() == b'{"alive":true}'
            return places

        assert with_service(local(listener=listeners), tmp_path, visit) == [
            f"mqtt://127.0.0.1:{plain}",
            f"mqtt://[::1]:{six}",
            f"mqtts://127.0.0.1:{tls}",
            f"mqtt socket {tmp_path}/mqtt.sock",
            f"http://127.0.0.1:{web}/",
            f"https://127.0.0.1:{https}/",
        ]
        assert not (tmp_path / "mqtt.sock").exists()

    def test_clients_of_every_kind_are_told_of_the_end(self, tmp_path, authority):
        """MQTT 5 clients that do not even answer: the stop waits for none of them longer than it may."""
        mqtt, tls, web, https = (free_port() for _ in range(4))
        listeners = (
            Listener(port=tls, **encrypted(authority)),
            Listener(path=str(tmp_path / "mqtt.sock")),
            Listener(serve="web", port=https, **encrypted(authority)),
        )
        trust = authority.trust()

        def visit(_):
            links = {name: socket.create_connection(("127.0.0.1", port)) for name, port in ports.items()}
            links["file"] = socket.socket(socket.AF_UNIX)
            links["file"].connect(str(tmp_path / "mqtt.sock"))
            for name in ("tls", "wss"):
                links[name] = trust.wrap_socket(links[name], server_hostname="127.0.0.1")
            for name, link in links.items():
                link.settimeout(PATIENCE_S)
                packet = encode(Connect(client_id=name, version=Version.MQTT_5), Version.MQTT_5)
                if name in {"ws", "wss"}:
                    link.sendall(UPGRADE % ports[name])
                    assert link.recv(4_096).startswith(b"HTTP/1.1 101 ")
                    packet = bytes([0x82, 0x80 | len(packet)]) + bytes(4) + packet
                link.sendall(packet)
                assert b"\x20" in link.recv(4_096)  # CONNACK, in a frame or not
            return links

        ports = {"tcp": mqtt, "tls": tls, "ws": web, "wss": https}
        links = with_service(local(mqtt=mqtt, web=web, listener=listeners), tmp_path, visit)
        assert set(links) == {"tcp", "tls", "ws", "wss", "file"}
        for name, link in links.items():
            with link:
                said = b""
                while part := link.recv(4_096):
                    said += part
                assert b"\x8b" in said, name
                assert b"the server is shutting down" in said, name

    def test_beyond_this_computer_nothing_opens_without_accounts(self, tmp_path):
        settings = local(listener=(Listener(address="0.0.0.0", port=9, plain=True),))
        assert refusal(settings, tmp_path) == (
            (
                "listener[1].address: 0.0.0.0 is beyond this computer; "
                "set accounts.password_file or managed_file first: other computers are served with accounts only"
            ),
            Exit.CONFIG,
        )

    @pytest.mark.parametrize("serve", ["mqtt", "web"])
    def test_a_taken_port(self, tmp_path, serve):
        with listening() as port:
            listeners = (Listener(path=str(tmp_path / "s")), Listener(serve=serve, port=port))
            text, code = refusal(local(listener=listeners), tmp_path)
        assert text.startswith(f"listener[2].port: 127.0.0.1:{port} is taken by another program; stop that one")
        assert code == Exit.UNAVAILABLE
        assert not (tmp_path / "s").exists()
        assert not (tmp_path / "control.sock").exists()

    def test_a_certificate_that_is_not_there(self, tmp_path):
        text, code = refusal(local(listener=(Listener(port=9, certificate=str(tmp_path / "no.pem")),)), tmp_path)
        assert text.startswith(f"listener[1].certificate: {tmp_path}/no.pem cannot be read (No such file or directory)")
        assert code == Exit.CONFIG

    def test_a_socket_file_that_cannot_be(self, tmp_path):
        text, code = refusal(local(listener=(Listener(path=str(tmp_path / "no" / "mqtt.sock")),)), tmp_path)
        assert text.startswith(f"listener[1].path: socket file {tmp_path}/no/mqtt.sock: No such file or directory")
        assert code == Exit.UNAVAILABLE

    def test_addresses_that_are_not_ours(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

        monkeypatch.setattr(app, "listen_tcp", refuse)
        text, _ = refusal(local(listener=(Listener(address="127.0.0.9", port=9),)), tmp_path)
        assert text.startswith("listener[1].address: 127.0.0.9:9 is no address of this computer")

    def test_a_page_on_the_network_asks_for_an_account(self, tmp_path, authority, monkeypatch):
        """Loopback plays the network: what is not this computer is asked for a name and a password, MQTT likewise."""
        monkeypatch.setattr(page, "is_loopback", lambda _: False)
        write_accounts(tmp_path)
        web, tls = free_port(), free_port()
        listeners = (
            Listener(serve="web", port=web, **encrypted(authority)),
            Listener(port=tls, **encrypted(authority)),
        )

        def asked(name, secret):
            request = Request(f"https://127.0.0.1:{web}/api/status")
            request.add_header("Authorization", "Basic " + b64encode(f"{name}:{secret}".encode()).decode())
            try:
                with urlopen(request, context=authority.trust()) as answer:
                    return answer.status
            except HTTPError as error:
                error.close()
                return error.code

        def connected(**fields):
            packet = encode(Connect(client_id="c", version=Version.MQTT_3_1_1, **fields), Version.MQTT_3_1_1)
            with (
                socket.create_connection(("127.0.0.1", tls), timeout=PATIENCE_S) as link,
                authority.trust().wrap_socket(link, server_hostname="127.0.0.1") as secure,
            ):
                secure.sendall(packet)
                return secure.recv(4)

        def visit(_):
            return [
                asked("ann", password("ann")),
                asked("ann", "wrong"),
                connected(username="ann", password=password("ann").encode()),
                connected(username="ann", password=b"wrong"),
                connected(),
            ]

        settings = local(listener=listeners, accounts=Accounts(password_file=str(tmp_path / "passwords")))
        assert with_service(settings, tmp_path / "d", visit) == [
            200,
            401,
            b"\x20\x02\x00\x00",
            b"\x20\x02\x00\x04",
            b"\x20\x02\x00\x05",
        ]


@pytest.mark.parametrize(
    ("ours", "command", "kept"), [(True, ["setup"], True), (True, [], False), (False, ["x"], False)]
)
def test_only_a_certificate_of_ours_is_kept_renewed(tmp_path, ours, command, kept):
    class Hub:
        data_dir = tmp_path
        certificate = str(tmp_path / "tls" / "server.pem") if ours else "/etc/ssl/hub.pem"
        settings = local(listener=(Listener(certificate=certificate, port=9),))

        async def reload(self):
            raise AssertionError("nothing is due")

    async def scenario():
        before = asyncio.all_tasks()
        async with app.renewed(Hub(), command):
            names = {task.get_name() for task in asyncio.all_tasks() - before}
            assert names == ({"renewing"} if kept else set())
        assert asyncio.all_tasks() == before

    asyncio.run(scenario())
