"""The installation without a boot: what can be said of a processor that is emulated.

QEMU runs the programs of another processor one by one, and lacks some calls of the kernel that systemd makes when it
closes a service in, so that no unit starts there. The programs do: what they are made of has its native parts.
"""

import json
import subprocess

import pytest
from machines.machine import Machine

SECRET = "s" * 22
HUB = """
site = "home"
data_dir = "/var/lib/appliance"

[accounts]
managed_file = "/var/lib/appliance/accounts.json"

[[listener]]
serve = "mqtt"
address = "127.0.0.1"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"
"""
AGENT = """
site = "home"
agent = "attic"
data_dir = "/var/lib/sensors"

[broker]
host = "localhost"
username = "attic"
password_file = "/root/secret"
ca_file = "/var/lib/appliance/tls/ca.pem"

[[sensor]]
name = "air"
kind = "simulated"
room = "attic"
interval_s = 1
"""
SCRIPT = """
set -eu
mkdir /var/lib/sensors
appliance setup
appliance run --config /etc/appliance/appliance.toml > /root/hub.log 2>&1 & hub=$!
until (exec 3<> /dev/tcp/127.0.0.1/8883) 2> /dev/null; do kill -0 $hub; sleep 0.2; done
appliance devices add attic --from - < /root/account
sensors run --config /etc/appliance/sensors.toml > /root/agent.log 2>&1 & agent=$!
until appliance history home/attic/temperature --json 2> /root/asked | grep -q '"value"'; do
    kill -0 $agent
    sleep 0.2
done
kill $agent $hub
wait $agent
wait $hub
uname -m
"""


@pytest.fixture
def computer(given):
    """Its disk alone, with files in it."""
    machine = Machine("unbooted", [given.installed, given.blank], group=given.group)
    machine.open()
    account = {"role": "device", "agent": "attic", "publish": ["home/attic/+"], "secret": SECRET}
    files = {"root/secret": f"{SECRET}\n", "root/account": json.dumps(account)}
    files |= {"etc/appliance/appliance.toml": HUB, "etc/appliance/sensors.toml": AGENT, "root/script": SCRIPT}
    for name, text in files.items():
        path = machine.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    yield machine
    machine.close()


def test_an_agent_reports_to_a_hub_over_tls(computer, given):
    inside = (
        'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && '
        'exec chroot "$0" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 '
        "timeout 240 bash /root/script"
    )
    words = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", inside)
    done = subprocess.run([*words, computer.root], capture_output=True, text=True, check=False, timeout=300)
    logs = "".join(path.read_text() for path in (computer.root / "root").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert done.stdout.splitlines()[-1] == given.machine
