"""What the doctor says of pairing."""

import pytest

from sensors import credential
from sensors.config import config_of
from sensors.credential import Credential
from sensors.discovery import DiscoveryError, Found
from sensors.doctor.pairing import pairing_findings

SENSORS = '[[sensor]]\nname = "air"\nroom = "attic"\nkind = "sht4x"\n'


def configured(tmp_path, more="", *, topics=None):
    text = f'agent = "attic"\ndata_dir = "{tmp_path}"\n{more}\n{SENSORS}'
    config = config_of(text, tmp_path / "sensors.toml")
    if topics is not None:
        got = {"username": "attic", "secret": "s", "address": "hub", "port": 8883, "name": "hub.local"}
        credential.write(config.credential_path, Credential(**got, has_ca=False, topics=topics), config.ca_path, "")
        config = config_of(text, tmp_path / "sensors.toml")
    return config


def hub(_service, site):
    return [Found("hub.local", 8883, ("192.168.1.5",), site), Found("other.local", 8883, ("192.168.1.6",), "")]


def nobody_looks(_service, _site):
    raise AssertionError


def no_network(_service, _site):
    raise DiscoveryError("no network")


def found(config, look=nobody_looks, *, is_let_in=False):
    return [str(one) for one in pairing_findings(config, is_let_in=is_let_in, look=look)]


def test_an_agent_without_an_account_is_told_of_the_hub_of_its_site(tmp_path):
    (told,) = found(configured(tmp_path), hub)
    assert told == (
        "wrong: pairing: this agent has no account yet at the hub of site home, hub.local; "
        "run `appliance pair` there and `sensors pair` here"
    )
    assert found(configured(tmp_path), lambda *_: []) == []
    assert found(configured(tmp_path), no_network) == []


@pytest.mark.parametrize(
    "more", ['[broker]\nhost = "127.0.0.1"', "[broker]\nport = 1", '[broker]\nusername = "a"', "[broker]\ntls = false"]
)
def test_who_says_which_broker_needs_no_advice(tmp_path, more):
    assert found(configured(tmp_path, more)) == []


def test_who_is_let_in_needs_none_either(tmp_path):
    assert found(configured(tmp_path), is_let_in=True) == []


def test_topics_that_came_later_are_named(tmp_path):
    all_of_it = ("home/attic/temperature", "home/attic/humidity")
    assert found(configured(tmp_path, topics=all_of_it)) == []
    (told,) = found(configured(tmp_path, topics=all_of_it[:1]), is_let_in=True)
    assert told == (
        "wrong: pairing: the hub did not grant home/attic/humidity; "
        "pair anew: `appliance pair` there, `sensors pair` here"
    )
