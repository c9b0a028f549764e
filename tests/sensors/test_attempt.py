import queue
import socket
import threading
from contextlib import contextmanager

import pytest
from mosquitto_peer import free_port

from sensors.attempt import Attempt
from sensors.discovery import DiscoveryError, Found
from sensors.endpoint import Endpoint


def ended(look=None, **fields):
    """An attempt, once its thread is done with it."""
    ends = queue.Queue()
    end = Endpoint(client_id="sensors-home-house", will_topic="t", will_payload=b"offline", site="home", **fields)
    attempt = Attempt(end, look or (lambda *_: []), lambda: ends.put(attempt.done))
    attempt.start()
    assert ends.get(timeout=10)
    return attempt


@contextmanager
def server():
    """Takes one connection and reads what is said first."""
    heard = []

    def serve(listener):
        with listener.accept()[0] as link:
            heard.append(link.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1], heard, thread
        thread.join(10)


def let_go(attempt):
    attempt.client.socket().close()


def test_the_first_place_that_answers_is_taken():
    with server() as (port, heard, thread):
        found = [Found("gone.local", free_port(), ("127.0.0.1",)), Found("hub.local", port, ("127.0.0.1",))]
        attempt = ended(lambda *_: found, anyone=True)
        assert (str(attempt.place), attempt.why) == (f"hub.local (127.0.0.1:{port}, found by mDNS)", "")
        thread.join(10)
        let_go(attempt)
    assert b"sensors-home-house" in heard[0]


def test_a_paired_agent_tries_first_where_its_hub_was():
    def nobody_looks(_service, _site):
        raise AssertionError

    with server() as (port, _, thread):
        attempt = ended(nobody_looks, anyone=True, known="127.0.0.1", port=port, name="hub.local")
        assert (str(attempt.place), attempt.place.name, attempt.why) == (f"127.0.0.1:{port}", "hub.local", "")
        thread.join(10)
        let_go(attempt)


def test_a_hub_that_has_moved_is_found_and_must_have_the_same_name():
    with server() as (port, _, thread):
        found = [Found("raspberrypi.local", port, ("127.0.0.1",))]
        attempt = ended(lambda *_: found, anyone=True, known="127.0.0.1", port=free_port(), name="hub.local")
        assert (attempt.place.port, attempt.place.name, attempt.why) == (port, "hub.local", "")
        thread.join(10)
        let_go(attempt)


def test_a_hub_that_is_nowhere_is_told_with_the_cure():
    def no_network(_service, _site):
        raise DiscoveryError("no network")

    for look in (no_network, lambda *_: []):
        port = free_port()
        attempt = ended(look, anyone=True, known="127.0.0.1", port=port, name="hub.local")
        words = f"nothing listens on 127.0.0.1:{port}; is the hub running? If it moved, pair anew: `sensors pair`"
        assert attempt.why == words


def test_where_nobody_answers_it_says_why():
    port = free_port()
    attempt = ended(host="127.0.0.1", port=port)
    assert attempt.client is None
    assert f"nothing listens on 127.0.0.1:{port}" in attempt.why


def broken(*_):
    raise DiscoveryError("looking for brokers by mDNS failed: no network")


def test_where_nobody_can_look_this_computer_is_tried():
    with server() as (port, _, _):
        attempt = ended(broken, anyone=True, port=port)
        assert attempt.client is not None
        let_go(attempt)
    assert "no network; " in ended(broken, anyone=True, port=free_port()).why


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyError("addresses"), MemoryError()])
def test_whatever_a_library_raises_the_attempt_ends(error):
    def look(*_):
        raise error

    attempt = ended(look, anyone=True)
    assert attempt.client is None
    assert f"cannot be reached ({type(error).__name__}: " in attempt.why
