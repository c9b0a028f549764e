"""The core against the reference model: a state machine of hypothesis, and long random walks."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from model.__main__ import main
from model.rules import RULES, random_step, shown
from model.walk import fault, shortest, walk
from model.world import Durable, Flaw, World

from appliance.mqtt.types import Version

STEPS = 10_000

WITHOUT_A_CLIENT = {"stranger", "wait", "stop", "crash"}

MET = {  # what a walk of that length must have come across, or it proves little
    *(f"Publish qos {qos} {how}" for qos in (0, 1, 2) for how in ("live", "retained")),
    *(f"Publish qos {qos} again" for qos in (1, 2)),
    *("PubAck", "PubAck 0x10", "PubAck 0x87", "PubAck 0x99", "PubRec", "PubRec 0x87", "PubRec 0x99"),
    *("PubRel", "PubRel 0x92", "PubComp", "PubComp 0x92", "PingResp", "SubAck", "UnsubAck"),
    *("ConnAck", "ConnAck 0x02", "ConnAck 0x85", "ConnAck 0x97", "ConnAck 0x03"),
    # malformed, broken rules, silence, take-over, no such alias, more than may be in flight, a bad topic
    *(f"Disconnect {reason}" for reason in ("0x81", "0x82", "0x8d", "0x8e", "0x90", "0x93", "0x94")),
    # and every cause to drop a message
    *("expired", "queue full", "slow client", "larger than the client takes", "no room to retain"),
    *("session ended to make room", "publishing to $ topics is the server's", "text that is not UTF-8"),
}


def machine():
    """One rule for each kind of step, with the same arguments as the walks have."""

    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.world = World()

    def a_rule(name):
        arguments = {argument: st.sampled_from(values) for argument, values in RULES[name].items()}
        return rule(**arguments)(lambda self, **chosen: self.world.do(name, chosen))

    return type("Server", (Machine,), {name: a_rule(name) for name in RULES})


def test_state_machine():
    options = settings(
        max_examples=40,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(), settings=options)


def test_ten_thousand_steps_go_everywhere_without_a_divergence():
    met = Counter()
    trace = walk(1, STEPS, met=met)
    assert trace is None, f"{fault(trace)}\n{shown(shortest(trace))}"
    assert set(met) >= MET


def test_a_server_with_a_journal_outlives_crashes():
    met = Counter()
    trace = walk(1, STEPS // 2, flaw=Durable(), met=met)
    assert trace is None, f"{fault(trace, Durable())}\n{shown(shortest(trace, Durable()))}"
    assert met["crash"] > 50
    assert set(met) >= {"Publish qos 1 again", "Publish qos 2 again", "PubRel", "ConnAck"}


@pytest.mark.soak
def test_a_million_steps_with_crashes(capsys):
    assert main(["--steps", "1000000", "--quiet", "--crashes"]) == 0
    assert capsys.readouterr().out == "seed 1: 1,000,000 steps, no divergence\n"


@pytest.mark.soak
def test_a_million_steps(capsys):
    assert main(["--steps", "1000000", "--quiet"]) == 0
    assert capsys.readouterr().out == "seed 1: 1,000,000 steps, no divergence\n"


class Deaf(Flaw):
    """A server that hears no PINGREQ."""

    def outgoing(self, packets):
        return [(packet, size) for packet, size in packets if type(packet).__name__ != "PingResp"]


def test_a_divergence_is_told_with_the_shortest_trace_that_runs_again(capsys):
    assert main(["--steps", "2000", "--quiet"], Deaf()) == 1
    told, _, lines = capsys.readouterr().out.partition("\n\n")
    assert told == "seed 1: divergence, shown by 2 steps of"
    trace, _, error = lines.partition("\n\n")
    assert error.endswith(" was not sent PingResp()\n")
    world = World(Deaf())
    connect, ping = trace.splitlines()
    eval(connect, {"world": world, "Version": Version})
    with pytest.raises(AssertionError, match=r"was not sent PingResp\(\)"):
        eval(ping, {"world": world})


class Broken(Flaw):
    """The harness fails in the middle of a step."""

    def outgoing(self, packets):
        return packets[7] if any(type(packet).__name__ == "PingResp" for packet, _ in packets) else packets


def test_a_failure_of_the_harness_is_no_divergence(capsys):
    assert main(["--steps", "2000", "--quiet"], Broken()) == 2
    told, _, rest = capsys.readouterr().out.partition("\n\n")
    assert told == "seed 1: no verdict, the model itself failed in"
    trace, _, cause = rest.partition("\n\n")
    assert trace.splitlines()[-1].startswith("world.ping(")
    assert cause.endswith("IndexError: list index out of range\n")


class Raising(Flaw):
    """A server that raises where it should make up a client id."""

    def between(self, world):
        world.broker._entry._next_client_id = {}.popitem


def test_what_the_server_raises_is_a_divergence(capsys):
    assert main(["--steps", "2000", "--quiet"], Raising()) == 1
    told, _, rest = capsys.readouterr().out.partition("\n\n")
    assert told == "seed 1: divergence, shown by 1 steps of"
    assert rest.endswith("\n\nKeyError: 'popitem(): dictionary is empty'\n")


class Garbage(Flaw):
    """A server that sends what is no packet."""

    def between(self, world):
        for link in world.links.values():
            link.connection.output.append(b"\x00\x00")


def test_bytes_that_are_no_packet_are_a_divergence(capsys):
    assert main(["--steps", "2000", "--quiet"], Garbage()) == 1
    assert "was sent what is no packet: packet type 0 is reserved" in capsys.readouterr().out


def test_a_walk_shows_how_far_it_is():
    told = []
    assert walk(2, 1_000, progress=told.append) is None
    assert told == [400, 800, 1_000]


def test_a_step_does_nothing_where_it_makes_no_sense():
    import random

    rng = random.Random(3)
    steps = {}
    while len(steps) < len(RULES):
        name, arguments = random_step(rng)
        steps[name] = arguments
    for name in steps.keys() - {"connect"}:
        world = World()
        world.do(name, steps[name])
        assert not world.can(name, steps[name]) or name in WITHOUT_A_CLIENT
        assert not world.model.sessions
