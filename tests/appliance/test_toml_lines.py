"""Keys are found on the line where they stand, however the file is laid out."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.toml_lines import key_lines, line_of

FILE = '''\
# the house
site = "home" # comment with [brackets] and = signs
"quoted key" = 'x = 1'

[mqtt]
port = 1883
limits.max = 5
hosts = [
  "a",  # one
  # nothing
  { name = "b", port = 2 },
]
text = """
port = 7
[web]
\\""" """

[[sensor]]
name = "kitchen"
[sensor.filter]
delta = 0.1

[[sensor]]
name = "hall"
filter = { delta = 1, deep = { x = [1, [2, 3]] } }
when = 1979-05-27 07:32:00

[ web . "a.b" ]
"\\u00e9" = true
'raw\\' = \'\'\'
it's ''x''\'\'\'
last = -1e5
'''

PLACES = [
    (("site",), 2),
    (("quoted key",), 3),
    (("mqtt",), 5),
    (("mqtt", "port"), 6),
    (("mqtt", "limits"), 7),
    (("mqtt", "limits", "max"), 7),
    (("mqtt", "hosts"), 8),
    (("mqtt", "hosts", 0), 9),
    (("mqtt", "hosts", 1), 11),
    (("mqtt", "hosts", 1, "port"), 11),
    (("mqtt", "text"), 13),
    (("sensor",), 18),
    (("sensor", 0), 18),
    (("sensor", 0, "name"), 19),
    (("sensor", 0, "filter"), 20),
    (("sensor", 0, "filter", "delta"), 21),
    (("sensor", 1), 23),
    (("sensor", 1, "name"), 24),
    (("sensor", 1, "filter", "deep", "x", 1, 1), 25),
    (("sensor", 1, "when"), 26),
    (("web", "a.b", "é"), 29),
    (("web", "a.b", "raw\\"), 30),
    (("web", "a.b", "last"), 32),
    (("mqtt", "absent"), 5),  # the table it should stand in
    (("sensor", 1, "absent", "x"), 23),
    (("nowhere",), 1),
    ((), 1),
]


@pytest.mark.parametrize(("key_path", "line"), PLACES)
def test_line_of(key_path, line):
    assert line_of(FILE, key_path) == line


@pytest.mark.parametrize(("key_path", "line"), PLACES)
def test_line_ends_of_windows_count_once(key_path, line):
    assert line_of(FILE.replace("\n", "\r\n"), key_path) == line


@pytest.mark.parametrize(
    ("text", "key_path", "line"),
    [
        ("", ("a",), 1),
        ("a = 1", ("a",), 1),
        ("\n\n# only a comment", ("a",), 1),
        ('a = """"x""""" \nb = 1', ("b",), 2),  # up to two quotes inside the closing three
        ("a = ''''x'''''\nb = 1", ("b",), 2),
        ('a = """"""\nb = 1', ("b",), 2),
        ("a = [ ]\nb = {}\nc = [[],\n[]]", ("c", 1), 4),
        ("[a.b]\n[[a.c]]\n[a.c.d]\nx=1\n[[a.c]]\n[a.c.d]\nx=1", ("a", "c", 1, "d", "x"), 7),
    ],
)
def test_odd_layouts(text, key_path, line):
    tomllib.loads(text)
    assert line_of(text, key_path) == line


def test_text_that_is_not_toml_is_refused():
    with pytest.raises(ValueError, match="not TOML"):
        key_lines("= 1")


KEYS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=6)
STRINGS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**60), 2**60), STRINGS, st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def quoted(text):
    escaped = "".join(char if 31 < ord(char) != 127 and char not in '"\\' else f"\\u{ord(char):04x}" for char in text)
    return f'"{escaped}"'


def spelled(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return "[ # ]\n" + ",\n".join(map(spelled, value)) + "\n]"
        case dict():
            return "{" + ", ".join(f"{quoted(key)} = {spelled(item)}" for key, item in value.items()) + "}"
        case _:
            return repr(value)


def paths(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*at, key))


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_key_of_any_file_is_found(table):
    text, lines = "", {}
    for key, value in table.items():
        lines[(key,)] = text.count("\n") + 1
        text += f"{quoted(key)} = {spelled(value)}\n"
    assert tomllib.loads(text) == table
    found = key_lines(text)
    assert {path for path in paths(table) if path} == set(found)
    assert {path: line for path, line in found.items() if len(path) == 1} == lines
