"""A real agent and the real service over a bad network, and killed in all orders: what becomes of every reading."""

import os
import signal
from contextlib import ExitStack, closing
from itertools import permutations
from random import Random
from time import monotonic, sleep

import pytest
from chaos_proxy import FAULTS, ChaosProxy
from processes import eventually
from test_end_to_end import Agent, House

from sensors.outbox import SEQ_BLOCK

PATIENCE_S = 60.0  # for a slow computer, on which the dice are thrown less often


@pytest.fixture
def house(tmp_path):
    with ExitStack() as processes:
        yield House(tmp_path, processes)


@pytest.mark.parametrize(
    ("seconds", "every_s"), [(12, 0.7), pytest.param(60, 2.0, marks=pytest.mark.soak)], ids=["short", "minute"]
)
def test_over_a_bad_network_every_number_arrives_once(house, seconds, every_s):
    house.start()
    with closing(ChaosProxy(house.port, Random(os.environ.get("CHAOS_SEED", "1")), every_s)) as proxy:
        agent = Agent(house.home, "house", proxy.port, house.processes)
        agent.start(program="tests.impatient")
        ends = monotonic() + seconds
        while monotonic() < ends or (monotonic() < ends + PATIENCE_S and set(proxy.done) != set(FAULTS)):
            sleep(0.1)
        proxy.wild = False
        assert set(proxy.done) == set(FAULTS)
        eventually(lambda: house.availability() == "online")
        count = house.count()
        eventually(lambda: house.count() > count + 20 and house.complete())
        assert agent.process.stop(signal.SIGTERM)[0] == 0
        _, next_seq = agent.kept()
        agent.start()  # what it kept comes, again where only the acknowledgement was late
        eventually(lambda: any(last >= next_seq for _, _, last in house.ranges()) and house.complete())
        assert agent.process.stop(signal.SIGTERM)[0] == 0
        ((_, first, _),) = house.ranges()
        assert first == 1
        house.assert_nothing_twice()
        assert house.missing() == set()


ORDERS = [
    order
    for order in permutations(("agent dies", "agent starts", "service dies", "service starts"))
    if order.index("agent dies") < order.index("agent starts")
    and order.index("service dies") < order.index("service starts")
]


def test_killed_in_all_orders_nothing_comes_twice_and_only_the_killed_agents_memory_is_lost(house):
    agent = house.agent()
    house.start()
    agent.start()
    steps = {
        "agent dies": lambda: agent.process.stop(signal.SIGKILL),
        "agent starts": agent.start,
        "service dies": house.kill,
        "service starts": house.start,
    }
    assert len(ORDERS) == 6
    for kills, order in enumerate(ORDERS):
        eventually(lambda kills=kills: house.availability() == "online" and len(house.ranges()) == kills + 1)
        before = house.count()
        eventually(lambda before=before: house.count() > before + 20)
        for step in order:
            steps[step]()
        before = house.count()
        eventually(lambda before=before, kills=kills: house.count() > before + 20 and len(house.ranges()) == kills + 2)
        # Numbers are reserved in blocks: a killed agent goes on with the next, and nothing else is missing.
        starts = [first for _, first, _ in house.ranges()]
        assert (starts[-1] - 1) % SEQ_BLOCK == 0
    house.assert_nothing_twice()
    assert len({run for run, _, _ in house.ranges()}) == 1
    assert house.missing() <= {
        "agent cut",
        "lost with the agent",
        "still with the agent",
        "may still be with the agent",
    }  # as long as it last said that it keeps some
