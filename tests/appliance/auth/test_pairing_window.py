"""The hub's side of pairing, without sockets and clock: who gets how far, and when it ends."""

import secrets

import pytest

from appliance import pake
from appliance.auth.pairing_window import (
    MEETING_S,
    MEETINGS,
    TRIES,
    UNWATCHED_S,
    State,
    Window,
    owned_problem,
    topics_problem,
)
from appliance.pake import Grant, Half, Hello, Keys, PakeError, Proof, Refusal, Request, Sealed, TurnedAway, Welcome

GRANT = Grant(username="attic", secret="s", names=("hub.local",), port=8883)
TOPICS = ("home/attic/temperature",)
PEER = "192.168.1.9"
SHOWN = bytes(32)


class Caller:
    """Whoever plays the agent, honestly or not."""

    def __init__(self, window, code, agent="attic", site="home", version=pake.VERSION):
        self.window, self.half = window, Half("agent", code)
        self.said = pake.encoded(Hello(version=version, site=site, agent=agent, element=self.half.element))
        self.exchange, self.keys = b"", None

    def hello(self, now=1.0):
        meeting = self.window.hello(self.said, PEER, now)
        try:
            answer = meeting.answer()
        finally:
            self.window.answered(meeting)
        welcome = pake.decoded(answer, Welcome)
        self.exchange = welcome.exchange
        self.keys = self.half.keys(welcome.element, self.said, answer)
        return self

    def proof(self):
        return pake.encoded(Proof(exchange=self.exchange, proof=self.keys.of_agent))

    def prove(self, now=1.0):
        return pake.decoded(self.window.prove(self.proof(), now), Proof).proof

    def sealed(self, topics=TOPICS):
        return pake.encoded(
            Sealed(exchange=self.exchange, sealed=self.keys.seal("hub", Request(topics=topics, certificate=SHOWN)))
        )


@pytest.fixture
def window():
    return Window(site="home", hub="hub", now=0.0, length_s=300.0)


def wrong(code):
    return code[1:] + code[:1] if len(set(code)) > 1 else "ACDEFGHJ"


def turned(status, words, call, *arguments):
    with pytest.raises(TurnedAway, match=words) as why:
        call(*arguments)
    assert why.value.status == status


def test_an_agent_with_the_code_gets_what_the_hub_grants(window):
    caller = Caller(window, window.code).hello()
    assert caller.prove() == caller.keys.of_hub
    meeting, request = window.ask(caller.sealed(), 1.0)
    assert (meeting.agent, meeting.site, request.topics) == ("attic", "home", TOPICS)
    answer = pake.decoded(window.told(meeting, GRANT, request), Sealed)
    assert caller.keys.unseal("agent", answer.sealed, Grant | Refusal) == GRANT
    assert window.state is State.PAIRED
    assert not window.is_open(1.0)
    assert window.code == ""
    assert window.notes == [
        "attic came from 192.168.1.9",
        "attic from 192.168.1.9 had the code",
        "attic may publish home/attic/temperature and home/devices/attic/#",
    ]


def test_a_refused_agent_leaves_the_window_open(window):
    caller = Caller(window, window.code).hello()
    caller.prove()
    meeting, request = window.ask(caller.sealed(), 1.0)
    window.told(meeting, Refusal(reason="home/attic/x belongs to loft"), request)
    assert window.is_open(1.0)
    assert window.notes[-1] == "attic from 192.168.1.9 had the code, but home/attic/x belongs to loft"
    Caller(window, window.code).hello().prove()


def test_five_wrong_codes_end_it(window):
    code = window.code
    for left in range(TRIES - 1, 0, -1):
        turned(403, "try is left" if left == 1 else f"{left} tries are left", Caller(window, wrong(code)).hello().prove)
        assert window.tries_left == left
    turned(403, "was the last try", Caller(window, wrong(code)).hello().prove)
    assert window.state is State.CLOSED
    assert window.notes[-1] == "5 wrong codes: somebody may be guessing; nobody was let in"
    turned(404, "over", Caller(window, code).hello)


def test_a_wrong_proof_cannot_be_corrected(window):
    """Each guess costs a run of its own: what was answered once is over."""
    caller = Caller(window, wrong(window.code)).hello()
    turned(403, "wrong", caller.prove)
    turned(409, "knows nothing", caller.prove)
    assert window.tries_left == TRIES - 1


def test_beginnings_that_go_on_to_nothing_are_counted_too(window):
    for number in range(MEETINGS):
        Caller(window, window.code).hello(now=1.0)
        window.seen(1.0)
        window._meeting.until = 1.0  # it lapses
        assert window.is_open(1.0), number
    turned(404, "over", Caller(window, "ACDEFGHJ").hello)
    assert "too many came without the code" in window.notes[-1]


def test_elements_that_are_none_are_counted_too(window):
    text = pake.encoded(Hello(version=1, site="home", agent="attic", element=b"A" + bytes(32)))
    for _ in range(MEETINGS):
        meeting = window.hello(text, PEER, 1.0)
        with pytest.raises(PakeError):
            meeting.answer()
        window.answered(meeting)
    assert window.notes[1] == "what attic sent from 192.168.1.9 is not how an agent begins"
    turned(404, "over", window.hello, text, PEER, 1.0)
    assert window.tries_left == TRIES


def test_the_time_ends_it(window):
    for now in range(10, 300, 10):
        window.seen(float(now))
    assert window.is_open(299.9)
    assert not window.is_open(300.0)
    assert window.notes == ["the time is over; nobody came who had the code"]
    turned(404, "over", Caller(window, "ACDEFGHJ").hello, 300.0)
    assert window.state is State.CLOSED


def test_nobody_looking_ends_it(window):
    assert window.is_open(UNWATCHED_S - 0.1)
    assert not window.is_open(UNWATCHED_S)
    assert window.notes == ["nobody looks at the code any more"]


def test_whoever_has_shown_the_code_may_end_what_it_began():
    window = Window(site="home", hub="hub", now=0.0, length_s=1.5)
    caller = Caller(window, window.code).hello()
    caller.prove(1.4)
    meeting, request = window.ask(caller.sealed(), 1.6)
    assert window.is_open(1.6)
    window.told(meeting, GRANT, request)
    assert window.state is State.PAIRED


def test_a_second_run_at_the_same_time_is_turned_away(window):
    first = Caller(window, window.code).hello()
    second = Caller(window, window.code)
    turned(409, "another agent", second.hello)
    first.prove()
    turned(409, "another agent", second.hello)
    window.ask(first.sealed(), 1.0)
    turned(409, "another agent", second.hello)
    assert window.tries_left == TRIES


def test_one_that_is_still_being_worked_on_is_not_thrown_out(window):
    window.hello(Caller(window, window.code).said, PEER, 1.0)  # its thread has not ended
    window.seen(10.0)
    window.seen(20.0)
    window.seen(30.0)
    turned(409, "another agent", Caller(window, window.code).hello, 1.0 + 2 * MEETING_S - 20)


def test_one_that_goes_silent_makes_room(window):
    first = Caller(window, window.code).hello(now=0.0)
    window.seen(10.0)
    second = Caller(window, window.code).hello(now=MEETING_S)
    assert "attic from 192.168.1.9 went silent" in window.notes
    turned(409, "knows nothing", first.prove, MEETING_S)
    second.prove(MEETING_S)


def test_nothing_is_told_before_the_code_was_shown(window):
    caller = Caller(window, window.code).hello()
    turned(409, "not shown the code", window.ask, caller.sealed(), 1.0)
    assert window.tries_left == TRIES


def test_what_was_recorded_of_one_run_is_worth_nothing_in_another(window):
    first = Caller(window, window.code).hello()
    proof, sealed = first.proof(), first.sealed()
    window._meeting.until = 1.0
    second = Caller(window, window.code)
    second.said = first.said  # the recorded beginning, word by word
    second.hello_again = window.hello(first.said, PEER, 1.0)
    second.hello_again.answer()
    window.answered(second.hello_again)
    turned(409, "knows nothing", window.prove, proof, 1.0)
    renamed = pake.encoded(Proof(exchange=second.hello_again.exchange, proof=pake.decoded(proof, Proof).proof))
    turned(403, "wrong", window.prove, renamed, 1.0)
    turned(409, "knows nothing", window.ask, sealed, 1.0)


def test_a_proof_said_twice_is_turned_away(window):
    caller = Caller(window, window.code).hello()
    caller.prove()
    turned(409, "said already", window.prove, caller.proof(), 1.0)


def test_an_agent_asks_once(window):
    caller = Caller(window, window.code).hello()
    caller.prove()
    window.ask(caller.sealed(), 1.0)
    turned(409, "knows nothing", window.ask, caller.sealed(), 1.0)


def test_the_hubs_own_proof_sent_back_is_a_wrong_code(window):
    caller = Caller(window, window.code).hello()
    reflected = pake.encoded(Proof(exchange=caller.exchange, proof=caller.keys.of_hub))
    turned(403, "wrong", window.prove, reflected, 1.0)


def test_what_was_altered_ends_the_run(window):
    caller = Caller(window, window.code).hello()
    caller.prove()
    altered = pake.encoded(Sealed(exchange=caller.exchange, sealed=secrets.token_bytes(80)))
    turned(400, "altered on the way", window.ask, altered, 1.0)
    turned(409, "knows nothing", window.ask, caller.sealed(), 1.0)
    assert window.is_open(1.0)
    assert window.notes[-1] == "what attic asked from 192.168.1.9 was altered on the way"


@pytest.mark.parametrize("change", ["site", "agent"])
def test_whoever_changes_the_name_on_the_way_makes_the_code_wrong(window, change):
    caller = Caller(window, window.code)
    honest = caller.said
    changed = Caller(window, window.code, **{change: "cellar"}).said
    other = pake.decoded(honest, Hello)
    caller.said = pake.encoded(
        Hello(version=1, site=pake.decoded(changed, Hello).site, agent=pake.decoded(changed, Hello).agent,
              element=other.element)
    )  # fmt: skip
    meeting = window.hello(caller.said, PEER, 1.0)
    answer = meeting.answer()
    window.answered(meeting)
    welcome = pake.decoded(answer, Welcome)
    caller.exchange = welcome.exchange
    caller.keys = caller.half.keys(welcome.element, honest, answer)  # what the agent knows to have said
    turned(403, "wrong", caller.prove)


def test_another_version_is_told_what_to_do(window):
    turned(400, "update the older", Caller(window, window.code, version=2).hello)
    assert window.is_open(1.0)


@pytest.mark.parametrize("call", ["hello", "prove", "ask"])
@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 2_000])
def test_garbage_is_turned_away_and_costs_nothing(window, call, body):
    arguments = (body, PEER, 1.0) if call == "hello" else (body, 1.0)
    turned(400, "no message of pairing", getattr(window, call), *arguments)
    assert (window.tries_left, window.notes) == (TRIES, [])


def test_a_window_that_failed_to_write_says_so(window):
    caller = Caller(window, window.code).hello()
    caller.prove()
    meeting, _ = window.ask(caller.sealed(), 1.0)
    window.failed(meeting)
    assert "could not be made" in window.notes[-1]
    Caller(window, window.code).hello()


def test_a_closed_window_stays_as_it_ended(window):
    window.close("closed on the hub; nobody was let in")
    window.close("again")
    assert window.notes == ["closed on the hub; nobody was let in"]
    window.seen(1.0)
    assert not window.is_open(1.0)


def test_keys_are_not_shown(window):
    caller = Caller(window, window.code).hello()
    assert caller.keys.of_agent.hex() not in repr(caller.keys)
    assert isinstance(caller.keys, Keys)


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("home/attic/temperature", ""),
        ("home/attic/north/temperature", ""),
        ("school/attic/temperature", "not of site home"),
        ("home/attic", "no topic of a reading"),
        ("home/a/b/c/d", "no topic of a reading"),
        ("home/attic/#", "no topic of a reading"),
        ("home/+/temperature", "no topic of a reading"),
        ("home/attic/relay/set", "no topic of a reading"),
        ("home/devices/loft/about", "no topic of a reading"),
        ("home/attic/", "no topic of a reading"),
        ("home/attic/x\n", "no topic of a reading"),
        (f"home/attic/{'x' * 65}", "no topic of a reading"),
        ("$SYS/broker/x", "not of site home"),
        ("homeassistant/sensor/x", "not of site home"),
        ("", "not of site home"),
    ],
)
def test_only_topics_of_readings_are_granted(topic, words):
    assert words in topics_problem(["home/attic/humidity", topic], "home")
    assert bool(topics_problem([topic], "home")) is bool(words)


def test_what_belongs_to_another_device_is_named():
    others = {"loft": ("home/loft/temperature", "home/attic/temperature"), "esp": ("home/kitchen/#",)}
    assert owned_problem(["home/cellar/temperature"], others) == ""
    assert "home/attic/temperature belongs to the device loft" in owned_problem(["home/attic/temperature"], others)
    assert "belongs to the device esp" in owned_problem(["home/kitchen/temperature"], others)


def test_nor_can_json_write_readings_of_another_device():
    others = {"kitchen": ("home/kitchen/fridge/temperature", "home/attic/lamp")}
    for topic in ("home/kitchen/fridge", "home/attic/lamp/power"):
        problem = owned_problem([topic], others)
        assert problem.startswith(f"{topic} and home/")
        assert ", of the device kitchen, lie one below the other; give the sensor another room or label" in problem
    assert owned_problem(["home/kitchen/fridge/humidity", "home/kitchen/fridg", "home/attic/lamps"], others) == ""
