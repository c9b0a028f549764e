"""What an inventory says of listeners decides ports, names, the health check, and where agents come in."""

import re

import pytest
from playbook_filters import PLUGINS, filters_of

from appliance.listeners import DEFAULT
from appliance.settings import USUAL_PORTS, HostName

FILTERS = filters_of("listeners")
listening, agents_listener, probed_listener, named = (
    FILTERS[name] for name in ("listening", "agents_listener", "probed_listener", "named")
)
OURS = "/var/lib/appliance/tls/server.pem"
MQTT = {"serve": "mqtt", "address": "::", "certificate": OURS}
PAGE = {"serve": "web", "address": "::", "certificate": OURS}
PLAIN = {"address": "192.168.1.5", "plain": True}
FILE = {"path": "/run/appliance/mqtt.sock"}
ASKING = {**MQTT, "port": 8884, "client_ca": "/etc/ssl/ca.pem", "require_client_certificate": True}


@pytest.mark.parametrize(("serve", "is_encrypted"), USUAL_PORTS)
def test_a_listener_has_the_ports_and_the_address_that_the_program_gives_it(serve, is_encrypted):
    (found,) = listening([{"serve": serve, **({"certificate": OURS} if is_encrypted else {})}])
    assert found["port"] == USUAL_PORTS[serve, is_encrypted]
    assert (found["address"], found["is_own"]) == (DEFAULT.address, True)


def test_a_socket_file_opens_no_port_and_what_is_wrong_is_left_to_the_check():
    assert listening([FILE, "mqtt"]) == []
    assert listening([{"serve": "mtqt"}])[0]["port"] is None


@pytest.mark.parametrize(
    ("listeners", "port"),
    [
        ([MQTT, PAGE], 8883),
        ([PAGE, {**MQTT, "port": 8885}, MQTT], 8885),
        ([FILE, PLAIN, ASKING, MQTT], 8883),
        ([PAGE, ASKING], 8884),
        ([{**MQTT, "address": "127.0.0.1"}, PLAIN, PAGE], None),
        ([], None),
    ],
)
def test_agents_come_by_the_first_listener_of_mqtt_that_is_encrypted(listeners, port):
    assert agents_listener(listeners).get("port") == port


@pytest.mark.parametrize(
    ("listeners", "mqtt", "way"),
    [
        ([MQTT, PAGE], {}, ("localhost", 8883, OURS)),
        ([PAGE, {**MQTT, "address": "192.168.1.5", "port": 8885}], {}, ("192.168.1.5", 8885, OURS)),
        ([PAGE], None, ("localhost", 1883, "")),
        ([PAGE, ASKING], {"port": 1884}, ("localhost", 1884, "")),
        ([], {}, ("localhost", 1883, "")),
        ([PLAIN, PAGE], {"port": 0}, ("192.168.1.5", 1883, "")),
    ],
)
def test_the_health_check_goes_the_way_of_agents_else_that_of_the_computer_itself(listeners, mqtt, way):
    found = probed_listener(listeners, mqtt)
    assert (found["host"], found["port"], found["certificate"]) == way


def test_the_page_has_the_names_of_the_hub_and_that_by_which_agents_reach_it():
    own = {**PAGE, "names": ["hub.lan"]}
    assert named([MQTT, PAGE], ["hub.lan"], "Home-Hub.local") == [
        MQTT,
        {**PAGE, "names": ["hub.lan", "home-hub.local"]},
    ]
    assert named([own], ["home.lan", "hub.lan"], "hub.lan") == [{**PAGE, "names": ["hub.lan", "home.lan"]}]
    once = named([PAGE], ["hub.lan"], "home-hub")
    assert named(once, ["hub.lan"], "home-hub") == once
    assert own["names"] == ["hub.lan"]


@pytest.mark.parametrize("address", ["10.8.0.2", "fd00::2", "home_hub", ""])
def test_what_is_no_name_is_none_of_the_page(address):
    assert named([MQTT, PAGE], [], address) == [MQTT, PAGE]


def test_names_that_are_no_list_are_left_to_the_check():
    assert named([{**PAGE, "names": "hub.lan"}], ["a.lan"], "b.lan") == [{**PAGE, "names": "hub.lan"}]
    assert named([PAGE], "a.lan", "::1") == [{**PAGE, "names": ["a.lan"]}]


def test_a_name_is_what_the_program_takes_for_one():
    (pattern,) = re.findall(r'HOST_NAME = re.compile\(r"(.*)"\)', (PLUGINS / "listeners.py").read_text())
    (meta,) = HostName.__metadata__
    assert meta.pattern == rf"^{pattern}(?!\n)$"
