"""What was acknowledged survives a power cut at any moment; QoS 2 comes once; order, packet ids and subscriptions stay.

Checked with clients that keep their side of the protocol (`durable.py`) and a journal whose groups are committed one by
one; and that a server which breaks one of these rules is caught.
"""

import pytest
from durable import ACTIONS, WHO, Broken, Flaw, play, random_actions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal import RecordingJournal

from appliance.broker.records import Forgot, Opened, Queued, Received, Released, Sent, Subscribed, Unsubscribed

EVERYBODY = [("connect", {"who": who}) for who in WHO]
RUNS, LENGTH = 60, 200


@st.composite
def action(draw):
    name = draw(st.sampled_from(list(ACTIONS)))
    return name, {argument: draw(st.sampled_from(values)) for argument, values in ACTIONS[name].items()}


@given(st.lists(action(), max_size=60))
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_nothing_acknowledged_is_lost_at_any_cut(actions):
    play(EVERYBODY + actions)


def test_long_runs_with_many_cuts():
    delivered = cuts = 0
    for seed in range(RUNS):
        actions = list(random_actions(seed, LENGTH))
        house = play(EVERYBODY + actions)
        delivered += sum(len(client.got) for client in house.clients.values())
        cuts += sum(name == "crash" for name, _ in actions)
    assert delivered > 5 * RUNS
    assert cuts > 2 * RUNS


class AcknowledgedEarly(Flaw):
    def early(self, packet):
        return packet[0] >> 4 in {4, 5, 7, 9, 11}


class MessageEarly(Flaw):
    """A QoS 2 message leaves before its packet id is on disk."""

    def early(self, packet):
        return packet[0] >> 4 == 3


class ReleasedEarly(Flaw):
    def early(self, packet):
        return packet[0] >> 4 == 6


class OrderChanged(Flaw):
    def restored(self, image):
        for session in image.sessions.values():
            session.deliveries.reverse()


class RetainedForgotten(Flaw):
    def restored(self, image):
        image.retained.clear()


def forgets(kind):
    """A server that forgets to have such changes written down."""

    class Forgetful(RecordingJournal):
        def note(self, record):
            if not isinstance(record, kind):
                super().note(record)

    return type(f"Forgets{kind.__name__}", (Flaw,), {"journal": Forgetful})


@pytest.mark.parametrize(
    "flaw",
    [
        AcknowledgedEarly,
        MessageEarly,
        ReleasedEarly,
        OrderChanged,
        RetainedForgotten,
        *map(forgets, (Opened, Subscribed, Unsubscribed, Queued, Sent, Released, Received, Forgot)),
    ],
)
def test_a_server_that_breaks_a_promise_is_caught(flaw):
    for seed in range(400):
        actions = EVERYBODY + list(random_actions(seed, LENGTH))
        try:
            play(actions, flaw())
        except Broken:
            play(actions)
            return
    pytest.fail("nobody noticed")
