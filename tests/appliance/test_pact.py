"""What both sides of pairing must know alike: the code as people read and type it, and the keys."""

import string
from collections import Counter

import msgspec
import pytest
from spake2 import SPAKE2_A, SPAKE2_B
from spake2.ed25519_basic import (
    Base,
    ElementOfUnknownGroup,
    L,
    NotOnCurve,
    Q,
    decodepoint,
    xform_affine_to_extended,
)

from appliance import pact
from appliance.pact import Half, Hello, PactError, Refusal, Request

CODE, OTHER = "ACDEFGHJ", "ACDEFGHK"
SHOWN = bytes(32)
ORDER_2 = (Q - 1).to_bytes(32, "little")
ZERO = (1).to_bytes(32, "little")


def both(code=CODE, other=CODE, said=(b"hello", b"welcome")):
    """Run both halves; give what each then has."""
    agent, hub = Half("agent", code), Half("hub", other)
    return agent.keys(hub.element, *said), hub.keys(agent.element, *said)


def test_both_have_the_same_keys_if_both_had_the_same_code():
    agent, hub = both()
    assert (agent.of_agent, agent.of_hub) == (hub.of_agent, hub.of_hub)
    assert agent.of_agent != agent.of_hub
    sealed = agent.seal("hub", Request(topics=("home/attic/temperature",), certificate=SHOWN))
    assert hub.unseal("hub", sealed, Request).topics == ("home/attic/temperature",)
    assert b"attic" not in sealed
    back = hub.seal("agent", Refusal(reason="no"))
    assert agent.unseal("agent", back, Refusal).reason == "no"


def test_another_code_gives_other_keys():
    agent, hub = both(CODE, OTHER)
    assert agent.of_agent != hub.of_agent
    assert agent.of_hub != hub.of_hub
    with pytest.raises(PactError, match="altered"):
        hub.unseal("hub", agent.seal("hub", Request(topics=(), certificate=SHOWN)), Request)


@pytest.mark.parametrize("heard", [(b"hello", b"welcomf"), (b"hellowelcome",), (b"hell", b"owelcome"), ()])
def test_whoever_heard_something_else_has_other_keys(heard):
    agent, hub = Half("agent", CODE), Half("hub", CODE)
    ours, theirs = agent.keys(hub.element, b"hello", b"welcome"), hub.keys(agent.element, *heard)
    assert ours.of_agent != theirs.of_agent


def test_two_runs_have_nothing_in_common():
    first, second = both()[0], both()[0]
    assert {first.of_agent, first.of_hub}.isdisjoint({second.of_agent, second.of_hub})


def test_what_goes_one_way_cannot_be_sent_back():
    agent, hub = both()
    with pytest.raises(PactError, match="altered"):
        agent.unseal("agent", agent.seal("hub", Request(topics=(), certificate=SHOWN)), Request)
    with pytest.raises(PactError, match="altered"):
        hub.unseal("hub", hub.seal("agent", Request(topics=(), certificate=SHOWN)), Request)


def test_every_bit_that_is_altered_is_noticed():
    agent, hub = both()
    sealed = agent.seal("hub", Request(topics=("home/attic/x",), certificate=SHOWN))
    for place in range(len(sealed)):
        altered = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(PactError, match="altered"):
            hub.unseal("hub", altered, Request)
    for cut in (b"", sealed[:15], sealed[:-1], sealed + b"\0"):
        with pytest.raises(PactError, match="altered"):
            hub.unseal("hub", cut, Request)


def first(is_wanted):
    """The first y of which it is said; a point where there is one, else None."""
    for y in range(2, 100):
        text = y.to_bytes(32, "little")
        try:
            point = ElementOfUnknownGroup(xform_affine_to_extended(decodepoint(text)))
        except NotOnCurve:
            point = None
        if is_wanted(point):
            return text
    raise AssertionError


BAD = {
    "the point of no order": ZERO,
    "of order two": ORDER_2,
    "of order four": bytes(32),
    "no point": first(lambda point: point is None),
    "all ones": b"\xff" * 32,
    "outside the group": first(lambda point: point is not None and point.scalarmult(L).to_bytes() != ZERO),
}


@pytest.mark.parametrize("side", ["agent", "hub"])
@pytest.mark.parametrize("name", BAD)
def test_an_element_that_is_none_is_refused(side, name):
    half = Half(side, CODE)
    with pytest.raises(PactError, match="holds no element"):
        half.keys((b"B" if side == "agent" else b"A") + BAD[name], b"said")


@pytest.mark.parametrize("side", ["agent", "hub"])
@pytest.mark.parametrize("letter", [b"A", b"B", b"S", b"\0"])
def test_what_is_sent_back_is_refused(side, letter):
    half = Half(side, CODE)
    with pytest.raises(PactError, match="holds no element"):
        half.keys(letter + half.element[1:], b"said")


def test_an_element_tells_nothing_of_the_code():
    """What an eavesdropper has of a run fits every code: for each there is a key that would have come of it.

    X* = xG + wM. For every other w' there is one x' with the same X*, as M is in the group that G generates; so the
    same words are as likely under either code, and no guess of it can be tested against them.
    """
    group = SPAKE2_A(b"").params.group
    agent, hub = Half("agent", CODE), Half("hub", CODE)
    for element in (agent.element, hub.element):
        point = group.bytes_to_element(element[1:])
        assert point.scalarmult(L).to_bytes() == ZERO  # in the group
    for blinding in (SPAKE2_A(b"").params.M, SPAKE2_A(b"").params.N):
        assert blinding.scalarmult(L).to_bytes() == ZERO
        assert blinding.to_bytes() not in {ZERO, Base.to_bytes()}


@pytest.mark.parametrize("code", [CODE, OTHER])
def test_the_same_words_come_of_either_code(code, monkeypatch):
    """By construction: for a recorded element, somebody with the other code can have sent it too.

    With discrete logarithms of M known (here it is made so), the x' of the other code is computed and sends the same.
    """
    half = SPAKE2_A(code.encode(), idA=pact.AGENT, idB=pact.HUB)
    group, secret = half.params.group, 123456789  # log of M, which nobody knows in the real one

    class Known:
        M = Base.scalarmult(secret)
        N = Base.scalarmult(secret + 1)

        def __init__(self):
            self.group = group

    monkeypatch.setattr("spake2.spake2._Params", Known)
    recorded = SPAKE2_A(CODE.encode(), params=Known(), entropy_f=lambda size: b"\1" * size)
    sent = recorded.start()
    w, w_other = group.password_to_scalar(CODE.encode()), group.password_to_scalar(code.encode())
    x_other = (recorded.xy_scalar + secret * (w - w_other)) % L
    again = SPAKE2_A(code.encode(), params=Known(), entropy_f=lambda _: x_other.to_bytes(64, "big"))
    assert again.start() == sent


def test_the_proof_can_only_be_made_with_the_secret_of_one_side():
    """Against a recorded run with proofs, a guess of the code is of no use without x or y."""
    agent, hub = Half("agent", CODE), Half("hub", CODE)
    keys = agent.keys(hub.element, b"said")
    guessed = SPAKE2_B(CODE.encode(), idA=pact.AGENT, idB=pact.HUB)
    guessed.start()  # with another y than the hub had
    shared = guessed.finish(agent.element)
    assert pact.Keys.of(shared, (b"said",)).of_agent != keys.of_agent


def test_codes_are_of_letters_that_cannot_be_mistaken():
    assert len(set(pact.ALPHABET)) == len(pact.ALPHABET) == 24
    assert not set("01OILZ25SB8U") & set(pact.ALPHABET)
    assert set(pact.ALPHABET) <= set(string.ascii_uppercase + string.digits)
    codes = [pact.new_code() for _ in range(500)]
    assert len(set(codes)) == 500
    assert {len(code) for code in codes} == {pact.LETTERS}
    counted = Counter("".join(codes))
    assert set(counted) == set(pact.ALPHABET)  # 4,000 letters leave none of 24 out


@pytest.mark.parametrize("text", ["ACDE-FGHJ", "acde-fghj\n", " A C D E F G H J ", "acdefghj"])
def test_a_code_is_read_as_people_type_it(text):
    assert pact.typed(text) == CODE
    assert pact.shown(CODE) == "ACDE-FGHJ"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "this has 0"), ("ACDE-FGH", "this has 7"), ("ACDE-FGHJK", "this has 9"), ("ACDE-FGH0", "no code has a '0'")],
)
def test_what_cannot_be_a_code_costs_no_try(text, words):
    with pytest.raises(ValueError, match=words):
        pact.typed(text)


GOOD = {"version": 1, "site": "home", "agent": "attic", "element": "QQ" + "A" * 42}


@pytest.mark.parametrize(
    "change",
    [
        {"agent": "a/b"},
        {"agent": "+"},
        {"agent": ""},
        {"agent": "devices"},
        {"agent": "x" * 65},
        {"site": "#"},
        {"element": ""},
        {"element": "QQ"},
        {"element": "A" * 48},
        {"element": 7},
        {"version": 0},
        {"more": 1},
    ],
)
def test_a_message_is_taken_as_it_must_be_or_not_at_all(change):
    assert pact.decoded(msgspec.json.encode(GOOD), Hello).agent == "attic"
    with pytest.raises(PactError, match="is no message of pairing"):
        pact.decoded(msgspec.json.encode({**GOOD, **change}), Hello)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[" * 5_000, b"null", b"{}", b'{"version":1e999}'])
def test_garbage_is_no_message(text):
    with pytest.raises(PactError):
        pact.decoded(text, Hello)


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("localhost", "pi", "pi-3fa9.local", "pi.local", "192.168.1.5"), "pi.local"),  # as a certificate has them
        (("localhost", "hub.lan", "192.168.1.5"), "hub.lan"),
        (("localhost", "127.0.0.1"), "localhost"),
    ],
)
def test_a_hub_is_called_as_it_is_announced_where_nobody_else_is_called_so(names, best):
    assert pact.best_name(names) == best
