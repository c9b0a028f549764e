import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import free_port

from appliance import __version__
from appliance.finding import note, wrong
from sensors import cli, credential, inspection
from sensors.config import load_config
from sensors.discovery import Found
from sensors.doctor.examination import Examination
from sensors.drivers.gpio_input import GpioInput
from sensors.drivers.gpio_output import GpioOutput
from sensors.drivers.simulated import Simulated, SimulatedInstrument
from sensors.hw.gpio import FakeGpio
from sensors.keepsakes import Keepsakes
from sensors.reading import Reading

ROOT = Path(__file__).parents[2]
KEYS = ["broker.port", 'sensor[1].intervall_s of "kitchen"', 'sensor[2].model of "b"']
HOUSE = """
agent = "house"
[[sensor]]
name = "kitchen"
kind = "simulated"
room = "kitchen"
title = "Küche"
interval_s = 2
[[sensor]]
name = "relay"
kind = "simulated"
room = "kitchen"
model = "relay"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "sensors.toml"
    path.write_text(f'data_dir = "{tmp_path}"\n' + HOUSE)
    return path


@pytest.fixture
def sensors(capsys):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_list(sensors, config):
    code, out, _ = sensors("list", "--config", config)
    assert code == cli.OK
    assert out.splitlines() == [
        "NAME     KIND       EVERY  TOPICS                    TITLE",
        "kitchen  simulated  2 s    home/kitchen/temperature  Küche",
        "                           home/kitchen/humidity",
        "relay    simulated         home/kitchen/relay",
        "                           home/kitchen/relay/set",
    ]
    code, out, _ = sensors("list", "--config", config, "--json")
    assert json.loads(out)[0] == {
        "name": "kitchen",
        "kind": "simulated",
        "room": "kitchen",
        "label": None,
        "title": "Küche",
        "interval_s": 2.0,
        "topics": ["home/kitchen/temperature", "home/kitchen/humidity"],
        "commands": [],
    }
    assert json.loads(out)[1]["commands"] == ["home/kitchen/relay/set"]


def test_list_kinds_names_every_kind_and_key(sensors):
    code, out, _ = sensors("list", "--kinds")
    assert code == cli.OK
    assert "simulated: " in out
    assert '\n  model   "button", "co2", ' in out
    assert "\n  pin          a whole number from 0 to 27; required\n               GPIO number" in out
    assert out.splitlines()[-1].startswith("Every sensor has name, kind, room, and may have ")
    code, out, _ = sensors("list", "--kinds", "--json")
    assert json.loads(out)["simulated"]["keys"].keys() == {"model", "seed", "life", "faults"}
    assert json.loads(out)["gpio_output"]["keys"]["active"] == {
        "help": "Which level means ON; most relay boards want `low`.",
        "required": False,
        "default": "high",
        "takes": '"high" or "low"',
        "choices": ["high", "low"],
    }


def test_read_a_polled_sensor(sensors, config):
    code, out, err = sensors("read", "kitchen", "--config", config)
    assert (code, err) == (cli.OK, "")
    temperature, humidity = out.splitlines()
    assert temperature.startswith("home/kitchen/temperature ")
    assert temperature.endswith(" °C")
    assert humidity.startswith("home/kitchen/humidity ")


def test_read_a_watched_sensor(sensors, config):
    code, out, _ = sensors("read", "relay", "--config", config, "--json")
    assert code == cli.OK
    (row,) = json.loads(out)["readings"]
    assert row == {"topic": "home/kitchen/relay", "value": "OFF", "unit": None, "refused": "", "raw": ""}


def test_read_does_not_touch_an_output(sensors, config, monkeypatch):
    monkeypatch.setattr(GpioOutput, "build", lambda *_: pytest.fail("it takes the pin"))
    config.write_text(
        config.read_text()
        + '\n[[sensor]]\nname = "pump"\nkind = "gpio_output"\nroom = "cellar"\npin = 17\noutput = "relay"\n'
    )
    code, out, err = sensors("read", "pump", "--config", config)
    assert (code, out) == (cli.FAILED, "")
    assert err == "sensor pump: taking its pin could switch it; while the agent runs, its state is on its topic\n"
    code, out, _ = sensors("read", "pump", "--config", config, "--json")
    assert json.loads(out)["problem"]


def test_read_shows_what_the_hardware_sent(sensors, config, monkeypatch):
    frame = "50 05 4b 46 7f ff 0c 10 1c"
    readings = [Reading("temperature", 21.0, raw=frame), Reading("humidity", 50.0, raw=frame)]
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: readings)
    code, out, _ = sensors("read", "kitchen", "--config", config)
    assert code == cli.OK
    assert out.splitlines()[2:] == [f"raw: {frame}"]  # once, though two readings come of it
    code, out, _ = sensors("read", "kitchen", "--config", config, "--json")
    assert [row["raw"] for row in json.loads(out)["readings"]] == [frame, frame]


def test_read_knows_the_total_of_a_meter(sensors, config, monkeypatch):
    meter = 'kind = "pulse_counter"\nroom = "cellar"\npin = 17\ncounts = "energy"\nper_pulse = 0.001\nstart = 10\n'
    config.write_text(f'{config.read_text()}\n[[sensor]]\nname = "meter"\n{meter}')
    path = load_config(config).keepsakes_path
    kept = Keepsakes(path)
    kept.put("meter", "start", 10.0)
    kept.put("meter", "total", 48.5)
    kept.write(0.0)
    before = path.read_bytes()
    monkeypatch.setattr("sensors.drivers.pulse_counter.open_gpio", lambda _root: FakeGpio())
    code, out, _ = sensors("read", "meter", "--config", config)
    assert (code, out.splitlines()[0]) == (cli.OK, "home/cellar/energy 48.500 kWh")
    assert path.read_bytes() == before


def test_read_an_unknown_name(sensors, config):
    code, _, err = sensors("read", "attic", "--config", config)
    assert code == cli.USAGE
    assert 'no sensor is called "attic"; there are: kitchen, relay' in err
    code, out, _ = sensors("read", "attic", "--config", config, "--json")
    assert code == cli.USAGE
    assert json.loads(out)["problem"] == 'no sensor is called "attic"; there are: kitchen, relay'


def test_read_says_of_a_button_that_there_is_nothing_to_read(sensors, config):
    config.write_text(config.read_text().replace('model = "relay"', 'model = "button"'))
    code, out, err = sensors("read", "relay", "--config", config)
    assert (code, out) == (cli.OK, "")
    assert err == "sensor relay: it tells what happens when it happens; there is nothing to read\n"


def test_read_does_not_call_a_sensor_good_that_has_not_measured_yet(sensors, config, monkeypatch):
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: ())
    code, _, err = sensors("read", "kitchen", "--config", config)
    assert (code, err) == (
        cli.FAILED,
        "sensor kitchen: it is there, and has not measured yet; ask again in a minute\n",
    )


def test_read_shows_what_the_hardware_sent_also_when_it_is_no_reading(sensors, config):
    config.write_text(config.read_text().replace("interval_s = 2", 'interval_s = 2\nfaults = ["85"]'))
    code, out, err = sensors("read", "kitchen", "--config", config)
    assert code == cli.FAILED
    assert out.startswith("raw: 50 05 4b 46 7f ff 0c 10 1c : crc=1c YES")
    assert "85 °C is what the chip says" in err
    code, out, _ = sensors("read", "kitchen", "--config", config, "--json")
    assert json.loads(out)["raw"].startswith("50 05 4b 46 7f ff 0c 10 1c")


def test_read_names_the_agent_that_may_hold_the_pin(sensors, config, monkeypatch):
    monkeypatch.setattr(inspection, "holder_of", lambda path: 4711 if path.suffix == ".outbox" else None)
    monkeypatch.setattr(GpioInput, "build", lambda *_: 1 / 0)
    config.write_text(
        config.read_text()
        + '\n[[sensor]]\nname = "pir"\nkind = "gpio_input"\nroom = "hall"\npin = 17\ninput = "motion"\n'
    )
    code, _, err = sensors("read", "pir", "--config", config)
    assert code == cli.FAILED
    assert err.endswith("; the agent runs (process 4711) and may hold it: stop it, or look at its topics\n")


def test_read_says_in_one_line_what_failed(sensors, config, monkeypatch):
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: 1 / 0)
    code, out, err = sensors("read", "kitchen", "--config", config)
    assert (code, out) == (cli.FAILED, "")
    assert err == "sensor kitchen: ZeroDivisionError: division by zero\n"


def test_read_gives_up_a_driver_that_hangs(sensors, config, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: release.wait(30))
    monkeypatch.setattr(SimulatedInstrument, "timeout_s", 0.05)
    monkeypatch.setattr(inspection, "SLACK_S", 0.05)
    code, _, err = sensors("read", "kitchen", "--config", config)
    release.set()
    assert code == cli.FAILED
    assert "did not end within" in err


def test_read_shows_what_is_not_believed(sensors, config):
    config.write_text(config.read_text().replace("interval_s = 2", "interval_s = 2\ntemperature.high = -100"))
    code, out, _ = sensors("read", "kitchen", "--config", config)
    assert code == cli.FAILED
    assert "not believed: " in out


def test_read_shows_what_is_not_believed_as_the_doubt_does(sensors, config, monkeypatch):
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: [Reading("temperature", 43.74895797805789)])
    config.write_text(config.read_text().replace("interval_s = 2", "interval_s = 2\ntemperature.high = 40"))
    _, out, _ = sensors("read", "kitchen", "--config", config)
    assert out == "home/kitchen/temperature 43.749 °C  (not believed: temperature: 43.749 °C is above 40 °C)\n"


def test_read_shows_calibrated_and_derived_values(sensors, config, monkeypatch):
    air = [Reading("temperature", 30.0), Reading("humidity", 60.0)]
    monkeypatch.setattr(SimulatedInstrument, "read", lambda _self: air)
    more = 'interval_s = 2\nderived = ["dew_point"]\n[sensor.temperature]\noffset = -5.0\nmedian = 5'
    config.write_text(config.read_text().replace("interval_s = 2", more))
    code, out, _ = sensors("read", "kitchen", "--config", config)
    assert code == cli.OK
    assert out.splitlines() == [
        "home/kitchen/temperature 25.00 °C",
        "home/kitchen/humidity 60.0 %",
        "home/kitchen/dew_point 16.7 °C",
    ]
    air[:] = [Reading("temperature", 0.0), Reading("humidity", 0.0)]
    code, out, _ = sensors("read", "kitchen", "--config", config)
    assert code == cli.FAILED
    assert out.count("not believed: ") == 2


def test_read_names_a_missing_library(sensors, config, monkeypatch):
    def build(_options, _context):
        raise ModuleNotFoundError("No module named 'adafruit_dht'")

    monkeypatch.setattr(Simulated, "build", build)
    code, _, err = sensors("read", "kitchen", "--config", config)
    assert code == cli.FAILED
    assert "No module named 'adafruit_dht'" in err


def test_check(sensors, config, tmp_path):
    code, out, err = sensors("check", "--config", config)
    assert (code, err) == (cli.OK, "")
    assert "agent house of site home reads 2 sensors" in out
    code, out, _ = sensors("check", "--config", config, "--json")
    assert json.loads(out) == {
        "ok": True,
        "site": "home",
        "agent": "house",
        "data_dir": str(tmp_path),
        "paired": False,
        "ungranted": [],
        "sensors": ["kitchen", "relay"],
    }


@pytest.fixture
def looks(monkeypatch):
    """What the doctor finds, without a look at this computer."""
    findings = []
    monkeypatch.setattr(Examination, "findings", lambda _self: iter(findings))
    return findings


def test_doctor_finds_nothing_wrong(sensors, config, looks):
    assert sensors("doctor", "--config", config) == (cli.OK, "nothing wrong\n", "")
    looks.append(note("agent", "it runs"))
    assert sensors("doctor", "--config", config) == (cli.OK, "note: agent: it runs\nnothing wrong\n", "")


def test_doctor_says_a_line_for_each_finding(sensors, config, looks):
    looks += [note("agent", "it runs"), wrong("GPIO4", "it floats", "check the wire")]
    code, out, err = sensors("doctor", "--config", config)
    assert (code, err) == (cli.FAILED, "")
    assert out.splitlines() == ["note: agent: it runs", "wrong: GPIO4: it floats; check the wire", "1 wrong"]


def test_doctor_as_json(sensors, config, looks):
    looks += [wrong("GPIO4", "it floats", "check the wire")]
    code, out, _ = sensors("doctor", "--config", config, "--json")
    assert code == cli.FAILED
    assert json.loads(out) == [
        {"level": "wrong", "about": "GPIO4", "what": "it floats", "cure": "check the wire"},
    ]
    looks.clear()
    assert sensors("doctor", "--config", config, "--json") == (cli.OK, "[]\n", "")


def test_doctor_of_a_broken_configuration(sensors, config):
    config.write_text(HOUSE.replace("interval_s", "intervall_s"))
    code, out, _ = sensors("doctor", "--config", config, "--json")
    assert code == cli.BAD_CONFIG
    (found,) = json.loads(out)
    assert (found["level"], found["about"]) == ("wrong", f"{config}:8")
    assert found["what"].startswith('sensor[1].intervall_s of "kitchen": ')
    assert found["cure"]
    code, out, _ = sensors("doctor", "--config", config.with_name("none.toml"))
    assert code == cli.BAD_CONFIG
    assert "none.toml: there is no such file; " in out


def test_doctor_looks_at_this_computer(tmp_path):
    """Whatever computer that is: with a sensor on each bus, nobody at the broker's port, and no harm done."""
    path = tmp_path / "sensors.toml"
    buses = """
[[sensor]]
name = "boiler"
kind = "ds18b20"
room = "cellar"
[[sensor]]
name = "air"
kind = "bme280"
room = "hall"
bus = 255
"""
    path.write_text(f'data_dir = "{tmp_path}"\n[broker]\nport = {free_port()}\n{buses}')
    done = subprocess.run(
        [sys.executable, "-m", "sensors", "doctor", "--json", "--config", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (cli.FAILED, "")
    findings = {finding["about"]: finding for finding in json.loads(done.stdout)}
    assert findings["broker"]["what"].startswith("nothing listens on 127.0.0.1:")
    assert {"1-Wire", "/dev/i2c-255"} <= findings.keys()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", [("run",), ("list",), ("read", "kitchen"), ("check",)])
def test_a_newcomer_without_a_configuration_is_told_what_to_do(sensors, tmp_path, monkeypatch, command):
    monkeypatch.setattr(cli, "DEFAULT_CONFIG", tmp_path / "sensors.toml")
    assert sensors(*command) == (
        cli.BAD_CONFIG,
        "",
        f"{tmp_path / 'sensors.toml'}: there is no configuration yet; write it there, or name a file with --config\n",
    )


@pytest.mark.parametrize("command", [("run",), ("list",), ("read", "kitchen"), ("check",)])
def test_a_broken_configuration_is_one_line(sensors, config, command):
    config.write_text(HOUSE.replace("interval_s", "intervall_s"))
    code, out, err = sensors(*command, "--config", config)
    assert (code, out) == (cli.BAD_CONFIG, "")
    assert err.count("\n") == 1
    assert f'{config}:8: sensor[1].intervall_s of "kitchen": ' in err
    assert "interval_s" in err


def test_root_does_not_run_in_the_place_of_the_service_s_user(sensors, config, monkeypatch):
    config.write_text(f'data_dir = "kept"\n{HOUSE}')
    monkeypatch.setattr("sensors.data_dir.shut_out", lambda folder: f"owner-of-{folder.name}")
    code, _, err = sensors("run", "--config", config)
    assert code == cli.NO_OUTBOX
    assert err.endswith(
        "who could not open what root makes there; run it as that user: `sudo -u owner-of-kept sensors run`\n"
    )


def test_every_mistake_of_a_file_is_told_at_once(sensors, config):
    config.write_text(
        "[broker]\nport = 0\n"
        + HOUSE.replace("interval_s", "intervall_s")
        .replace('"relay"\nkind', '"b"\nkind', 1)
        .replace('model = "relay"', 'model = "castle"')
    )
    code, out, err = sensors("check", "--config", config)
    assert (code, out) == (cli.BAD_CONFIG, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == KEYS
    facts = json.loads(sensors("check", "--config", config, "--json")[1])
    assert [facts["key"], *(each["key"] for each in facts["more"])] == [key.partition(" ")[0] for key in KEYS]
    code, out, _ = sensors("doctor", "--config", config)
    assert code == cli.BAD_CONFIG
    assert out.splitlines()[-1] == "3 wrong"


def test_a_broken_configuration_as_json(sensors, config):
    config.write_text("site = 7\n")
    code, out, _ = sensors("check", "--config", config, "--json")
    assert code == cli.BAD_CONFIG
    facts = json.loads(out)
    assert (facts["ok"], facts["line"], facts["key"]) == (False, 1, "site")
    assert facts["problem"]
    assert facts["cure"]


def test_an_outbox_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    config = tmp_path / "sensors.toml"
    config.write_text(f'data_dir = "{tmp_path / "file"}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "sensors", "run", "--config", config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.NO_OUTBOX
    assert done.stderr.count("\n") == 1
    assert "set data_dir" in done.stderr


def test_help_names_every_command_and_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "sensors", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(f"  {command} " in done.stdout for command in ("run", "list", "read", "check", "doctor"))
    assert "exit codes" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"sensors {__version__}\n"


@pytest.mark.parametrize("argument", ["--version", "--help", "run --help", "doctor --help"])
def test_help_imports_nothing_heavy(argument):
    program = f"""
import sys
from sensors.cli import main
try:
    main({argument.split()!r})
except SystemExit:
    pass
heavy = {{"msgspec", "paho.mqtt", "sqlite3", "asyncio", "logging", "tomllib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def pair_by_hand(config, **fields):
    """Write what pairing leaves behind."""
    paths = load_config(config)
    got = {"username": "house", "secret": "s", "address": "192.168.1.5", "port": 8883, "name": "hub.local", **fields}
    credential.write(paths.credential_path, credential.Credential(**got, has_ca=False), paths.ca_path, "")


def test_check_knows_of_pairing(sensors, config):
    topics = ("home/kitchen/temperature", "home/kitchen/humidity", "home/kitchen/relay")
    pair_by_hand(config, topics=topics)
    code, out, _ = sensors("check", "--config", config)
    assert (code, out.count("\n")) == (0, 1)
    assert "for the hub hub.local with which it was paired (192.168.1.5:8883), outbox in" in out
    pair_by_hand(config, topics=topics[:2])
    _, out, _ = sensors("check", "--config", config)
    assert out.endswith("the hub did not grant home/kitchen/relay; pair anew with `sensors pair`\n")
    facts = json.loads(sensors("check", "--config", config, "--json")[1])
    assert (facts["paired"], facts["ungranted"]) == (True, ["home/kitchen/relay"])


def test_check_says_where_an_account_is_missing(sensors, config):
    config.write_text('[broker]\nhost = "hub.local"\ntls = true\n')
    assert sensors("check", "--config", config)[1].endswith("where it needs one, `sensors pair` gets it\n")


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        (("hub/x",), cli.USAGE, "is no host"),
        (("https://hub",), cli.USAGE, "is no host"),
        (("127.0.0.1:1",), cli.FAILED, "no hub answers at 127.0.0.1:1"),
    ],
)
def test_pair_says_in_one_line_why_not(sensors, config, arguments, expected, words):
    code, out, err = sensors("pair", *arguments, "--config", config)
    assert (code, out, err.count("\n")) == (expected, "", 1)
    assert words in err
    code, out, err = sensors("pair", *arguments, "--config", config, "--json")
    assert (code, err) == (expected, "")
    assert words in json.loads(out)["problem"]
    assert not load_config(config).credential_path.exists()


def test_pair_takes_the_hub_that_mdns_finds(sensors, config, monkeypatch):
    port = free_port()
    monkeypatch.setattr("sensors.discovery.look", lambda *_: [Found("hub.local", port, ("127.0.0.1",), "home")])
    code, out, err = sensors("pair", "--config", config)
    assert (code, out) == (cli.FAILED, f"the hub is hub.local:{port}, as mDNS says\n")
    assert f"no hub answers at hub.local:{port} " in err
