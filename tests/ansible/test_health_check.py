"""What asks a hub for a message says why none came, and by which variable it asks, in the last line of what it says."""

import os
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "ansible/roles/appliance/templates/check-appliance.j2"
PLACES = {
    "{{ appliance_site }}": "home",
    "{{ appliance_probe }}": "release-check",
    "{{ appliance_config_file }}": "/etc/appliance/appliance.toml",
    "{{ appliance_health_options | map('quote') | join(' ') }}": "-h localhost -p 8883",
}
APPLIANCE = """#!/bin/sh
# What is published is kept, and given back; told to fail, it says two lines.
echo "$*" >> "$PLAY/told"
if [ -e "$PLAY/$1 fails" ]; then echo partly; printf 'before\\nno broker at localhost:8883\\n' >&2; exit 69; fi
echo "a note" >&2
case $1 in
pub) for last; do :; done; [ "$last" = -n ] || echo "$last" > "$PLAY/kept" ;;
sub) cat "$PLAY/kept" ;;
esac
"""
SETPRIV = """#!/bin/sh
cat > /dev/null
"""


@pytest.fixture
def check(tmp_path):
    """Run it over a played program; gives what became of it."""
    text = TEMPLATE.read_text()
    for there, here in {**PLACES, "/run/": f"{tmp_path}/"}.items():
        assert there in text
        text = text.replace(there, here)
    for name, script in {"bin/appliance": APPLIANCE, "setpriv": SETPRIV, "check": text}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PLAY": str(tmp_path)}
    command = ["/bin/sh", tmp_path / "check", tmp_path]
    return lambda: subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_message_that_comes_back_is_enough(check, tmp_path):
    done = check()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = (tmp_path / "told").read_text().splitlines()
    assert [line.split()[0] for line in told] == ["pub", "sub", "pub"]
    assert all(" -h localhost -p 8883 " in line for line in told)


@pytest.mark.parametrize("command", ["pub", "sub"])
def test_a_broker_that_does_not_answer_is_told_with_the_variable(check, tmp_path, command):
    (tmp_path / f"{command} fails").touch()
    done = check()
    assert done.returncode == 1
    last = "no broker at localhost:8883 (appliance_health_options says how the broker is asked)"
    assert done.stderr.splitlines()[-1] == last


def test_another_message_is_none(check, tmp_path):
    (tmp_path / "bin/appliance").write_text(APPLIANCE.replace('cat "$PLAY/kept"', "echo other"))
    done = check()
    assert done.returncode == 1
    assert done.stderr.startswith("'other' came back, and '")
