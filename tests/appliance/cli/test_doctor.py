"""`appliance doctor` as a command: words, JSON, exit codes, and a real service that is looked at."""

import json

import pytest
from processes import appliance
from service import Service


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "appliance.toml"
    path.write_text("[mqtt]\nport = 0\n[web]\nport = 0\n")
    path.chmod(0o644)
    return path


def test_a_hub_that_is_well(tmp_path, config):
    done = appliance(tmp_path, "doctor", "--config", config, "--data", tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing wrong"
    assert f"note: configuration: {config} serves this computer alone" in done.stdout


def test_something_wrong_is_counted_and_ends_with_1(tmp_path, config):
    config.chmod(0o666)
    done = appliance(tmp_path, "doctor", "--config", config, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert f"wrong: {config}: others may change it (mode 0666" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 wrong"


def test_json_is_an_array_of_findings(tmp_path, config):
    config.chmod(0o666)
    done = appliance(tmp_path, "doctor", "--config", config, "--data", tmp_path / "data", "--json")
    found = json.loads(done.stdout)
    assert {frozenset(one) for one in found} == {frozenset({"level", "about", "what", "cure"})}
    assert [one["about"] for one in found if one["level"] == "wrong"] == [str(config)]


def test_a_wrong_configuration_is_all_that_is_told(tmp_path, config):
    config.write_text("prot = 1\n")
    done = appliance(tmp_path, "doctor", "--config", config)
    assert done.returncode == 78
    first, last = done.stdout.splitlines()
    assert first.startswith(f"wrong: configuration: {config}:1: prot: unknown key; ")
    assert last == "1 wrong"


def test_a_running_service_is_asked(tmp_path):
    service = Service(tmp_path / "service")
    try:
        config, data = service.scratch / "appliance.toml", service.scratch / "data"
        done = appliance(tmp_path, "doctor", "--config", config, "--data", data)
    finally:
        service.stop()
    assert f"note: service: it runs, as process {service.pid}, with 0 clients" in done.stdout
    assert done.returncode == 0, done.stdout
