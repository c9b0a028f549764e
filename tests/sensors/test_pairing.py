"""The agent's side of pairing, without sockets: what it says to whom."""

import pytest

from appliance import pact
from appliance.pact import Grant, Half, Hello, PactError, Proof, Refusal, Request, Sealed, Welcome
from sensors.pairing import PairingError, Visit, WrongHub, typed

CODE = "ACDEFGHJ"
TOPICS = ("home/attic/temperature",)
SHOWN = bytes(32)
GRANT = Grant(username="attic", secret="s", names=("hub.local",), port=8883, ca="")


class Hub:
    """Whoever plays the hub, honestly or not."""

    def __init__(self, code=CODE, version=pact.VERSION):
        self.half, self.version, self.exchange = Half("hub", code), version, b"x" * 16
        self.keys = None

    def welcome(self, hello, **change):
        read = pact.decoded(hello, Hello)
        said = {"version": self.version, "site": "home", "hub": "attic-hub", "exchange": self.exchange,
                "element": self.half.element, **change}  # fmt: skip
        answer = pact.encoded(Welcome(**said))
        self.keys = self.half.keys(read.element, hello, answer)
        return answer

    def proven(self, proof=None):
        return pact.encoded(Proof(exchange=self.exchange, proof=proof or self.keys.of_hub))

    def sealed(self, answer):
        return pact.encoded(Sealed(exchange=self.exchange, sealed=self.keys.seal("agent", answer)))


@pytest.fixture
def visit():
    return Visit(CODE, site="home", agent="attic", request=Request(topics=TOPICS, certificate=SHOWN))


def test_a_hub_with_the_code_hears_what_the_agent_wants(visit):
    hub = Hub()
    proof = pact.decoded(visit.proof(hub.welcome(visit.hello())), Proof)
    assert proof.proof == hub.keys.of_agent
    assert visit.hub == "attic-hub"
    asked = pact.decoded(visit.ask(hub.proven()), Sealed)
    assert hub.keys.unseal("hub", asked.sealed, Request) == Request(topics=TOPICS, certificate=SHOWN)
    assert visit.grant(hub.sealed(GRANT)) == GRANT


def test_a_hub_without_the_code_hears_nothing(visit):
    hub = Hub("ACDEFGHK")
    visit.proof(hub.welcome(visit.hello()))
    with pytest.raises(WrongHub, match="does not know the code"):
        visit.ask(hub.proven())


@pytest.mark.parametrize("proof", [b"\0" * 32, "the agent's own"])
def test_a_proof_that_is_none_gets_nothing(visit, proof):
    hub = Hub()
    own = pact.decoded(visit.proof(hub.welcome(visit.hello())), Proof).proof
    with pytest.raises(WrongHub):
        visit.ask(hub.proven(proof if isinstance(proof, bytes) else own))


def test_a_welcome_that_was_altered_makes_the_proof_wrong(visit):
    hub = Hub()
    heard = hub.welcome(visit.hello())
    other = pact.decoded(heard, Welcome)
    visit.proof(heard.replace(b"attic-hub", b"other-hub"))
    assert other.hub == "attic-hub"
    with pytest.raises(WrongHub):
        visit.ask(hub.proven())


def test_a_refusal_is_told(visit):
    hub = Hub()
    visit.proof(hub.welcome(visit.hello()))
    visit.ask(hub.proven())
    with pytest.raises(PairingError, match="the hub refuses: home/attic/temperature belongs to loft"):
        visit.grant(hub.sealed(Refusal(reason="home/attic/temperature belongs to loft")))


def test_a_grant_that_was_altered_is_not_believed(visit):
    hub = Hub()
    visit.proof(hub.welcome(visit.hello()))
    asked = visit.ask(hub.proven())
    with pytest.raises(WrongHub, match="altered"):
        visit.grant(asked)  # its own words, sent back
    with pytest.raises(WrongHub, match="altered"):
        visit.grant(pact.encoded(Sealed(exchange=hub.exchange, sealed=b"\0" * 64)))


@pytest.mark.parametrize("letter", [b"A", b"B"])
def test_its_own_element_sent_back_is_refused(visit, letter):
    hello = visit.hello()
    element = letter + pact.decoded(hello, Hello).element[1:]
    answer = Welcome(version=1, site="home", hub="h", exchange=b"x" * 16, element=element)
    with pytest.raises(PairingError, match="holds no element"):
        visit.proof(pact.encoded(answer))


def test_another_version_is_told_what_to_do(visit):
    hub = Hub(version=2)
    with pytest.raises(PairingError, match="update the older"):
        visit.proof(hub.welcome(visit.hello()))


@pytest.mark.parametrize("step", ["proof", "ask", "grant"])
@pytest.mark.parametrize("answer", [b"", b"{}", b"\xff", b"[" * 5_000, b"<html>"])
def test_garbage_is_no_answer(visit, step, answer):
    visit.hello()
    with pytest.raises(PairingError, match="is no message of pairing"):
        getattr(visit, step)(answer)


def test_steps_out_of_turn_are_refused(visit):
    with pytest.raises(PairingError, match="begin again"):
        visit.ask(pact.encoded(Proof(exchange=b"x" * 16, proof=b"\0" * 32)))


def test_what_it_says_first_holds_nothing_but_names_and_an_element(visit):
    hello = pact.decoded(visit.hello(), Hello)
    assert (hello.version, hello.site, hello.agent) == (pact.VERSION, "home", "attic")
    assert CODE.encode() not in visit.hello()


def test_a_code_is_read_before_anybody_is_asked():
    assert typed("acde-fghj\n") == CODE
    with pytest.raises(ValueError, match="this has 3"):
        typed("ACD")


def test_errors_tell_no_code():
    assert CODE not in str(PactError("is no message"))
