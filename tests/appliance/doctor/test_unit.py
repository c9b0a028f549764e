"""systemd itself is asked in tests/machines; here a program of its name answers."""

import os
from dataclasses import replace

import pytest

from appliance.doctor.unit import Unit, unit, unit_findings

GOOD = {"load": "loaded", "active": "active", "file": "enabled", "watchdog": "20s", "computers_watchdog": "15s"}


def judged(**facts):
    return [str(finding) for finding in unit_findings(Unit(**GOOD | facts))]


def test_a_good_unit_needs_no_words():
    assert judged(memory="infinity", counts_memory=False) == judged(memory="500M") == []
    assert judged() == judged(has_watchdog_chip=True) == judged(file="enabled-runtime") == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"load": "not-found"}, "note: appliance.service: it is not installed"),
        ({"active": "failed", "result": "watchdog"}, "wrong: appliance.service: it has failed (watchdog); `sudo journ"),
        ({"active": "inactive"}, "wrong: appliance.service: it does not run (inactive); `sudo systemctl start"),
        ({"restarts": 3}, "note: appliance.service: it was started again 3 times since somebody started it; "),
        ({"file": "disabled"}, "wrong: appliance.service: it does not start with the computer (disabled); `sudo syst"),
        ({"watchdog": "0"}, "note: appliance.service: systemd does not see when it hangs; give it WatchdogSec=20"),
        (
            {"memory": "500M", "counts_memory": False},
            "note: appliance.service: its bound of memory (MemoryMax=) does no",
        ),
        ({"computers_watchdog": "off", "has_watchdog_chip": True}, "note: watchdog: the computer has a watchdog that"),
    ],
)
def test_each_trouble_is_one_line(facts, words):
    (found,) = judged(**facts)
    assert found.startswith(words)


def test_without_systemd_nothing_is_asked(tmp_path):
    assert unit(tmp_path) is None
    (found,) = unit_findings(None)
    assert "systemd does not run this computer" in found.what


def systemctl(folder, script):
    folder.mkdir(exist_ok=True)
    (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "systemctl").chmod(0o700)
    return f"{folder}:{os.environ['PATH']}"


def test_what_systemd_says_is_understood(tmp_path, monkeypatch):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/watchdog0").touch()
    answers = """case "$2" in
    appliance.service) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\nResult=success\\n'
        printf 'WatchdogUSec=20s\\nNRestarts=2\\nMemoryMax=4096\\n';;
    *) echo RuntimeWatchdogUSec=0;; esac"""
    monkeypatch.setenv("PATH", systemctl(tmp_path / "bin", answers))
    told = Unit("loaded", "active", "enabled", "success", "20s", 2, "0", has_watchdog_chip=True, memory="4096")
    assert unit(tmp_path) == told
    controllers = tmp_path / "sys/fs/cgroup/cgroup.controllers"
    controllers.parent.mkdir(parents=True)
    for words, counts in (("cpu memory pids", True), ("cpuset cpu io pids", False)):  # a Raspberry Pi's is the second
        controllers.write_text(f"{words}\n")
        assert unit(tmp_path) == replace(told, counts_memory=counts)
    monkeypatch.setenv("PATH", systemctl(tmp_path / "bin", "exit 1"))
    assert unit(tmp_path) is None
