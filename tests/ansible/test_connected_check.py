"""An agent must be connected where its broker is there; where it is not, that is no fault of the agent's."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "ansible/roles/sensors/templates/check-sensors.j2"
SYSTEMCTL = """#!/bin/sh
# Gives one line of $PLAY/said after the other, and the last again and again.
sed -n 1p "$PLAY/said"
[ "$(wc -l < "$PLAY/said")" -eq 1 ] || sed -i 1d "$PLAY/said"
"""


@pytest.mark.parametrize(
    ("said", "is_there", "code"),
    [
        (["connected to hub:8883; 3 of 3 sensors online, 0 readings wait"], True, 0),
        (["", "nothing listens at hub:8883", "connected to hub:8883"], True, 0),  # as while the hub restarts
        (["nothing listens at hub:8883"], False, 0),
        (["the broker refuses the connection (Not authorized)"], True, 1),
        ([""], True, 1),
    ],
)
def test_who_is_not_connected_to_what_is_there_is_not_well(tmp_path, said, is_there, code):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = TEMPLATE.read_text()
        for there, here in {
            "{{ sensors_settings.broker.host | quote }}": "127.0.0.1",
            "{{ sensors_settings.broker.port | default(sensors_broker_port) }}": str(port),
            "{{ sensors_broker_absent_s }}": "1",
            "{{ sensors_connected_s }}": "3",
        }.items():
            assert there in text
            text = text.replace(there, here)
        for name, script in {"check": text, "systemctl": SYSTEMCTL}.items():
            (tmp_path / name).write_text(script)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "said").write_text("".join(f"{line}\n" for line in said))
        environment = {**os.environ, "PLAY": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        if not is_there:
            server.close()
        done = subprocess.run(
            [tmp_path / "check"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == code
    told = f"it is not connected to the broker at 127.0.0.1:{port}, which is there: {said[-1]}\n"
    assert done.stderr == (told if code else "")
