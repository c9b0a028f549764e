import socket
import ssl

import pytest

from sensors.discovery import PLAIN, SECURE, DiscoveryError, Found
from sensors.endpoint import Endpoint, Place
from sensors.trust import Trust, TrustError

OURS = Trust(ca_file="ca.pem")
FOUND = [Found("hub.local", 8884, ("192.168.1.5", "fd00::5"), "home"), Found("old.local", 8885, ("192.168.1.6",))]


def endpoint(**more):
    return Endpoint(client_id="c", will_topic="t", will_payload=b"offline", site="home", **more)


def never(*_):
    raise AssertionError("nobody may look")


@pytest.mark.parametrize(
    ("more", "place", "said"),
    [
        ({"host": "hub"}, Place("hub", 1883, "hub"), "hub:1883"),
        ({"host": "hub", "trust": OURS}, Place("hub", 8883, "hub"), "hub:8883 with TLS"),
        ({"host": "::1", "port": 1884}, Place("::1", 1884, "::1"), "[::1]:1884"),
        ({"host": "hub", "anyone": True}, Place("hub", 1883, "hub"), "hub:1883"),
        ({}, Place("127.0.0.1", 1883, "127.0.0.1"), "127.0.0.1:1883"),
        ({"port": 1999}, Place("127.0.0.1", 1999, "127.0.0.1"), "127.0.0.1:1999"),
        ({"trust": Trust()}, Place("127.0.0.1", 8883, "127.0.0.1"), "127.0.0.1:8883 with TLS"),
    ],
)
def test_nobody_is_looked_for_where_nothing_could_be_known_again(more, place, said):
    assert endpoint(**more).places(never) == [place]
    assert str(endpoint(**more)) == said


@pytest.mark.parametrize(
    ("more", "service", "own_port"), [({"trust": OURS}, SECURE, 8883), ({"anyone": True}, PLAIN, 1883)]
)
def test_what_is_found_comes_before_this_computer(more, service, own_port):
    asked = []

    def looking(*about):
        asked.append(about)
        return FOUND

    assert endpoint(**more).places(looking) == [
        Place("192.168.1.5", 8884, "hub.local", found=True),
        Place("fd00::5", 8884, "hub.local", found=True),
        Place("192.168.1.6", 8885, "old.local", found=True),
        Place("127.0.0.1", own_port, "127.0.0.1"),
    ]
    assert asked == [(service, "home")]
    assert str(endpoint(**more)) == f"a broker found by mDNS ({service})"


def test_that_nobody_could_look_is_told():
    def looking(*_):
        raise DiscoveryError("looking failed")

    with pytest.raises(DiscoveryError):
        endpoint(trust=OURS).places(looking)


HUB = Place("192.168.1.5", 8883, "hub.local", found=True)
HERE = Place("127.0.0.1", 8883, "127.0.0.1")


def test_a_place_that_was_found_says_so():
    assert str(HUB) == "hub.local (192.168.1.5:8883, found by mDNS)"
    assert str(Place("::1", 1883, "::1")) == "[::1]:1883"


@pytest.mark.parametrize(
    ("place", "error", "part"),
    [
        (HUB, ConnectionRefusedError(), "nothing listens on hub.local (192.168.1.5:8883, found by mDNS)"),
        (HERE, ConnectionRefusedError(), "no broker for site home is found by mDNS (_secure-mqtt._tcp)"),
        (HUB, socket.gaierror(), "not known here; check broker.host"),
        (HUB, TimeoutError(), "does not answer"),
        (HUB, ConnectionResetError(), "ended the connection while TLS began; check broker.port"),
        (HUB, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not speak TLS"),
        (HUB, OSError(113, "No route to host"), "cannot be reached: No route to host"),
        (HUB, ValueError("bad host"), "cannot be reached: bad host"),
        (HUB, TrustError("ca_file", "is gone", "bring it back"), "broker.ca_file: is gone; bring it back"),
    ],
)
def test_every_failure_names_the_place_and_a_cure(place, error, part):
    said = endpoint(trust=OURS).explained(place, error)
    assert part in said
    assert "\n" not in said


def test_who_was_told_of_no_broker_hears_of_pairing():
    said = endpoint().explained(HERE, ConnectionRefusedError())
    assert said.startswith("nothing listens on 127.0.0.1:8883; is the broker running? ")
    assert "`sensors pair`" in said
    assert "`sensors pair`" not in endpoint(host="127.0.0.1").explained(HERE, ConnectionRefusedError())


def test_what_ends_before_it_answers_may_want_something_else():
    assert "does it want TLS there? Set broker.tls = true" in endpoint(host="hub").ended_early(HERE)
    assert "wants a client certificate" in endpoint(host="hub", trust=OURS).ended_early(HERE)
