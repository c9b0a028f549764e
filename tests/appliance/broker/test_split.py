"""However a CONNECT is cut into pieces, the answer is the same."""

import pytest
from virtual import V5, VirtualServer

WORDS = b"\0\4MQTT"
CONNECTS = {
    "too large, of MQTT 5": (b"\x10\xff\xff\x0a" + WORDS + b"\5\2\0\0", b"\x20\x38\x00\x95"),
    "too large, of MQTT 3.1.1": (b"\x10\xff\xff\x0a" + WORDS + b"\4\2\0\0", b""),
    "too large, of nobody": (b"\x10\xff\xff\x0a\0\4HTTP\5\2\0\0", b""),
    "a length in too many bytes, of MQTT 5": (b"\x10\xff\0" + WORDS + b"\5\2\0\0", b"\x20\x41\x00\x81"),
    "a length past four bytes": (b"\x10\xff\xff\xff\xff\1" + WORDS + b"\5\2\0\0", b""),
    "too short to say what it is, and more behind it": (b"\x10\2\0\4MQTT\5\2\0\0", b""),
}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize(("sent", "answer"), CONNECTS.values(), ids=CONNECTS)
def test_a_bad_connect_is_answered_in_its_dialect_in_any_pieces(sent, answer, size):
    server = VirtualServer()
    client = server.link(V5)
    for start in range(0, len(sent), size):
        if not client.closed:
            client.send(sent[start : start + size])
    assert client.closed
    assert client.received[:4] == answer
