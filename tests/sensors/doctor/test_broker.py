import secrets

import pytest
from accounts import CONFIG, password, write_accounts
from mosquitto_peer import BINARY, Mosquitto
from processes import free_port
from raw import publish
from service import Service

from sensors.doctor.broker import broker_finding
from sensors.endpoint import Endpoint

STATUS = "home/devices/house/availability"


def endpoint(port, **more):
    return Endpoint(
        host="127.0.0.1",
        port=port,
        client_id="sensors-home-house",
        will_topic=STATUS,
        will_payload=b"offline",
        **more,
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service"))
    yield service
    service.close_links()
    service.stop()


def test_a_broker_that_lets_us_in_is_a_note(service):
    found = broker_finding(endpoint(service.port))
    assert (found.level, found.what) == ("note", f"127.0.0.1:{service.port} lets the agent in")


def test_a_hub_of_another_site_is_told_with_the_cure(service):
    found = broker_finding(endpoint(service.port, site="cabin"))
    assert found.level == "wrong"
    assert found.what == (
        f"127.0.0.1:{service.port} is the hub of site home, whose page and history leave out what this agent of site "
        "cabin publishes"
    )
    assert found.cure == 'set site = "home", or broker.host to the hub of cabin'
    assert broker_finding(endpoint(service.port, site="home")).level == "note"


def test_a_running_agent_is_neither_thrown_out_nor_called_offline(service):
    watcher = service.reader(STATUS)
    agent = service.client("sensors-home-house")
    assert broker_finding(endpoint(service.port)).level == "note"
    agent.send(publish(STATUS, b"online"))
    watcher.expect(publish(STATUS, b"online"))  # nothing before it
    service.close_links()


def test_where_nothing_listens_is_told_with_the_cure():
    port = free_port()
    found = broker_finding(endpoint(port))
    assert (found.level, found.what) == ("wrong", f"nothing listens on 127.0.0.1:{port}")
    assert found.cure == "is the broker running, and are broker.host and broker.port right?"


def test_a_rule_that_forbids_the_will_is_told_with_its_topic(tmp_path):
    """The user may connect and publish readings; that it goes away, the broker must not say."""
    write_accounts(tmp_path)
    service = Service(tmp_path, config=CONFIG)
    try:
        found = broker_finding(endpoint(service.port, username="esp-kitchen", password=password("esp-kitchen")))
    finally:
        service.close_links()
        service.stop()
    assert found.level == "wrong"
    assert f"(Not authorized: a will to {STATUS}, where this user may not publish)" in found.what
    assert (
        found.cure
        == f"pair this agent with `sensors pair`, or check broker.username and that this user may publish to {STATUS}"
    )


def test_the_will_of_the_visit_says_what_is_true_anyway(service, monkeypatch):
    wills = []
    monkeypatch.setattr(
        "paho.mqtt.client.Client.will_set", lambda _self, topic, payload, **_: wills.append((topic, payload))
    )
    broker_finding(endpoint(service.port))
    broker_finding(endpoint(service.port), agent_runs=True)
    assert wills == [(STATUS, b"offline"), (STATUS, b"online")]


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_a_refusal_says_its_reason(tmp_path):
    (tmp_path / "nobody").write_text("")
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'nobody'}") as broker:
        found = broker_finding(endpoint(broker.port, username="pi", password=secrets.token_hex(8)))
    assert found.level == "wrong"
    assert "refuses the connection (Not authorized)" in found.what
    assert "broker.username" in found.cure
