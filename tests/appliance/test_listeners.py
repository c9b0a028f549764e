"""Which listeners may be, and what is said of those that may not."""

from pathlib import Path

import pytest

from appliance.listeners import anchored, faults, is_loopback, url, where
from appliance.settings import Accounts, Listener, Mqtt, Settings, Web

LAN = "192.168.1.5"
TLS = {"certificate": "/c.pem"}
ADDRESSES = [
    ("127.0.0.1", True),
    ("127.8.8.8", True),
    ("localhost", True),
    ("::1", True),
    ("::ffff:127.0.0.1", True),
    ("0.0.0.0", False),
    ("::", False),
    (LAN, False),
    ("::ffff:192.168.1.5", False),
    ("fe80::1%eth0", False),
    ("no address", False),
]


@pytest.mark.parametrize(("address", "expected"), ADDRESSES)
def test_loopback(address, expected):
    assert is_loopback(address) is expected


PLACES = [
    ({}, "127.0.0.1:1883", "mqtt://127.0.0.1:1883"),
    ({"address": "::1"}, "[::1]:1883", "mqtt://[::1]:1883"),
    ({"address": LAN, **TLS}, f"{LAN}:8883", f"mqtts://{LAN}:8883"),
    ({"serve": "web"}, "127.0.0.1:8080", "http://127.0.0.1:8080/"),
    ({"serve": "web", **TLS}, "127.0.0.1:8443", "https://127.0.0.1:8443/"),
    ({"serve": "web", "port": 80, **TLS}, "127.0.0.1:80", "https://127.0.0.1:80/"),
    ({"path": "/run/mqtt.sock"}, "/run/mqtt.sock", "mqtt socket /run/mqtt.sock"),
]


@pytest.mark.parametrize(("fields", "place", "address"), PLACES)
def test_where_they_are(fields, place, address):
    assert where(Listener(**fields)) == place
    assert url(Listener(**fields)) == address


ACCOUNTS = Accounts(password_file="/passwords")
NAMED = {"client_ca": "/ca.pem", "require_client_certificate": True, "use_identity_as_username": True}
GOOD = [
    ({"port": 1884}, None),
    ({"port": 1884, "address": "::1"}, None),
    ({"serve": "web", "port": 8081}, None),
    ({"path": "/run/mqtt.sock"}, None),
    ({**TLS}, None),
    ({**TLS, "key": "/k.pem", "client_ca": "/ca.pem", "require_client_certificate": True}, None),
    ({**TLS, **NAMED}, ACCOUNTS),
    ({"address": LAN, **TLS}, ACCOUNTS),
    ({"serve": "web", "names": ("hub.lan",), "port": 9}, None),
    ({"address": "0.0.0.0", "plain": True, "port": 1884}, ACCOUNTS),
    ({"address": "::", "serve": "web", **TLS}, ACCOUNTS),
]


@pytest.mark.parametrize(("fields", "accounts"), GOOD)
def test_what_may_be(fields, accounts):
    settings = Settings(listener=(Listener(**fields),), accounts=accounts or Accounts())
    assert list(faults(settings)) == []


ENCRYPT = "would be served without encryption"
BAD = [
    ({"address": LAN, **TLS}, None, "address", "is beyond this computer"),
    ({"address": "0.0.0.0", "plain": True, "port": 9}, None, "address", "0.0.0.0 is beyond this computer"),
    ({"address": "::", "port": 9}, None, "address", ":: is beyond this computer"),
    ({"address": "::ffff:192.168.1.5", "port": 9}, None, "address", "is beyond this computer"),
    ({"serve": "web", "address": LAN, **TLS}, None, "address", "is beyond this computer"),
    ({"address": LAN}, ACCOUNTS, "address", f"{LAN} {ENCRYPT}"),
    ({"serve": "web", "address": LAN}, ACCOUNTS, "address", f"{LAN} {ENCRYPT}"),
    ({"address": "1.2.3"}, ACCOUNTS, "address", '"1.2.3" is no address'),
    ({"address": LAN, "plain": True, **TLS}, ACCOUNTS, "plain", "a listener with a certificate is encrypted"),
    ({"key": "/k", "port": 9}, None, "key", "only TLS has a use for it"),
    ({"client_ca": "/k", "port": 9}, None, "client_ca", "only TLS has a use for it"),
    ({**TLS, "require_client_certificate": True}, None, "require_client_certificate", "could be checked"),
    ({**TLS, **NAMED, "serve": "web"}, ACCOUNTS, "use_identity_as_username", "the page does not know"),
    ({**TLS, **NAMED}, None, "use_identity_as_username", "there is no account"),
    (
        {**TLS, **NAMED, "require_client_certificate": False},
        ACCOUNTS,
        "use_identity_as_username",
        "without a certificate would be nobody",
    ),
    ({"path": "/x", "use_identity_as_username": True}, None, "use_identity_as_username", "a socket file has no such"),
    ({"path": "/x", "serve": "web"}, None, "path", "a socket file serves mqtt alone"),
    ({"names": ("hub.lan",), "port": 9}, None, "names", "only the page is asked for by name"),
    ({"path": "/x", "plain": True}, None, "plain", "a socket file has no such thing"),
    ({"path": "/x", "port": 9}, None, "port", "a socket file has no such thing"),
    ({"path": "/x", **TLS}, None, "certificate", "a socket file has no such thing"),
    ({"port": 1883}, None, "port", "127.0.0.1:1883 is also that of mqtt.port"),
    ({}, None, "port", "127.0.0.1:1883 is also that of mqtt.port"),
    ({"serve": "web", "port": 8080}, None, "port", "127.0.0.1:8080 is also that of web.port"),
]


@pytest.mark.parametrize(("fields", "accounts", "key", "problem"), BAD)
def test_what_may_not_be(fields, accounts, key, problem):
    settings = Settings(listener=(Listener(**fields),), accounts=accounts or Accounts())
    found = next(faults(settings))
    assert found.key_path == ("listener", 0, key)
    assert problem in found.problem
    assert found.cure


def test_two_listeners_on_one_port():
    one, other = Listener(port=9), Listener(serve="web", port=9)
    (found,) = faults(Settings(listener=(one, other)))
    assert found.key_path == ("listener", 1, "port")
    assert found.problem == "127.0.0.1:9 is also that of listener[1]"


EVERY_MQTT = "includes mqtt.port, which is 127.0.0.1:1883"
TOGETHER = [
    ({"address": "0.0.0.0", "port": 1883}, f"0.0.0.0:1883 {EVERY_MQTT}", "set mqtt.port = 0 or choose another"),
    ({"address": "::", "port": 1883}, f"[::]:1883 {EVERY_MQTT}", "set mqtt.port = 0 or choose another"),
    ({"address": "::ffff:0.0.0.0", "port": 1883}, f"[::ffff:0.0.0.0]:1883 {EVERY_MQTT}", "set mqtt.port = 0"),
    ({"address": "localhost", "port": 1883}, "localhost:1883 is also that of mqtt.port", "set mqtt.port = 0"),
    ({"address": "::ffff:127.0.0.1", "port": 1883}, "is also that of mqtt.port", "set mqtt.port = 0"),
    ({"address": "0.0.0.0", "port": 8080}, "0.0.0.0:8080 includes web.port", "set web.port = 0 or choose another"),
    ({"address": "::1", "port": 9}, "[::1]:9 is included in listener[1], which is [::]:9", "choose another"),
    ({"address": LAN, "port": 9}, f"{LAN}:9 is included in listener[1]", "choose another"),
    ({"address": "0.0.0.0", "port": 9}, "0.0.0.0:9 is included in listener[1]", "choose another"),
    ({"address": "0:0::0", "port": 9}, "[0:0::0]:9 is also that of listener[1]", "choose another"),
    ({"path": "/run/m"}, "/run/m is also that of listener[2]", "choose another"),
    ({"address": "::1", "port": 1883}, None, ""),
    ({"address": "127.0.0.2", "port": 1883}, None, ""),
    ({"address": LAN, "port": 1883}, None, ""),
    ({"address": "0.0.0.0", "port": 10}, f"0.0.0.0:10 includes listener[3], which is {LAN}:10", "choose another"),
    ({"address": "0.0.0.0", "port": 11}, None, ""),
    ({"path": "/run/n"}, None, ""),
]


@pytest.mark.parametrize(("fields", "problem", "cure"), TOGETHER)
def test_what_is_listened_to_once(fields, problem, cure):
    others = (
        Listener(address="::", port=9, plain=True),
        Listener(path="/run/m"),
        Listener(address=LAN, port=10, plain=True),
        Listener(address="::1", port=11),
    )
    last = Listener(**fields, plain="path" not in fields)
    found = list(faults(Settings(listener=(*others, last), accounts=ACCOUNTS)))
    if problem is None:
        assert found == []
    else:
        assert found[0].key_path == ("listener", 4, "path" if "path" in fields else "port")
        assert problem in found[0].problem
        assert found[0].cure.startswith(cure)
        assert len(found) == 1


@pytest.mark.parametrize(
    ("mqtt", "web", "problem"),
    [
        (Mqtt(port=9), Web(port=9), "127.0.0.1:9 is also that of mqtt.port"),
        (Mqtt(port=9, address="localhost"), Web(port=9), "127.0.0.1:9 is also that of mqtt.port"),
        (Mqtt(port=9, address="::1"), Web(port=9), None),
        (Mqtt(port=0), Web(port=0), None),
    ],
)
def test_broker_and_page_on_one_port(mqtt, web, problem):
    found = [(fault.key_path, fault.problem) for fault in faults(Settings(mqtt=mqtt, web=web))]
    assert found == ([(("web", "port"), problem)] if problem else [])


def test_a_port_that_is_off_is_free():
    assert (
        list(faults(Settings(mqtt=Mqtt(port=0), web=Web(port=0), listener=(Listener(), Listener(serve="web"))))) == []
    )


def test_relative_paths_lie_beside_the_configuration():
    before = Listener(certificate="c.pem", key="/k.pem")
    (after,) = anchored(Settings(listener=(before,)), Path("/etc/appliance")).listener
    assert (after.certificate, after.key, after.client_ca) == ("/etc/appliance/c.pem", "/k.pem", "")
