"""The real service as a process of its own, for clients that we did not write."""

import shutil
import subprocess
from pathlib import Path

import pytest
from authority import Authority
from processes import free_port
from service import CONFIG, Service

NPM = shutil.which("npm")
JS = Path(__file__).with_name("js")

LISTENERS = """
[[listener]]
port = {mqtts}
{files}

[[listener]]
port = {known}
{files}
client_ca = "{ca}"
require_client_certificate = true

[[listener]]
serve = "web"
port = {ws}

[[listener]]
serve = "web"
port = {wss}
{files}

[[listener]]
path = "{path}"
"""


class Secure(Service):
    """A service with a listener of every kind."""

    def __init__(self, scratch):
        self.authority = Authority(scratch / "authority")
        self.ports = {way: free_port() for way in ("mqtts", "known", "ws", "wss")}
        self.path = scratch / "mqtt.sock"
        files = f'certificate = "{self.authority.certificate}"\nkey = "{self.authority.key}"'
        listeners = LISTENERS.format(**self.ports, files=files, ca=self.authority.ca, path=self.path)
        super().__init__(scratch / "service", CONFIG + listeners)
        self.ports["mqtt"] = self.port

    def url(self, way):
        """Give the URL of a kind of listener."""
        return f"{way}://127.0.0.1:{self.ports[way]}" + ("/mqtt" if way.startswith("ws") else "")


@pytest.fixture(scope="session")
def shared_secure(tmp_path_factory):
    service = Secure(tmp_path_factory.mktemp("secure"))
    yield service
    service.stop()


@pytest.fixture
def secure(shared_secure):
    """The service with every kind of listener; after the test it must be well and have no error of its own."""
    try:
        yield shared_secure
        shared_secure.check_health()
    finally:
        shared_secure.close_links()


@pytest.fixture(scope="session")
def js(tmp_path_factory):
    """Install MQTT.js as the lock file names it, and nothing else, beside a copy of our script; gives the folder."""
    if NPM is None:
        pytest.skip("no npm here; apt install npm")
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "package-lock.json", "peer.mjs"):
        shutil.copy(JS / name, folder)
    command = [NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip(f"npm ci does not get MQTT.js: {installed.stderr[-300:]}")
    return folder


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


@pytest.fixture
def service(shared_service):
    """The service; after the test it must be well and have no error of its own."""
    try:
        yield shared_service
        shared_service.check_health()
    finally:
        shared_service.close_links()
