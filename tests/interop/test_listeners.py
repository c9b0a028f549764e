"""Clients that we did not write, over TLS, WebSocket and a socket file; MQTT.js over each of them in test_mqtt_js."""

import asyncio
import queue
import shutil
import ssl
import subprocess

import paho.mqtt.client as paho
import pytest
from mosquitto_peer import end
from paho.mqtt.enums import CallbackAPIVersion
from raw import PATIENCE_S
from webserver import page

from appliance.features.web.server import Door
from appliance.net.certificates import server_context

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]

pytestmark = pytest.mark.interop

both = pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5], ids=["3.1.1", "5"])
WAYS = ["mqtts", "known", "ws", "wss", "file"]


class Client:
    """A paho client on any way to the service; its callbacks fill queues."""

    def __init__(self, secure, way, version, pair=None, **context):
        transport = {"ws": "websockets", "wss": "websockets", "file": "unix"}.get(way, "tcp")
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, protocol=version, transport=transport)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_connect = lambda _c, _d, _f, reason, _p: self.events.put(reason)
        self.paho.on_subscribe = lambda _c, _d, _mid, reasons, _p: self.events.put(reasons)
        self.paho.on_disconnect = lambda _c, _d, _f, reason, _p: self.events.put(reason)
        if way in {"mqtts", "known", "wss"}:
            trust = secure.authority.trust(pair)
            for name, value in context.items():
                setattr(trust, name, value)
            self.paho.tls_set_context(trust)
        host = str(secure.path) if way == "file" else "127.0.0.1"
        self.paho.connect(host, secure.ports.get(way, 1883))
        self.paho.loop_start()

    def event(self):
        return self.events.get(timeout=PATIENCE_S)


@pytest.fixture
def join(secure):
    clients = []

    def join(way, version, *arguments, **options):
        if way == "known" and not arguments:
            arguments = (secure.authority.issue("paho"),)
        clients.append(Client(secure, way, version, *arguments, **options))
        return clients[-1]

    yield join
    for client in clients:
        end(client.paho)


@both
@pytest.mark.parametrize("way", WAYS)
def test_paho(join, way, version):
    reader, writer = join(way, version), join(way, version)
    assert not reader.event().is_failure
    assert not writer.event().is_failure
    for qos in range(3):
        reader.paho.subscribe(f"paho/{way}/{qos}", qos)
        assert reader.event()[0].value == qos
        for number in range(100):
            writer.paho.publish(f"paho/{way}/{qos}", f"{number}", qos)
        got = [reader.messages.get(timeout=PATIENCE_S) for _ in range(100)]
        assert [message.payload for message in got] == [b"%d" % number for number in range(100)]
        assert {message.qos for message in got} == {qos}
    reader.paho.subscribe("paho/large")
    reader.event()
    writer.paho.publish("paho/large", bytes(range(256)) * 900)
    assert reader.messages.get(timeout=PATIENCE_S).payload == bytes(range(256)) * 900


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls(join, version):
    client = join("mqtts", paho.MQTTv311, maximum_version=version, minimum_version=version)
    assert not client.event().is_failure


clients = pytest.mark.skipif(
    PUB is None or SUB is None, reason="no Mosquitto clients here; apt install mosquitto-clients"
)


@clients
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("way", ["mqtts", "known", "file"])
def test_mosquitto(secure, way, version):
    certificate, key = secure.authority.issue("mosquitto")
    options = {
        "mqtts": ["--cafile", secure.authority.ca, "-h", "127.0.0.1", "-p", secure.ports["mqtts"]],
        "known": ["--cafile", secure.authority.ca, "-h", "localhost", "-p", secure.ports["known"],
                  "--cert", certificate, "--key", key],
        "file": ["--unix", secure.path],
    }[way]  # fmt: skip
    common = [*map(str, options), "-V", version, "-q", "1", "-t", f"mosquitto/{way}/{version}"]
    subprocess.run([PUB, *common, "-m", "21.4", "-r"], check=True, timeout=PATIENCE_S, capture_output=True)
    heard = subprocess.run([SUB, *common, "-C", "1"], check=True, timeout=PATIENCE_S, capture_output=True)
    assert heard.stdout == b"21.4\n"


@clients
def test_mosquitto_without_a_certificate_is_not_let_in(secure):
    command = [PUB, "--cafile", str(secure.authority.ca), "-h", "127.0.0.1", "-p", str(secure.ports["known"])]
    message = ["-t", "never", "-m", "x", "-q", "1", "-r"]
    done = subprocess.run([*command, *message], timeout=PATIENCE_S, capture_output=True, check=False)
    assert done.returncode != 0
    secure.reader("never").silent()


WALK = """async ([url, protocolVersion, many]) => {
  const client = await mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0, connectTimeout: 10000 });
  const got = [];
  const all = new Promise((done) => client.on("message", (topic, payload, packet) => {
    got.push([topic, payload.length > 99 ? payload.length : payload.toString(), packet.qos]);
    if (got.length === 2 * many + 1) done();
  }));
  await client.subscribeAsync("browser/#", { qos: 2 });
  for (const qos of [1, 2])
    for (let number = 0; number < many; number++) client.publish(`browser/${qos}`, `${number}`, { qos });
  await client.publishAsync("browser/large", "x".repeat(200000), { qos: 1 });
  await all;
  await client.endAsync();
  return got;
}"""

BY_HAND = """(url) => new Promise((done) => {
  const socket = new WebSocket(url, "mqtt");
  socket.onopen = () => done(socket.protocol);
  socket.onclose = (event) => done(event.code);
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt install chromium")
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_page_in_chromium_speaks_mqtt(tmp_path, secure, js, scheme):
    """With MQTT.js on our own page; the page of a stranger is not let in."""
    from playwright.async_api import async_playwright

    authority = secure.authority
    context = server_context(str(authority.certificate), str(authority.key), protocol="http/1.1")

    async def scenario():
        async with page(tmp_path, doors=[Door("127.0.0.1", 0, context)]) as served, async_playwright() as play:
            port = served.port if scheme == "ws" else served.server.ports[0]
            site, url = f"{scheme.replace('ws', 'http')}://127.0.0.1:{port}/", f"{scheme}://127.0.0.1:{port}/mqtt"
            browser = await play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            try:
                # The browser knows neither the tests' authority nor MQTT.js, which the page's policy keeps out.
                options = {"ignore_https_errors": True, "bypass_csp": True}
                tab = await (await browser.new_context(**options)).new_page()
                await tab.goto(site)
                await tab.add_script_tag(path=str(js / "node_modules" / "mqtt" / "dist" / "mqtt.min.js"))
                for version in (4, 5):
                    got = await tab.evaluate(WALK, [url, version, 50])
                    assert sorted(got) == sorted(
                        [[f"browser/{qos}", f"{number}", qos] for qos in (1, 2) for number in range(50)]
                        + [["browser/large", 200_000, 1]]
                    )
                    for qos in (1, 2):
                        topic = f"browser/{qos}"
                        assert [text for name, text, _ in got if name == topic] == [f"{n}" for n in range(50)]
                assert await tab.evaluate(BY_HAND, url) == "mqtt"
                stranger = await (await browser.new_context(**options)).new_page()
                await stranger.set_content("<p>a stranger's page</p>")
                assert await stranger.evaluate(BY_HAND, url) == 1006
            finally:
                await browser.close()

    asyncio.run(scenario())
