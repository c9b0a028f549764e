"""Every setting is documented, bounded and usable as it comes."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from appliance.settings import (
    Accounts,
    History,
    Limits,
    Listener,
    Mdns,
    Mqtt,
    Rule,
    Rules,
    Settings,
    Store,
    Web,
    described,
)

ALL = list(described(Settings))


def test_the_defaults_keep_their_own_rules():
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()


def test_every_setting_of_every_section_is_described():
    names = {(setting.section, setting.name) for setting in ALL}
    expected = {("", "site"), ("", "data_dir")}
    sections = {
        "mqtt": Mqtt,
        "web": Web,
        "listener": Listener,
        "accounts": Accounts,
        "limits": Limits,
        "history": History,
        "store": Store,
        "mdns": Mdns,
    }
    for section, struct in sections.items():
        expected |= {(section, name) for name in struct.__struct_fields__}
    assert names == expected


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: f"{setting.section}.{setting.name}")
def test_help_is_a_sentence(setting):
    assert setting.help[0].isupper()
    assert setting.help.endswith(".")
    assert "\n" not in setting.help
    assert "|" not in setting.help  # it stands in a table of the README


@pytest.mark.parametrize("section", [Mqtt, Web, Listener, Limits, History, Accounts, Settings])
def test_every_number_has_a_range(section):
    properties = msgspec.json.schema(section)["$defs"][section.__name__]["properties"]
    for name, schema in properties.items():
        if schema.get("type") in {"integer", "number"}:
            assert {"minimum", "maximum"} <= set(schema), name


@pytest.mark.parametrize(
    ("site", "good"),
    [
        ("home", True),
        ("my-home_2", True),
        ("devices", False),
        ("devices2", True),
        ("homeassistant", False),
        ("hub", False),
        ("", False),
        ("Home", False),
        ("a/b", False),
        ("+", False),
        ("home\n", False),
        ("hub\n", False),
        ("höhle", False),
        ("a" * 65, False),
    ],
)
def test_site_is_one_level_of_ours(site, good):
    if good:
        assert msgspec.convert({"site": site}, Settings).site == site
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"site": site}, Settings)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("127.0.0.1", True),
        ("127.0.0.53", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("127.0.0.1.example.org", False),
        ("127.0.0.1\n", False),
        ("1127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("section", [Mqtt, Web])
def test_only_this_computer_is_served(section, address, good):
    if good:
        assert msgspec.convert({"address": address}, section).address == address
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"address": address}, section)


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({}, True),
        ({"address": "0.0.0.0", "port": 8883}, True),
        ({"address": "fe80::1%eth0"}, True),
        ({"address": "hub.local"}, False),
        ({"address": "::1\n"}, False),
        ({"serve": "coap"}, False),
        ({"names": ("hub.lan", "hub", "192.168.1.5")}, True),
        ({"names": ["https://hub.lan"]}, False),
        ({"names": ["Hub.lan"]}, False),
        ({"port": 0}, False),
        ({"port": 65_536}, False),
        ({"path": "a\0b"}, False),
        ({"plain": 1}, False),
    ],
)
def test_listeners_are_a_list(fields, good):
    if good:
        assert msgspec.convert({"listener": [fields]}, Settings).listener == (Listener(**fields),)
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"listener": [fields]}, Settings)


@pytest.mark.parametrize(("serve", "certificate", "port"), [
    ("mqtt", "", 1883), ("mqtt", "c.pem", 8883), ("web", "", 8080), ("web", "c.pem", 8443),
])  # fmt: skip
def test_usual_ports(serve, certificate, port):
    assert Listener(serve=serve, certificate=certificate).port_or_usual() == port
    assert Listener(serve=serve, certificate=certificate, port=9).port_or_usual() == 9


def test_settings_without_a_description_are_refused():
    class Bare(msgspec.Struct):
        port: int = 1

    with pytest.raises(ValueError, match=r"Bare\.port has no description"):
        list(described(Bare))


def test_sections_follow_the_keys_of_their_table():
    class Inner(msgspec.Struct, frozen=True):
        deep: Annotated[int, Meta(description="Deep.")] = 1

    class Outer(msgspec.Struct, frozen=True):
        inner: Annotated[Inner, Meta(description="A section.")] = Inner()
        names: Annotated[tuple[str, ...], Meta(description="Names.")] = ()
        needed: Annotated[int | None, Meta(description="Needed.")] = None
        many: Annotated[tuple[Inner, ...], Meta(description="Headed [[many]].")] = ()

    assert [(s.section, s.name, s.default) for s in described(Outer, "x")] == [
        ("x", "names", ()),
        ("x", "needed", None),
        ("x.inner", "deep", 1),
        ("x.many", "deep", 1),
    ]


def test_a_path_the_system_cannot_have_is_refused(tmp_path):
    from appliance.config import ConfigError, load

    path = tmp_path / "appliance.toml"
    path.write_text('data_dir = "a\\u0000b"\n')
    with pytest.raises(ConfigError, match=r"U\+0000"):
        load(path, Settings)


@pytest.mark.parametrize("setting", list(described(Rule)), ids=lambda setting: setting.name)
def test_the_help_of_a_rule_is_a_sentence(setting):
    test_help_is_a_sentence(setting)


def test_a_file_without_rules_is_a_file_of_rules():
    assert msgspec.convert({}, Rules) == Rules(rule=[])
