"""Rights that change at any moment of any walk: nobody is ever sent what it may not read, nor what its publisher might
not say; over links that break, power cuts, shared groups, wills and retained messages.
"""

import random
from collections import Counter

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.auth.acl import Granted
from appliance.broker import revoking
from appliance.mqtt.packets import Connect, PubAck, PubComp, Publish, PubRec, PubRel, Will
from appliance.mqtt.properties import EMPTY, Properties

WHO = {"one": V5, "two": V311, "three": V5}
TOPICS = ("a/1", "a/2", "b/1", "b/2")
FILTERS = ("#", "a/#", "b/+", "b/1", "$share/g/#", "$share/g/b/#")
RIGHTS = ([], ["a/#"], ["b/#"], ["#"], ["#"])
STEPS = {
    "connect": 8, "lose": 4, "subscribe": 6, "publish": 30, "answer": 14, "change": 4, "remove": 1, "commit": 10,
    "crash": 0.7, "wait": 2,
}  # fmt: skip
WALKS, LENGTH = 60, 250
NOBODY = Granted([], [])


class Walk:
    """A server whose accounts change, three users with a client each, and what they were sent."""

    def __init__(self, seed, change_nothing):
        self.rng = random.Random(seed)
        self.granted = {user: Granted(["#"], ["#"]) for user in WHO}
        self.server = VirtualServer(
            journal=RecordingJournal(automatic=seed % 2 == 0), authorize=self.rights, max_inflight=2
        )
        self.change_nothing = change_nothing
        self.links = {}
        self.messages = []  # (publisher, topic, whether it was allowed, cuts of the power before it)
        self.cuts = 0
        self.unanswered = {user: [] for user in WHO}
        self.met = Counter()

    def rights(self, user, _client_id):
        return self.granted.get(user, NOBODY)

    def reload(self, *, restored=False, ousted=()):
        if not self.change_nothing:
            self.server.broker.reauthorize(
                lambda user: user in ousted or user not in self.granted, self.server.now, restored=restored
            )
        self.server.settle()

    def step(self):
        (name,) = self.rng.choices(list(STEPS), list(STEPS.values()))
        user = self.rng.choice(list(WHO))
        getattr(self, name)(user)
        self.server.advance(0)  # what is gone through in steps
        for one in list(self.links):
            self.look(one)

    def look(self, user):
        link = self.links[user]
        for packet in link.packets():
            if isinstance(packet, Publish):
                self.judge(user, packet)
            if isinstance(packet, Publish) and packet.qos:
                self.unanswered[user].append((PubAck if packet.qos == 1 else PubRec)(packet.packet_id))
            elif isinstance(packet, PubRel):
                self.unanswered[user].append(PubComp(packet.packet_id))
            elif isinstance(packet, PubRec) and packet.reason_code < 0x80:
                self.unanswered[user].append(PubRel(packet.packet_id))
        if link.closed:
            self.drop(user)

    def judge(self, user, packet):
        self.met["retained" if packet.retain else "again" if packet.dup else "live"] += 1
        assert self.rights(user, "").may_read(packet.topic), f"{user} was sent {packet}"
        kind, _, number = packet.payload.partition(b" ")
        if kind == b"will":
            assert self.rights(number.decode(), "").may_publish(packet.topic), f"{packet} was told"
            self.met["will"] += 1
        elif kind == b"message":
            publisher, topic, allowed, cuts = self.messages[int(number)]
            assert allowed, f"{packet} was not allowed"
            assert topic == packet.topic
            # One that was on its way when its publisher's rights changed, held back for the disk, still arrives.
            if packet.retain and not packet.dup and cuts == self.cuts and self.server.journal.automatic:
                assert self.rights(publisher, "").may_publish(topic), f"{packet} is kept"

    def drop(self, user):
        self.links.pop(user)
        self.unanswered[user] = []

    def connect(self, user):
        if user not in self.granted:
            return
        if user in self.links:
            self.lose(user)
        version, clean = WHO[user], self.rng.random() < 0.2
        lasting = Properties(session_expiry_interval=600) if version is V5 and not clean else EMPTY
        topic = self.rng.choice(TOPICS)
        will = None
        if self.rights(user, "").may_publish(topic) and self.rng.random() < 0.5:
            delay = Properties(will_delay_interval=self.rng.choice((0, 5))) if version is V5 else EMPTY
            will = Will(topic, b"will " + user.encode(), properties=delay)
        link = self.links[user] = self.server.link(version)
        link.send(Connect(user, clean, 0, user, None, will, lasting, version))
        if not link.received:  # the end of its old session has to be durable first
            self.server.commit()
        assert link.received[3] == 0

    def lose(self, user):
        if user in self.links:
            self.links[user].lose()
            self.drop(user)

    def subscribe(self, user):
        if user in self.links:
            self.links[user].subscribe(self.rng.choice(FILTERS), qos=self.rng.randrange(3))

    def publish(self, user):
        if user not in self.links:
            return
        topic, qos = self.rng.choice(TOPICS), self.rng.randrange(3)
        number = len(self.messages)
        self.messages.append((user, topic, self.rights(user, "").may_publish(topic), self.cuts))
        self.met["denied"] += not self.messages[-1][2]
        retain = self.rng.random() < 0.3
        packet_id = number % 60_000 + 1 if qos else None
        self.links[user].publish(topic, b"message %d" % number, qos=qos, packet_id=packet_id, retain=retain)

    def answer(self, user):
        waiting, self.unanswered[user] = self.unanswered[user], []
        for packet in waiting:
            if user in self.links:
                self.links[user].send(packet)

    def change(self, user):
        if user in self.granted:
            self.granted[user] = Granted(self.rng.choice(RIGHTS), self.rng.choice(RIGHTS))
            self.reload()
        else:
            self.granted[user] = Granted(["#"], ["#"])
            self.reload()

    def remove(self, user):
        self.granted.pop(user, None)
        self.reload()

    def commit(self, _user):
        self.server.commit()

    def crash(self, _user):
        self.cuts += 1
        for one in list(self.links):
            self.look(one)
        for one in list(self.links):
            self.drop(one)
        self.server.crash_and_restart()
        self.reload(restored=True)

    def wait(self, _user):
        self.server.advance(self.rng.choice((1, 6, 20)))


def walk(seed, *, change_nothing=False):
    walked = Walk(seed, change_nothing)
    for _ in range(LENGTH):
        walked.step()
    dropped = walked.server.broker.stats.dropped
    walked.met["withdrawn"] += dropped[revoking.NOT_READABLE]
    return walked.met


def test_nothing_crosses_on_any_walk(monkeypatch):
    monkeypatch.setattr(revoking, "STEP", 5)  # so that lines are gone through later, or by those who come back
    met = Counter()
    for seed in range(WALKS):
        met += walk(seed)
    for what in ("live", "again", "retained", "will", "denied", "withdrawn"):
        assert met[what] > WALKS / 2, met


def test_a_server_to_which_nothing_was_said_is_caught():
    caught = 0
    for seed in range(20):
        with pytest.raises(AssertionError, match=r"was sent|is kept|was not allowed|was told"):
            walk(seed, change_nothing=True)
        caught += 1
    assert caught == 20
