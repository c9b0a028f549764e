import stat

import pytest
from authority import Authority
from mistakes import assert_told
from msgspec.structs import replace

from appliance.config import ConfigError
from appliance.settings import described
from sensors import credential
from sensors.config import load_config
from sensors.credential import Credential
from sensors.keys import Keys, SensorKeys
from sensors.topics import RESERVED_LEVELS, check_level
from sensors.trust import Trust

KITCHEN = '[[sensor]]\nname = "kitchen"\nkind = "simulated"\nroom = "kitchen"\n'
DHT = '[[sensor]]\nname = "air"\nkind = "dht"\nroom = "attic"\npin = 4\nmodel = "DHT22"\n'
DOOR = '[[sensor]]\nname = "door"\nkind = "gpio_input"\nroom = "hall"\npin = 17\ninput = "door"\n'
PUMP = '[[sensor]]\nname = "pump"\nkind = "gpio_output"\nroom = "hall"\npin = 18\noutput = "relay"\n'
METER = '[[sensor]]\nname = "m"\nkind = "pulse_counter"\nroom = "hall"\npin = 19\ncounts = "water"\nper_pulse = 1\n'
PLAYED = '[[sensor]]\nname = "played"\nkind = "simulated"\nroom = "attic"\n'
LABELLED = 'measurement = "dew_point"\nlabel = "top"\n'
FLOW = '[[sensor]]\nname = "flow"\nkind = "ds18b20"\nroom = "cellar"\n'


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "sensors.toml"
        path.write_text(text)
        return load_config(path)

    return load


def test_an_empty_file_is_an_agent_without_sensors(load, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Kitchen-Pi.local")
    config = load("")
    assert (config.site, config.agent, config.sensors) == ("home", "kitchen-pi-local", ())
    assert (config.broker.host, config.broker.port, config.password) == (None, None, None)
    assert str(config.endpoint) == "127.0.0.1:1883"


def test_a_full_file(load, tmp_path):
    config = load(
        f'site = "home"\nagent = "house"\nname = "Das Haus"\ndata_dir = "{tmp_path}"\n'
        '[broker]\nhost = "hub.local"\nport = 8883\nkeep_alive_s = 60\n[outbox]\nmax_readings = 500\n'
        f'{KITCHEN}label = "fridge"\ntitle = "Kühlschrank"\ninterval_s = 2\ndelta = 0.2\nmodel = "room"\n'
    )
    (kitchen,) = config.sensors
    assert (kitchen.name, kitchen.keys.label, kitchen.keys.title) == ("kitchen", "fridge", "Kühlschrank")
    assert (kitchen.keys.interval_s, kitchen.keys.delta, kitchen.options.model) == (2.0, 0.2, "room")
    assert config.outbox_path == tmp_path / "home-house.outbox"
    assert config.outbox.max_readings == 500


NOT_FOR_A_DOOR = (
    "low = 1",
    "max_step = 1",
    "offset = 1",
    "calibrate = [[0, 1], [1, 2]]",
    "median = 3",
    "moving_average = 3",
    "send_every = 2",
    "throttle_s = 5",
    "decimals = 1",
    'delta = "5%"',
    "heartbeat_s = 300",
    "timeout_s = 600",
)
ERRORS = [  # text after the kitchen's four lines -> line, key, parts of the one line
    ('modle = "room"\n', 5, "sensor[1].modle", ["unknown key", "model"]),
    ('model = "castle"\n', 5, "sensor[1].model", ["castle", "room"]),
    ("interval_s = 0\n", 5, "sensor[1].interval_s", ["0"]),
    ('interval_s = "often"\n', 5, "sensor[1].interval_s", ["often", "number"]),
    ('label = "Top Shelf"\n', 5, "sensor[1].label", ["Top Shelf", "a-z"]),
    ('label = "set"\n', 5, "sensor[1].label", ["reserved"]),
    ("decimals = 99\n", 5, "sensor[1].decimals", ["99"]),
    ('delta = "5%\\n"\n', 5, "sensor[1].delta", ["5%", "such as"]),
    (f'delta = "{"9" * 400}%"\n', 5, "sensor[1].delta", ["999", "such as"]),
    (f'{DOOR}measurement = "set"\n', 11, "sensor[2].measurement", ["reserved names"]),
    (f'{DOOR}measurement = "front\\n"\n', 11, "sensor[2].measurement", ["use a-z"]),
    (f'{PUMP}measurement = "availability"\n', 11, "sensor[2].measurement", ["reserved names"]),
    (f'{METER}measurement = "{"x" * 65}"\n', 12, "sensor[2].measurement", ["use a-z"]),
    (f'{FLOW}id = "28-000803702e49\\n"\n', 9, "sensor[2].id", ["such as 28-000803702e49"]),
    ('delta = "much"\n', 5, "sensor[1].delta", ["much", '"5%"']),
    ("calibrate = [[0, 1]]\n", 5, "sensor[1].calibrate", ["give two points, such as"]),
    ("calibrate = [[5, 1], [5, 2]]\n", 5, "sensor[1].calibrate", ["no line", "far apart"]),
    ("scale = 0\n", 5, "sensor[1].scale", ["all numbers one"]),
    ("heartbeat_s = 300\n", 5, "sensor[1].heartbeat_s", ["without `delta`", "throttle_s"]),
    ("temperature.delta = 1\n[sensor.humidity]\nheartbeat_s = 9\n", 7, "sensor[1].humidity.heartbeat_s", ["`delta`"]),
    ("send_every = 5\n", 5, "sensor[1].send_every", ["median"]),
    ('derived = ["dew"]\n', 5, "sensor[1].derived[1]", ["dew", "absolute_humidity"]),
    ("[sensor.temperature]\nofset = 1\n", 6, "sensor[1].temperature.ofset", ["unknown key", '"offset"']),
    ("[sensor.temperature]\noffset = nan\n", 6, "sensor[1].temperature.offset", ["finite"]),
    ("[sensor.humidity]\nscale = 0\n", 6, "sensor[1].humidity.scale", ["factor"]),
    ("humidity.low = 5\nhumidity.high = 4\n", 5, "sensor[1].humidity.low", ["nothing is above 5"]),
    (f"{DHT}high = 40\n", 11, "sensor[2].high", ["[sensor.temperature] or [sensor.humidity]"]),
    (f"{DHT}offset = 1\n", 11, "sensor[2].offset", ["[sensor.temperature] or [sensor.humidity]"]),
    (f"{DHT}[sensor.temprature]\noffset = 1\n", 11, "sensor[2].temprature", ['did you mean "temperature"?']),
    (f"{DHT}[sensor.dew_point]\ndelta = 1\n", 11, "sensor[2].dew_point", ['derived = ["dew_point"]']),
    (f'{FLOW}derived = ["dew_point"]\n', 9, "sensor[2].derived", ["temperature and humidity"]),
    *(
        (f"{DOOR}{key}\n", 11, f"sensor[2].{key.partition(' ')[0]}", ["no number", "remove it"])
        for key in NOT_FOR_A_DOOR
    ),
    (f'{DOOR}derived = ["dew_point"]\n', 11, "sensor[2].derived", ["no number", "remove dew_point"]),
    (f"{DOOR}interval_s = 60\n", 11, "sensor[2].interval_s", ["speaks up by itself", "remove it"]),
    (f"{DOOR}hold_s = 2\n", 11, "sensor[2].hold_s", ["not a door"]),
    (f"{DOOR}door.delta = 1\n", 11, "sensor[2].door", ["no number", "remove the table"]),
    (f"{DOOR}[sensor.motoin]\ndelta = 1\n", 11, "sensor[2].motoin", ["no number", "remove the table"]),
    (f"{PUMP}throttle_s = 5\n", 11, "sensor[2].throttle_s", ["no number"]),
    (f"{PUMP}[sensor.relay]\nmedian = 3\n", 11, "sensor[2].relay", ["remove the table"]),
    (f"{METER}[sensor.watre]\ndelta = 1\n", 12, "sensor[2].watre", ['did you mean "water"?']),
    (f"{METER}[sensor.flow]\nmedian = 3\n", 12, "sensor[2].flow", ["measures water;"]),
    (f"{METER}rate = true\nscale = 2.0\n", 13, "sensor[2].scale", ["[sensor.water] or [sensor.flow]"]),
    (f'{PLAYED}model = "motion"\nmedian = 3\n', 10, "sensor[2].median", ["no number"]),
    (f'{PLAYED}model = "lamp"\n[sensor.lamp]\ndelta = 1\n', 10, "sensor[2].lamp", ["no number"]),
    (f"{PLAYED}[sensor.temprature]\ndelta = 1\n", 9, "sensor[2].temprature", ['did you mean "temperature"?']),
    ('[[sensor]]\nname = "x"\nroom = "attic"\n', 5, "sensor[2].kind", ["missing"]),
    ('[[sensor]]\nname = "x"\nkind = 7\nroom = "attic"\n', 7, "sensor[2].kind", ["7"]),
    ('[[sensor]]\nname = "x"\nkind = "simulate"\nroom = "attic"\n', 7, "sensor[2].kind", ["simulate", "simulated"]),
    ('[[sensor]]\nname = "x"\nkind = "weather-satellite"\nroom = "attic"\n', 7, "sensor[2].kind", ["there is no kind"]),
    ('[[sensor]]\nname = "x"\nkind = "host"\n', 5, "sensor[2].room", ["missing"]),
    *(
        (f'[[sensor]]\nname = "x"\nkind = "host"\nroom = "{level}"\n', 8, "sensor[2].room", ["reserved"])
        for level in sorted(RESERVED_LEVELS)
    ),
    ("safe_after_s = 60\n", 5, "sensor[1].safe_after_s", ["kind simulated has no such key", "only gpio_output has it"]),
    ('[[sensor]]\nname = "x"\nkind = "relay"\nroom = "hall"\n', 7, "sensor[2].kind", ['output = "relay"', 'of "x"']),
    ("[broker]\nport = 0\n", 6, "broker.port", ["0", "65535"]),
    ('[broker]\nhots = "hub"\n', 6, "broker.hots", ["unknown key", "host"]),
    ('[broker]\npassword_file = "a\\u0000b"\n', 6, "broker.password_file", ["U+0000"]),
    ('[broker]\npassword_file = "/no/such/file"\n', 6, "broker.password_file", ["/no/such/file", "first line"]),
]


@pytest.mark.parametrize(("text", "line", "key", "parts"), ERRORS)
def test_a_problem_is_one_line_with_place_key_and_cure(load, text, line, key, parts):
    with pytest.raises(ConfigError) as caught:
        load(KITCHEN + text)
    assert_told(caught.value, line, key, parts)


def test_a_password_is_the_first_line_of_its_file(load, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\nmore\n")
    assert load(f'[broker]\npassword_file = "{secret}"\n').password == "s3cret"
    assert load('[broker]\npassword_file = "secret"\n').password == "s3cret"  # beside the configuration


def test_a_password_may_be_a_credential_of_the_service(load, tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mqtt").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert load('[broker]\npassword_file = "mqtt"\n').password == "from systemd"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * 70_000])
def test_a_file_without_a_password_says_so_and_shows_nothing(load, tmp_path, content):
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load('[broker]\npassword_file = "secret"\n')
    assert caught.value.key == "broker.password_file"
    assert "xxx" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")


def test_every_key_can_be_documented():
    assert {setting.name for setting in described(SensorKeys)} >= {"name", "kind", "room", "interval_s", "delta"}
    assert {setting.name for setting in described(Keys)} >= {"site", "agent", "data_dir", "host", "max_readings"}


@pytest.mark.parametrize("level", sorted(RESERVED_LEVELS))
def test_the_file_and_the_topics_reserve_the_same_levels(load, level):
    with pytest.raises(ValueError, match="reserved"):
        check_level(level)
    with pytest.raises(ConfigError, match="reserved"):
        load(f'agent = "{level}"\n')


def test_nothing_is_written(load, tmp_path):
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    load(f'data_dir = "{tmp_path / "state"}"\n')
    assert {path.name for path in tmp_path.iterdir()} == {"sensors.toml", *(path.name for path in before)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_is_on_where_its_files_are_named(load, authority, monkeypatch, tmp_path):
    certificate, key = authority.issue("house")
    config = load(f'[broker]\nhost = "hub"\nca_file = "{authority.ca}"\n')
    assert config.trust == Trust(ca_file=str(authority.ca))
    assert str(config.endpoint) == "hub:8883 with TLS"
    config = load(f'[broker]\nhost = "hub"\ncert_file = "{certificate}"\nkey_file = "{key}"\nport = 1\n')
    assert config.trust == Trust(cert_file=str(certificate), key_file=str(key))
    assert str(config.endpoint) == "hub:1 with TLS"
    assert load('[broker]\nhost = "hub"\ntls = true\n').trust == Trust()
    assert load('[broker]\nhost = "hub"\ntls = false\n').trust is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(authority.folder))
    config = load('[broker]\nhost = "hub"\nca_file = "ca.pem"\n')
    assert config.trust == Trust(ca_file=str(authority.ca))
    (tmp_path / "beside.pem").write_bytes(authority.ca.read_bytes())
    assert load('[broker]\nhost = "hub"\nca_file = "beside.pem"\n').trust == Trust(ca_file=str(tmp_path / "beside.pem"))


def test_a_broker_is_looked_for_where_that_is_safe(load, authority):
    (authority.folder / "secret").write_text("secret")
    assert str(load("").endpoint) == "127.0.0.1:1883"
    assert "_secure-mqtt._tcp" in str(load(f'[broker]\nca_file = "{authority.ca}"\n').endpoint)
    assert "(_mqtt._tcp)" in str(load("[broker]\ntls = false\n").endpoint)


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ('tls = false\nca_file = "CA"', "ca_file", "only TLS has a use for it"),
        ('tls = false\npassword_file = "CA"', "password_file", "in plain to whatever broker is found"),
        ("tls = true", "tls", "set broker.ca_file"),
        ('cert_file = "CA"', "cert_file", "could be anybody's"),
        ('host = "hub"\nkey_file = "CA"', "key_file", "set cert_file too"),
        ('host = "hub"\nca_file = "no.pem"', "ca_file", "cannot be read"),
        ('host = "hub"\ncert_file = "CA"', "cert_file", "holds no private key"),
    ],
)
def test_what_tls_cannot_be_is_one_line(load, authority, text, key, part):
    with pytest.raises(ConfigError) as caught:
        load(f"[broker]\n{text.replace('CA', str(authority.ca))}\n")
    assert caught.value.key == f"broker.{key}"
    assert part in str(caught.value)
    assert caught.value.line


GOT = Credential(username="attic", secret="s", address="192.168.1.5", port=8884, name="hub.local", topics=("home/x",))


@pytest.fixture
def paired(load, tmp_path):
    """Load a configuration of an agent that was paired."""

    def paired(broker="", got=GOT):
        text = f'agent = "attic"\ndata_dir = "{tmp_path}"\n[broker]\n{broker}\n'
        before = load(text)
        authority = Authority(tmp_path / "authority").ca.read_text() if got.has_ca else ""
        credential.write(before.credential_path, got, before.ca_path, authority)
        return load(text)

    return paired


def test_what_it_got_when_it_was_paired_is_used_where_nothing_else_is_said(paired, tmp_path):
    config = paired()
    end = config.endpoint
    assert (end.username, end.password, end.usual_port) == ("attic", "s", 8884)
    assert (str(end.given), end.given.name, end.is_looked_for) == ("192.168.1.5:8884", "hub.local", True)
    assert end.trust == Trust(ca_file=str(tmp_path / "home-attic.ca.pem"), is_paired=True)
    assert str(end) == "the hub hub.local with which it was paired (192.168.1.5:8884)"
    assert paired("keep_alive_s = 60").endpoint.username == "attic"


def test_a_host_that_is_set_must_be_the_same_hub(paired):
    end = paired('host = "10.0.0.1"\nport = 9883').endpoint
    assert (str(end.given), end.given.name, end.is_looked_for) == ("10.0.0.1:9883", "hub.local", False)
    assert end.password == "s"


@pytest.mark.parametrize("broker", ['username = "other"', "tls = false", 'host = "h"\ntls = false'])
def test_what_is_set_by_hand_counts_instead(paired, broker):
    config = paired(broker)
    assert (config.credential, config.endpoint.password, config.endpoint.name) == (None, None, "")


def test_a_secret_is_sent_to_nobody_without_tls(paired):
    """Whatever else is set, who uses the credential has TLS with its authority, or the system's."""
    for broker in ("", "port = 1883", 'host = "10.0.0.1"', 'host = "h"\nport = 1883', "tls = true\nhost = 'h'"):
        end = paired(broker).endpoint
        assert (end.password, end.trust is not None) == ("s", True)
    assert paired(got=replace(GOT, has_ca=False)).endpoint.trust == Trust(is_paired=True)


def test_a_credential_that_cannot_be_used_is_told(paired, load, tmp_path):
    config = paired()
    text = f'agent = "attic"\ndata_dir = "{tmp_path}"\n'
    config.ca_path.write_text("no certificate")
    with pytest.raises(ConfigError, match="pair anew with `sensors pair`"):
        load(text)
    config.ca_path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(text)
    config.credential_path.write_text("s")
    with pytest.raises(ConfigError, match="holds no credential; pair anew") as why:
        load(text)
    assert str(why.value).count(str(config.credential_path)) == 1


def test_what_pairing_brings_meanwhile_is_used_by_a_running_agent(paired, load, tmp_path):
    before = load(f'agent = "attic"\ndata_dir = "{tmp_path}"\n')
    assert before.endpoint_now() == before.endpoint
    first = paired()
    assert before.endpoint_now() == first.endpoint != before.endpoint
    second = paired(got=replace(GOT, secret="t"))
    assert first.endpoint_now() == second.endpoint != first.endpoint
    second.credential_path.write_text("half a fi")
    assert second.endpoint_now() == second.endpoint
    assert first.endpoint_now() == first.endpoint
    second.credential_path.unlink()
    assert second.endpoint_now() == second.endpoint


def test_who_was_paired_and_cannot_read_it_connects_in_no_other_way(load, tmp_path):
    before = load(f'agent = "attic"\ndata_dir = "{tmp_path}"\n')
    before.credential_path.write_text("half a fi")
    with pytest.raises(ConfigError, match="holds no credential; pair anew"):
        before.endpoint_now()


def test_what_pairing_brings_meanwhile_counts_for_nothing_beside_what_is_set(paired, load, tmp_path):
    before = load(f'agent = "attic"\ndata_dir = "{tmp_path}"\n[broker]\ntls = false\n')
    paired()
    assert before.endpoint_now() == before.endpoint


def test_topics_that_were_not_granted_are_known(paired, load, tmp_path):
    assert paired().ungranted == ()
    text = f'agent = "attic"\ndata_dir = "{tmp_path}"\n{FLOW}'
    assert load(text).ungranted == ("home/cellar/temperature",)
    assert load(text.replace("attic", "other")).ungranted == ()
