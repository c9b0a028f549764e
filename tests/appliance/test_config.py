"""A broken configuration is one line: file, line, key, what is wrong, cure."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from appliance.config import LIST_PHRASE, SYNTAX_CURES, ConfigError, Document, SettingError, load
from appliance.settings import LOOPBACK_CURE, Level, Settings

FILE = Path("a.toml")


def refusal(text, kind=Settings, key_path=(), **more):
    with pytest.raises(ConfigError) as caught:
        Document(FILE, text).convert(kind, key_path, **more)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults(tmp_path):
    path = tmp_path / "appliance.toml"
    path.write_bytes(b"")
    assert load(path, Settings) == Settings()


def test_a_file_is_read_with_the_mark_of_windows_editors(tmp_path):
    path = tmp_path / "appliance.toml"
    path.write_bytes(b"\xef\xbb\xbfsite = 'attic'\r\n[web]\r\nport = 0\r\n")
    settings = load(path, Settings)
    assert (settings.site, settings.web.port, settings.mqtt.port) == ("attic", 0, 1883)


def test_who_knows_no_file_names_the_setting_and_the_file_adds_the_line():
    error = SettingError(("listener", 1, "key"), "no such key", "make one")
    assert str(error) == "listener[2].key: no such key; make one"
    with pytest.raises(ConfigError) as caught, Document(FILE, "[[listener]]\n[[listener]]\nkey = 'x'").naming():
        raise error
    assert str(caught.value) == "a.toml:3: listener[2].key: no such key; make one"


SITE_CURE = "use a-z, 0-9, _ and -, and none of the reserved names devices, hub, set, availability and homeassistant"

REFUSED = [
    ("[mqtt]\nprot = 1", 'a.toml:2: mqtt.prot: unknown key; did you mean "port"?'),
    ("[mqt]\nport = 1", 'a.toml:1: mqt: unknown key; did you mean "mqtt"?'),
    (
        "\nzz = 1",
        (
            "a.toml:2: zz: unknown key; known here: accounts, data_dir, history, limits, listener, mdns, mqtt, site, "
            "store, web"
        ),
    ),
    ("Site = 'x'", 'a.toml:1: Site: unknown key; did you mean "site"?'),
    ("[limits]\nmax-sessions = 1", 'a.toml:2: limits.max-sessions: unknown key; did you mean "max_sessions"?'),
    ("[mqtt]\n\nport = -1", "a.toml:3: mqtt.port: -1 will not do; give a whole number from 0 to 65535"),
    ("mqtt = { port = 70000 }", "a.toml:1: mqtt.port: 70000 will not do; give a whole number from 0 to 65535"),
    ("mqtt.port = 1.5", "a.toml:1: mqtt.port: 1.5 will not do; give a whole number from 0 to 65535"),
    ("mqtt.port = true", "a.toml:1: mqtt.port: true will not do; give a whole number from 0 to 65535"),
    ('mqtt.port = "1883"', 'a.toml:1: mqtt.port: "1883" will not do; give a whole number from 0 to 65535'),
    ("mqtt.port = 1979-05-27", "a.toml:1: mqtt.port: 1979-05-27 will not do; give a whole number from 0 to 65535"),
    ('[[listener]]\nnames = "hub"', 'a.toml:2: listener[1].names: "hub" will not do; write a list: ["hub"]'),
    ("[[listener]]\nnames = 3", f"a.toml:2: listener[1].names: 3 will not do; {LIST_PHRASE}"),
    ("\n[listener]\nport = 1", "a.toml:2: listener: a table will not do; head it [[listener]]"),
    ("listener = 3", f"a.toml:1: listener: 3 will not do; {LIST_PHRASE}"),
    ("mqtt = 3", "a.toml:1: mqtt: 3 will not do; make it a table, headed [name]"),
    ("[[mqtt]]\nport = 1", "a.toml:1: mqtt: a list will not do; make it a table, headed [name]"),
    ("[site]", f"a.toml:1: site: a table will not do; {SITE_CURE}"),
    ('site = "hub"', f'a.toml:1: site: "hub" will not do; {SITE_CURE}'),
    ('site = "a\\nb"', f'a.toml:1: site: "a\\nb" will not do; {SITE_CURE}'),
    ("history.enabled = 1", "a.toml:1: history.enabled: 1 will not do; write true or false"),
    ("[limits]\nconnect_timeout_s = nan", "a.toml:2: limits.connect_timeout_s: nan will not do; give a finite number"),
    ("[x]\ny = [1, [2,\n inf]]", "a.toml:3: x.y[2][2]: inf will not do; give a finite number"),
    (
        '[web]\naddress = "0.0.0.0"',
        f'a.toml:2: web.address: "0.0.0.0" will not do; {LOOPBACK_CURE}',
    ),
    (
        "data_dir = '" + "x" * 5000 + "'",
        'a.toml:1: data_dir: "' + "x" * 38 + '… will not do; give a path in "quotation marks", without U+0000',
    ),
    # TOML that is none
    (
        "[mqtt]\nport = yes",
        'a.toml:2: not TOML: Invalid value; write text in "quotation marks", and on and off as true and false',
    ),
    ("[mqtt", "a.toml:1: not TOML: Expected ']' at the end of a table declaration; close the table's name with ]"),
    (
        "site = 'a'\nsite = 'b'",
        "a.toml:2: not TOML: Cannot overwrite a value; the key stands here a second time: keep one of the two",
    ),
    (
        "[mqtt]\n[mqtt]",
        f"a.toml:2: not TOML: Cannot declare ('mqtt',) twice; {SYNTAX_CURES['Cannot declare']}",
    ),
    (
        "a = [1,\n",
        'a.toml:1: not TOML: Invalid value; write text in "quotation marks", and on and off as true and false',
    ),
    (": x", "a.toml:1: not TOML: Invalid statement; write a setting as key = value and a table as [name]"),
    ("a = " + "[" * 9_999, "a.toml: nested too deep to be read; remove brackets"),
]


@pytest.mark.parametrize(("text", "line"), REFUSED)
def test_one_line_names_place_fault_and_cure(text, line):
    assert refusal(text) == line


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file; check the path$"):
        load(tmp_path / "none.toml", Settings)


def test_a_directory(tmp_path):
    with pytest.raises(ConfigError, match=r"this is a directory; name the file in it$"):
        load(tmp_path, Settings)


def test_a_file_of_somebody_else(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so the mode alone proves nothing
    with pytest.raises(ConfigError, match="may not be read by this user; run as its owner"):
        load(tmp_path / "a.toml", Settings)


@pytest.mark.parametrize(
    ("path", "problem"),
    [("/dev/zero", "larger than 1 MiB"), ("a\0b", r"cannot be read \("), ("x" * 5000, r"cannot be read \(")],
)
def test_what_is_no_text_file(path, problem):
    with pytest.raises(ConfigError, match=problem):
        load(Path(path), Settings)


def test_other_encodings_are_named_with_their_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes("# one\nsite = 'h\xf6hle'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.toml:2: not UTF-8; save the file as UTF-8$"):
        load(path, Settings)


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    delta: Annotated[float, Meta(gt=0, lt=5)] = 1.0


class Common(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: Literal["dht", "host"]
    interval_s: Annotated[float, Meta(ge=1)] | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pin: Annotated[int, Meta(ge=0, le=27, description="Where the data line is.")]
    filters: Filters = Filters()
    pair: tuple[int, str] = (1, "")
    names: list[Annotated[str, Meta(min_length=1)]] = []
    either: int | str = 1
    rooms: dict[str, Filters] = {}
    password_file: int = 0
    label: Annotated[Level | None, Meta(description="An optional level.")] = None


SENSORS = """
[[sensor]]
name = "kitchen"
kind = "dht"
pin = 4

[[sensor]]
name = "hall"
kind = "dht"
{}
"""
HALL = ("sensor", 1)


OF = ' of "hall"'  # the name that the table gives itself


class TestOneTableOfAList:
    """A sensor's table holds the keys of every sensor and those of its kind."""

    def test_both_halves_are_converted(self):
        document = Document(FILE, SENSORS.format("pin = 5\ninterval_s = 2"))
        assert document.convert(Common, HALL) == Common(name="hall", kind="dht", interval_s=2.0)
        assert document.convert(Options, HALL, beside=Common) == Options(pin=5)
        assert document.at(("sensor", 0, "pin")) == 4

    def test_keys_apart_are_left_to_who_knows_them(self):
        document = Document(FILE, SENSORS.format("pin = 5\n[sensor.air]\ndelta = 1"))
        assert document.convert(Options, HALL, beside=Common, apart=["air"]) == Options(pin=5)
        assert document.convert(Common, ("sensor", 0), apart=["pin"]) == Common(name="kitchen", kind="dht")

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            ("pin = 28", f"a.toml:10: sensor[2].pin{OF}: 28 will not do; give a whole number from 0 to 27"),
            ("pni = 3", f'a.toml:10: sensor[2].pni{OF}: unknown key; did you mean "pin"?'),
            (
                "pin = 3\nintervall_s = 3",
                f'a.toml:11: sensor[2].intervall_s{OF}: unknown key; did you mean "interval_s"?',
            ),
            ("", f"a.toml:7: sensor[2].pin{OF}: is missing; add it: give a whole number from 0 to 27"),
            (
                "pin = 3\nfilters.delta = 5",
                f"a.toml:11: sensor[2].filters.delta{OF}: 5 will not do; give a number above 0 below 5",
            ),
            (
                "pin = 3\nfilters = { interval_s = 5 }",
                f"a.toml:11: sensor[2].filters.interval_s{OF}: unknown key; known here: delta",
            ),
            (
                "pin = 3\npair = [1, 2]",
                f'a.toml:11: sensor[2].pair[2]{OF}: 2 will not do; give text in "quotation marks"',
            ),
            (
                "pin = 3\npair = 1",
                f"a.toml:11: sensor[2].pair{OF}: 1 will not do; {LIST_PHRASE}",
            ),
            (
                "pin = 3\nnames = ['a',\n'']",
                f'a.toml:12: sensor[2].names[2]{OF}: "" will not do; give some text in "quotation marks"',
            ),
            (
                "pin = 3\neither = false",
                f'a.toml:11: sensor[2].either{OF}: false will not do; give a whole number or give text in "quotation',
            ),
            (
                "pin = 3\nrooms.a.delta = 9",
                f"a.toml:11: sensor[2].rooms{OF}: a table will not do; make it a table, headed [name]",
            ),
            ('pin = 3\nlabel = "A"', f'a.toml:11: sensor[2].label{OF}: "A" will not do; {SITE_CURE}'),
            ("pin = 3\npassword_file = 'x'", f"a.toml:11: sensor[2].password_file{OF}: this value will not do"),
        ],
    )
    def test_errors_of_the_kind_name_the_line(self, keys, line):
        assert refusal(SENSORS.format(keys), Options, HALL, beside=Common).startswith(line)

    def test_a_choice_is_listed(self):
        text = SENSORS.format("").replace('kind = "dht"\n\n', "\n").replace('"dht"', '"ds18b20"', 1)
        assert refusal(text, Common, ("sensor", 0)) == (
            'a.toml:4: sensor[1].kind of "kitchen": "ds18b20" will not do; use one of "dht", "host"'
        )

    def test_a_rule_beyond_types(self):
        error = Document(FILE, SENSORS.format("pin = 4")).error((*HALL, "pin"), "pin 4 is taken", "use another")
        assert str(error) == f"a.toml:10: sensor[2].pin{OF}: pin 4 is taken; use another"
        assert (error.line, error.key, error.problem, error.cure) == (
            10,
            "sensor[2].pin",
            "pin 4 is taken",
            "use another",
        )


def outcome(document):
    """Give the error's line, or None where the document is good."""
    try:
        document().convert(Settings)
    except ConfigError as error:
        return str(error)
    return None


@given(st.text(max_size=60))
def test_any_text_is_settings_or_one_line(text):
    line = outcome(lambda: Document(FILE, text))
    assert line is None or (line.startswith("a.toml") and "\n" not in line and "; " in line)


SECTIONS = ["site", "data_dir", "mqtt", "web", "limits", "history", "other"]
ANY_VALUE = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["port", "address", "enabled", "x"]), inner)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), ANY_VALUE))
def test_any_table_is_settings_or_one_line(table: dict[str, Any]):
    document = Document(FILE, "")
    document.data = json.loads(json.dumps(table))  # as if it had been in the file
    line = outcome(lambda: document)
    assert line is None or (line.startswith("a.toml") and "\n" not in line and "; " in line)


class Tables(msgspec.Struct):
    sensor: list[dict[str, Any]]


def test_a_name_that_is_wrong_itself_tells_of_no_owner():
    document = Document(FILE, SENSORS.format("pin = 4"))
    assert document.error((*HALL, "name"), "is taken", "use another").where == "sensor[2].name"
    assert Document(FILE, "[[sensor]]\nname = 7\npin = 4\n").error(("sensor", 0, "pin"), "x", "y").owner == ""


def test_one_table_where_a_list_belongs_is_headed_anew():
    assert refusal('[sensor]\nname = "air"\n', Tables).endswith("sensor: a table will not do; head it [[sensor]]")
