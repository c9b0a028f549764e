"""Pairing between real parts over real TLS, and what somebody in between gets of it: neither code nor secret.

Each attack has a planted counterpart, a way of pairing that would be broken by it, so that the test would notice.
"""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest
from authority import Authority
from middle import Middle
from pairs import TOPICS, PairingHub, in_thread

from appliance import pact
from appliance.auth.passwords import is_right
from appliance.pact import Half, Hello, Keys, PactError, Proof, Request, Sealed, Welcome, typed
from sensors import credential
from sensors.config import config_of
from sensors.introduction import Hub, Line, WrongCode, introduce
from sensors.pairing import PairingError, Visit

SHOWN = bytes(32)
SENSORS = """\
agent = "attic"
data_dir = "{folder}"

[[sensor]]
name = "air"
room = "attic"
kind = "sht4x"
"""


@pytest.fixture
def hub(tmp_path):
    return PairingHub(tmp_path / "hub")


@pytest.fixture
def agent(tmp_path):
    return config_of(SENSORS.format(folder=tmp_path / "agent"), tmp_path / "sensors.toml")


@pytest.fixture
def stranger(tmp_path):
    return Authority(tmp_path / "stranger")


def at(port):
    return Hub(("127.0.0.1",), port, "127.0.0.1")


def in_plain(text, heard):
    """Whether a listener can read it, also as it stands in JSON or in base 64 at any place, or its plain digest."""
    raw = text.encode()
    forms = [raw, raw.replace(b"-", b""), json.dumps(text)[1:-1].encode(), raw.hex().encode()]
    forms += [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    forms += [hashlib.sha256(raw.replace(b"-", b"")).digest(), hashlib.sha256(raw).hexdigest().encode()]
    decoded = b"\n".join(_decoded(value) for part in heard.split(b"\n") for value in _values(part))
    return any(form in source for form in forms for source in (heard, decoded))


def _values(part):
    try:
        return [value for value in json.loads(part).values() if isinstance(value, str)]
    except (ValueError, AttributeError):
        return []


def _decoded(value):
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return b""


def cracked(recorded, codes):
    """Find the code with what was recorded of one run, trying each: a dictionary, off line.

    For each the attacker does all that either side does with a code, and compares with the proofs that were sent.
    """
    said = {path: (request, answer) for path, request, answer in recorded}
    hello, welcome = said[pact.HELLO]
    proofs = {pact.decoded(text, Proof).proof for text in said[pact.PROVE] if b"proof" in text}
    elements = {"agent": pact.decoded(welcome, Welcome).element, "hub": pact.decoded(hello, Hello).element}
    for code in codes:
        for side, element in elements.items():
            try:
                keys = pact.Half(side, code).keys(element, hello, welcome)
            except PactError:
                continue
            if proofs & {keys.of_agent, keys.of_hub}:
                return code
    return None


class Told(Half):
    """Planted: the code is sent, for the hub to compare."""

    def __init__(self, side, code):
        self.element = (b"A" if side == "agent" else b"B") + code.encode().ljust(32, b"\0")

    def keys(self, element, *said):
        return Keys.of(element[1:], said)


class Digest(Half):
    """Planted: both prove that they know the code by a digest of it and of what was said, as challenge and response."""

    def __init__(self, side, code):
        super().__init__(side, code)
        self.code = code.encode()

    def keys(self, _element, *said):
        return Keys.of(hmac.digest(self.code, b"".join(said), "sha256"), said)


def test_who_relays_everything_is_found_out_and_learns_nothing(hub, agent, stranger, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served, Middle(stranger, served.door).listening() as middle:
            key, code = await hub.opened()
            with pytest.raises(PairingError, match="the hub refuses: somebody stands between"):
                await in_thread(introduce, agent, at(middle.port), typed(code))
            return middle, code, hub.pairing.told(key, 0)

    middle, code, told = asyncio.run(scenario())
    assert [path for path, _, _ in middle.recorded] == [pact.HELLO, pact.PROVE, pact.ASK]
    assert "attic from 127.0.0.1 had the code, but somebody stands between" in told["notes"][-1]
    assert (told["state"], told["tries_left"]) == ("open", 5)  # the code is as good as before
    assert set(hub.accounts()) == {"admin"}
    assert not agent.credential_path.exists()
    assert not agent.ca_path.exists()
    _nothing_heard(middle, code)


def _nothing_heard(middle, code):
    heard = middle.heard()
    assert not in_plain(code, heard)
    for topic in TOPICS:
        assert not in_plain(topic, heard)
    assert b"BEGIN CERTIFICATE" not in heard
    assert cracked(middle.recorded, [pact.new_code(), typed(code)]) is None  # though the code is in the dictionary


def test_who_has_the_hubs_own_key_learns_nothing_either(hub, agent, stranger, tmp_path):
    """The planted counterpart: nothing but the certificate that the agent is shown gives away who relays."""

    async def scenario():
        async with hub.serving(tmp_path) as served, Middle(hub.authority, served.door).listening() as middle:
            _, code = await hub.opened()
            kept = await in_thread(introduce, agent, at(middle.port), typed(code))
            return middle, code, kept

    middle, code, kept = asyncio.run(scenario())
    assert [path for path, _, _ in middle.recorded] == [pact.HELLO, pact.PROVE, pact.ASK]
    _nothing_heard(middle, code)
    assert not in_plain(kept.secret, middle.heard())
    # What it relayed is the hub's own grant: the agent trusts the hub's authority, not whom it spoke with.
    assert agent.ca_path.read_text() == hub.authority.ca.read_text() != stranger.ca.read_text()
    assert is_right(hub.accounts()["attic"].password, kept.secret.encode())


def test_no_other_connection_takes_the_place_of_the_first(hub, stranger, tmp_path):
    """Who lets the agent see the hub's certificate and then cuts it off does not get the rest of what it says."""

    async def scenario():
        async with hub.serving(tmp_path) as served:
            line = await in_thread(Line, at(served.door))
            assert pact.digest(line.certificate) == hub.shown()
            line._connection.close()
            async with Middle(stranger, served.door).listening() as middle:
                line._hub = at(middle.port)
                line._connection.port = middle.port
                with pytest.raises(PairingError, match="broke off"):
                    await in_thread(line.say, pact.HELLO, b"{}")
                return middle.recorded

    assert asyncio.run(scenario()) == []


@pytest.mark.parametrize("planted", [Told, Digest])
def test_a_way_of_pairing_that_tells_the_code_would_be_noticed(hub, agent, tmp_path, monkeypatch, planted):
    for module in ("appliance.pact", "appliance.auth.pairing", "sensors.pairing"):
        monkeypatch.setattr(f"{module}.Half", planted)

    async def scenario():
        async with hub.serving(tmp_path) as served, Middle(hub.authority, served.door).listening() as middle:
            _, code = await hub.opened()
            await in_thread(introduce, agent, at(middle.port), typed(code))
            return middle, code

    middle, code = asyncio.run(scenario())
    assert in_plain(code, middle.heard()) is (planted is Told)
    tried = [typed(code)] if planted is Told else [pact.new_code(), typed(code), pact.new_code()]
    assert cracked(middle.recorded, tried) == typed(code)


def altered(text, field):
    """The message with one bit of a field changed."""
    told = json.loads(text)
    value = told[field]
    if isinstance(value, int):
        told[field] = value + 1
    elif field in {"site", "agent", "hub"}:
        told[field] = f"{value[:-1]}{'x' if value[-1] != 'x' else 'y'}"
    else:
        raw = bytearray(base64.b64decode(value))
        raw[len(raw) // 2] ^= 1
        told[field] = base64.b64encode(bytes(raw)).decode()
    return json.dumps(told, separators=(",", ":")).encode()


TO_HUB = [(pact.HELLO, field) for field in ("site", "agent", "element", "version")]
TO_HUB += [(path, field) for path, field in ((pact.PROVE, "exchange"), (pact.PROVE, "proof"), (pact.ASK, "sealed"))]
TO_AGENT = [(pact.HELLO, field) for field in ("site", "hub", "element", "exchange", "version")]
TO_AGENT += [(pact.PROVE, "proof"), (pact.ASK, "sealed")]


@pytest.mark.parametrize(
    ("way", "where", "field"),
    [("to the hub", *one) for one in TO_HUB] + [("to the agent", *one) for one in TO_AGENT],
)
def test_who_alters_anything_prevents_it_and_gains_nothing(hub, agent, tmp_path, way, where, field):
    def change(path, body):
        return altered(body, field) if path == where else body

    how = {"meddle": change} if way == "to the hub" else {"twist": change}

    async def scenario():
        async with hub.serving(tmp_path) as served, Middle(hub.authority, served.door, **how).listening() as middle:
            key, code = await hub.opened()
            with pytest.raises(PairingError):
                await in_thread(introduce, agent, at(middle.port), typed(code))
            return middle, code, hub.pairing.told(key, 0)

    middle, code, told = asyncio.run(scenario())
    assert not agent.credential_path.exists()
    assert not agent.ca_path.exists()
    assert not in_plain(code, middle.heard())
    is_last_word = (way, where) == ("to the agent", pact.ASK)
    assert told["state"] == ("paired" if is_last_word else "open")  # the hub has said all: its account serves nobody
    assert ("attic" in hub.accounts()) is is_last_word


class Impostor:
    """Plays the hub with a guess of the code."""

    def __init__(self, guess):
        self.guess, self.keys, self.asked = guess, None, None

    def __call__(self, path, body):
        if path == pact.HELLO:
            half = Half("hub", self.guess)
            answer = pact.encoded(Welcome(version=1, site="home", hub="hub", exchange=b"x" * 16, element=half.element))
            self.keys = half.keys(pact.decoded(body, Hello).element, body, answer)
        elif path == pact.PROVE:
            answer = pact.encoded(Proof(exchange=b"x" * 16, proof=self.keys.of_hub))
        else:
            self.asked = pact.decoded(body, Sealed)
            answer = b"{}"
        return 200, answer


def test_who_plays_the_hub_with_guesses_hears_nothing(agent, stranger):
    code = "ACDEFGHJ"

    async def scenario():
        for guess in (pact.new_code() for _ in range(5)):
            impostor = Impostor(guess)
            async with Middle(stranger, 0, impersonate=impostor).listening() as middle:
                with pytest.raises(PairingError, match="does not know the code"):
                    await in_thread(introduce, agent, at(middle.port), code)
                assert [path for path, _, _ in middle.recorded] == [pact.HELLO, pact.PROVE]
                assert impostor.asked is None
                assert not in_plain(code, middle.heard())
                # its one guess was tested, and no other can be
                assert cracked(middle.recorded, [pact.new_code(), code]) is None

    asyncio.run(scenario())
    assert not agent.credential_path.exists()


def test_who_guesses_right_is_believed():
    """The planted counterpart: only the code tells the hub from an impostor."""
    visit = Visit("ACDEFGHJ", site="home", agent="attic", request=Request(topics=TOPICS, certificate=SHOWN))
    impostor = Impostor("ACDEFGHJ")
    proof = visit.proof(impostor(pact.HELLO, visit.hello())[1])
    asked = visit.ask(impostor(pact.PROVE, proof)[1])
    impostor(pact.ASK, asked)
    assert impostor.keys.unseal("hub", impostor.asked.sealed, Request).topics == TOPICS


def test_who_plays_the_agent_with_guesses_is_shut_out_after_five(hub, stranger, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            middle = Middle(stranger, served.door)
            key, code = await hub.opened()
            answers = []
            for _ in range(7):
                visit = Visit(
                    pact.new_code(), site="home", agent="attic", request=Request(topics=TOPICS, certificate=SHOWN)
                )
                status, welcome = await middle.tell(pact.HELLO, visit.hello())
                if status == 200:
                    status, _ = await middle.tell(pact.PROVE, visit.proof(welcome))
                answers.append(status)
            assert answers == [403, 403, 403, 403, 403, 404, 404]
            told = hub.pairing.told(key, 0)
            assert told["state"] == "closed"
            assert told["notes"][-1] == "5 wrong codes: somebody may be guessing; nobody was let in"
            visit = Visit(typed(code), site="home", agent="attic", request=Request(topics=TOPICS, certificate=SHOWN))
            assert (await middle.tell(pact.HELLO, visit.hello()))[0] == 404  # the right one is too late

    asyncio.run(scenario())
    assert set(hub.accounts()) == {"admin"}
    assert hub.reloads == 0


def test_who_goes_between_with_a_guess_towards_each_is_found_out_by_both(hub, agent, stranger, tmp_path):
    """It opens a run with either side under its own guess, and passes on what it can."""
    guess = "ACDEFGHJ"

    async def scenario():
        async with hub.serving(tmp_path) as served:
            key, code = await hub.opened()
            impostor = Impostor(guess)
            async with Middle(stranger, served.door, impersonate=impostor).listening() as middle:
                with pytest.raises(PairingError, match="does not know the code"):
                    await in_thread(introduce, agent, at(middle.port), typed(code))
                (_, _, _), (_, proof, _) = middle.recorded
                visit = Visit(guess, site="home", agent="attic", request=Request(topics=TOPICS, certificate=SHOWN))
                _, welcome = await middle.tell(pact.HELLO, visit.hello())
                visit.proof(welcome)
                exchange = pact.decoded(welcome, Welcome).exchange
                passed_on = Proof(exchange=exchange, proof=pact.decoded(proof, Proof).proof)
                assert (await middle.tell(pact.PROVE, pact.encoded(passed_on)))[0] == 403
            return hub.pairing.told(key, 0)

    assert asyncio.run(scenario())["tries_left"] == 4
    assert not agent.credential_path.exists()
    assert set(hub.accounts()) == {"admin"}


def test_a_recorded_run_said_again_gets_nothing(hub, agent, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served, Middle(hub.authority, served.door).listening() as middle:
            _, code = await hub.opened()
            await in_thread(introduce, agent, at(middle.port), typed(code))
            _, code = await hub.opened()
            recorded = list(middle.recorded)
            answers = [await middle.tell(path, request) for path, request, _ in recorded]
            assert [status for status, _ in answers] == [200, 409, 409]
            return recorded, answers

    recorded, answers = asyncio.run(scenario())
    assert answers[0][1] != recorded[0][2]  # another element, another exchange
    assert credential.read(agent.credential_path).topics == TOPICS


def test_a_wrong_code_can_be_typed_again(hub, agent, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path) as served:
            _, code = await hub.opened()
            other = typed(code)[1:] + typed(code)[:1]
            with pytest.raises(WrongCode, match="the code is wrong; 4 tries are left"):
                await in_thread(introduce, agent, at(served.door), other)
            await in_thread(introduce, agent, at(served.door), typed(code))

    asyncio.run(scenario())
    assert agent.credential_path.exists()
