"""Case 79: the power fails while a computer makes its first keys; the next run finishes, and nothing is half."""

import random
import subprocess
import sys
import time

import pytest
from crash.oplog import CREATE, FLUSH, FLUSH_DIR, Disk, Recorder, operations

from appliance.auth.managed import parse
from appliance.clock import UNSYNCED
from appliance.identity import first_secret, machine_mark, setting_up
from appliance.identity.authority import belong_together, load, read_certificate, read_key
from appliance.identity.names import names_of
from appliance.identity.setting_up import Clock, files_in, set_up

STATES = 60
CONFIG = """\
[accounts]
managed_file = "data/accounts.json"

[[listener]]
certificate = "data/tls/server.pem"
key = "data/tls/server.key"
"""


def write_out(files, folder):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What one first run writes and flushes, as the system calls say."""
    scratch = tmp_path_factory.mktemp("first")
    (scratch / "appliance.toml").write_text(CONFIG)
    recorder = Recorder(scratch, scratch / "data")
    command = [sys.executable, "-m", "appliance", "setup", "--config", str(scratch / "appliance.toml")]
    try:
        subprocess.run([*command, "--data", str(scratch / "data")], env=recorder.env, check=True, capture_output=True)
    finally:
        recorder.close()
    ops = operations(recorder.log)
    files = {op.inode for op in ops if op.kind == CREATE}
    assert len(files) >= 7
    return [
        op._replace(kind=FLUSH_DIR) if op.kind == FLUSH and op.inode not in files else op for op in ops
    ]  # the flush of a folder below, which the recorder takes for a file's


@pytest.fixture
def once(monkeypatch):
    """Hash one password for all states: what is asked here is whether the files belong together."""
    encoded = setting_up.hashed(b"once")
    monkeypatch.setattr(setting_up, "hashed", lambda _password: encoded)
    return encoded


def test_l79_what_a_cut_leaves_of_the_first_run_is_finished_by_the_next(recorded, once, tmp_path):
    dice = random.Random(79)
    disk, keys = Disk(recorded), set()
    for number, position in enumerate(sorted(dice.randint(0, len(recorded)) for _ in range(STATES))):
        disk.go_on(position)
        folder = tmp_path / str(number)
        left = disk.cut(dice)
        write_out(left, folder)
        files, accounts = files_in(folder), folder / "accounts.json"
        again = {"managed_file": accounts, "admin": lambda: "admin", "machine": machine_mark.this_machine()}
        now = Clock.of(time.time(), UNSYNCED)
        set_up(files, names=names_of("hub", []), clock=now, **again)
        authority = load(files.ca, files.ca_key)
        assert authority.has_issued(read_certificate(files.certificate))
        assert belong_together(read_certificate(files.certificate), read_key(files.key))
        assert parse(accounts.read_text())["admin"].role == "admin"
        assert "accounts.json" in left or parse(accounts.read_text())["admin"].password == once
        assert len(first_secret.kept(files.admin_secret)) >= 26
        assert set_up(files, names=names_of("hub", []), clock=now, **again) == []
        assert not list(folder.rglob("*.new"))
        keys.add(files.ca_key.read_bytes())
        if "tls/ca.key" in left:
            assert left["tls/ca.key"] == files.ca_key.read_bytes()  # what was whole goes on being used
    assert len(keys) > 1
