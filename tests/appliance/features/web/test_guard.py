import asyncio

import pytest

from appliance.features.web.guard import Guard, host_name, is_own, own_names, refusal

NAMES = frozenset({"localhost", "hub", "hub.local"})

HOSTS = [
    ("localhost:8080", "localhost"),
    ("LOCALHOST", "localhost"),
    ("hub.local.", "hub.local"),
    ("127.0.0.1:80", "127.0.0.1"),
    ("[::1]:8080", "::1"),
    ("", None),
    (":80", None),
    ("localhost:port", None),
    ("localhost:99999", None),
    ("user@localhost", None),
    ("localhost/path", None),
    ("localhost?x", None),
    ("localhost#x", None),
    ("local\\host", None),
    ("[::1", None),
]

OWN = [
    ("localhost", True),
    ("hub.local", True),
    ("127.0.0.1", True),
    ("127.8.9.1", True),
    ("::1", True),
    ("192.168.1.5", True),  # the address the request came in on
    ("192.168.1.6", False),
    ("evil.example", False),
    ("localhost.evil.example", False),
    ("2130706433", False),
]

HERE = "http://localhost:8080"

REQUESTS = [  # method, headers, status
    ("GET", {"host": "localhost:8080"}, None),
    ("GET", {"host": "localhost:8080", "origin": "http://evil.example"}, None),  # the browser keeps the answer from it
    ("GET", {}, 400),
    ("GET", {"host": "evil.example"}, 421),  # DNS rebinding
    ("GET", {"host": "user@localhost"}, 400),
    ("POST", {"host": "localhost:8080"}, None),  # a script
    ("POST", {"host": "localhost:8080", "origin": HERE}, None),
    ("POST", {"host": "localhost:8080", "origin": "http://LOCALHOST:8080"}, None),
    ("POST", {"host": "localhost:8080", "origin": "http://localhost:9090"}, 403),
    ("POST", {"host": "localhost:8080", "origin": "https://localhost:8080"}, 403),
    ("POST", {"host": "localhost:8080", "origin": "http://evil.example"}, 403),
    ("POST", {"host": "localhost:8080", "origin": "null"}, 403),
    ("POST", {"host": "localhost:8080", "sec-fetch-site": "cross-site"}, 403),
    ("POST", {"host": "localhost:8080", "sec-fetch-site": "same-origin"}, None),
    ("POST", {"host": "evil.example", "origin": "http://evil.example"}, 421),
    ("WEBSOCKET", {"host": "localhost:8080", "origin": HERE}, None),
    ("WEBSOCKET", {"host": "localhost:8080", "origin": "http://evil.example"}, 403),
    ("WEBSOCKET", {"host": "evil.example"}, 421),
]


@pytest.mark.parametrize(("host", "name"), HOSTS)
def test_host_name(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize(("name", "own"), OWN)
def test_is_own(name, own):
    assert is_own(name, NAMES, "192.168.1.5") is own
    assert is_own(name, NAMES, "::ffff:192.168.1.5") is own


@pytest.mark.parametrize(("method", "headers", "status"), REQUESTS)
def test_refusal(method, headers, status):
    refused = refusal(method=method, scheme="http", headers=headers, names=NAMES, address="127.0.0.1")
    assert (refused[0] if refused else None) == status


def test_localhost_is_always_a_name_of_ours():
    assert "localhost" in own_names()
    assert "" not in own_names()


@pytest.mark.parametrize("asked", ["attic", "attic.local", "attic-1a2b.local", "hub.lan"])
def test_a_computer_that_is_renamed_answers_to_what_it_is_called_now(asked, monkeypatch):
    """Also as it is announced where another computer is called the same."""
    heard = []

    async def app(scope, *_):
        heard.append(scope["headers"])

    guarded = Guard(app, frozenset({"hub.lan"}))
    monkeypatch.setattr("socket.gethostname", lambda: "attic")
    monkeypatch.setattr("appliance.hostname.mark", lambda: "1a2b")
    scope = {"type": "http", "method": "GET", "scheme": "http", "headers": [(b"host", asked.encode())]}
    asyncio.run(guarded(scope, None, None))
    assert heard == [scope["headers"]]
