"""The clients of one home: who they are, what they do to a service, and how they find it after a crash."""

import random
import select
import time
from pathlib import Path

from tests.crash.facts import CLEARED, Ledger, number_in, payload_of
from tests.crash.history import recorded, viewed
from tests.crash.judge import check_history, check_retained, check_setting
from tests.crash.peer import Mention, Peer, Silent, wait

WINDOW = 4  # messages of one publisher in flight
QUIET_S = 6.0  # without anything new, after which it counts as lost
CHURN = 6  # filters that are subscribed to and given up again
EVERYTHING = ("home/", "big/", "tele/", "marker/")
MARKER = "marker/set"  # not recorded, as everything with a level that says so
DISCARD = "discard/set"

AGENTS = ("agent0", "agent1")
PUBLISHERS = {  # topics, QoS, retained
    "agent0": (("home/room0/temperature",), 1, True),
    "agent1": (("home/room1/temperature", "home/room1/humidity"), 1, True),
    "plain": (("home/shed0/temperature", "home/shed1/temperature", "tele/porch/SENSOR"), 1, True),
    "big": (("big/one/set", f"{CLEARED}0/set", f"{CLEARED}1/set"), 1, False),
    "twice": (("home/two0/count", "tele/roof/SENSOR"), 2, True),
    "twice5": (("big/two/set",), 2, False),
}
READERS = {"stays1": 1, "stays2": 2, "away1": 1, "away2": 2}
FIVES = {*AGENTS, "twice5", "stays2", "away2", "checker"}


class House:
    """All clients and their ledger."""

    def __init__(self, ledger: Ledger, dice: random.Random) -> None:
        self.ledger = ledger
        self.facts = ledger.facts
        self.dice = dice
        names = [*PUBLISHERS, *READERS, "churn", "discard"]
        self.peers = {name: Peer(ledger, name, 5 if name in FIVES else 4, agent=name in AGENTS) for name in names}
        self.checker = Peer(ledger, "checker", 5)
        self._flips: dict[int, tuple[int, bytes]] = {}  # packet id of a request -> number of the setting asked for
        self._discarded = (0, 0)  # packet id of its SUBSCRIBE that is not answered, number of the setting
        self._discard_present = False
        self._stirred = False
        self._marker_s = self._retained_s = QUIET_S
        self._discard_possible: list[str] = []

    def close(self) -> None:
        """Close every link."""
        for peer in [*self.peers.values(), self.checker]:
            peer.close()

    # --- the first time ---

    def move_in(self, port: int) -> None:
        """Subscribe what stays subscribed, before anything is published."""
        for name, qos in READERS.items():
            peer = self.peers[name]
            peer.connect(port)
            filters = [f"{prefix}#" for prefix in EVERYTHING]
            packet_id = peer.subscribe(*filters, qos=qos)
            wait([peer], lambda peer=peer, packet_id=packet_id: packet_id in peer.answers, "SUBACK")
            self.ledger.note("reads", name, EVERYTHING, qos)
        churn = self.peers["churn"]
        churn.connect(port)
        packet_id = churn.subscribe("marker/#", qos=2)
        wait([churn], lambda: packet_id in churn.answers, "SUBACK")
        self.ledger.note("found", "churn", {})
        self.ledger.note("granted", "churn", 0)
        for peer in self.peers.values():
            if peer.socket is None:
                peer.connect(port)
        self.ledger.note("found", "discard", "none")
        self.ledger.note("asked", "discard", "bare")

    # --- traffic ---

    def traffic(self, port: int, seconds: float) -> None:
        """Do what a home does, for so long; whatever is on its way then stays so."""
        until = time.monotonic() + seconds
        for name in PUBLISHERS:
            self.peers[name].resume()
        for name, peer in self.peers.items():
            peer.lazy = name in READERS and self.dice.random() < 0.5
        if self.dice.random() < 0.7:
            for name in ("away1", "away2"):
                self.peers[name].leave()
        discards = self.dice.uniform(0, 0.4)
        began = time.monotonic()
        self._subscribe_discarded()
        while (now := time.monotonic()) < until:
            for name, (topics, qos, retain) in PUBLISHERS.items():
                peer = self.peers[name]
                while len(peer.state.outgoing) < WINDOW and self.dice.random() < 0.6:
                    topic = self.dice.choice(topics)
                    peer.publish(topic, qos, retain=retain or topic.startswith(CLEARED))
            self._churn()
            if now - began > discards:
                discards = float("inf")
                self._discard(port)
            self._serve(min(0.002, until - now))

    def _serve(self, seconds: float) -> None:
        sockets = {peer.socket: peer for peer in self.peers.values() if peer.socket is not None}
        for one in select.select(list(sockets), [], [], max(0.0, seconds))[0]:
            if not sockets[one].pump():
                raise Silent(f"{sockets[one].name}: closed by the server")
        self._settle()

    def _churn(self) -> None:
        churn = self.peers["churn"]
        if len(self._flips) >= 3 or self.dice.random() < 0.5:
            return
        now = dict(churn.state.settings[-1])
        which, qos = f"churn/{self.dice.randrange(CHURN)}/set", self.dice.choice((None, 0, 1, 2))
        if qos is None:
            now.pop(which, None)
        else:
            now[which] = qos
        self.ledger.note("asked", "churn", now)
        packet_id = churn.unsubscribe(which) if qos is None else churn.subscribe(which, qos=qos)
        self._flips[packet_id] = len(churn.state.settings) - 1

    def _subscribe_discarded(self) -> None:
        discard = self.peers["discard"]
        if discard.state.settings[-1] != "subscribed":
            self.ledger.note("asked", "discard", "subscribed")
            self._discarded = discard.subscribe(DISCARD, qos=1), len(discard.state.settings) - 1
        else:
            self._discarded = 0, 0

    def _discard(self, port: int) -> None:
        """Connect anew with nothing kept; CONNACK says that the session is gone."""
        discard = self.peers["discard"]
        self.ledger.note("asked", "discard", "none")
        index = len(discard.state.settings) - 1
        if discard.connect(port, clean=True):
            self.facts.faults.add("Session Present wrong", "discard: a clean session was present")
        self.ledger.note("granted", "discard", index)

    def _settle(self) -> None:
        """Write down which requests were answered."""
        churn, discard = self.peers["churn"], self.peers["discard"]
        for packet_id in [packet_id for packet_id in self._flips if packet_id in churn.answers]:
            self.ledger.note("granted", "churn", self._flips.pop(packet_id))
        packet_id, index = self._discarded
        if packet_id in discard.answers:
            self.ledger.note("granted", "discard", index)
            self._discarded = 0, 0

    def stir(self, port: int, seconds: float) -> None:
        """Come back for a moment only, and check nothing: what is on its way then stays so.

        What waited in line is sent now. At QoS 1 that does not wait for the disk: it may come again under another id.
        """
        self._stirred = True
        until = time.monotonic() + seconds
        for name, peer in self.peers.items():
            if name in ("discard", "churn"):
                continue
            peer.connect(port)
            peer.lazy = self.dice.random() < 0.5
            peer.resume()
        while (now := time.monotonic()) < until:
            self._serve(until - now)

    def hang_up(self) -> None:
        """Break every link off."""
        for name, peer in self.peers.items():
            self.ledger.note("gone", name)
            peer.close()

    def last_words(self) -> None:
        """Take what the service said before it ended."""
        for peer in self.peers.values():
            peer.last_words()
            peer.close()
            peer.lazy = False
        self._settle()
        self._flips.clear()
        self._discarded = 0, 0
        for peer in self.peers.values():
            peer.answers.clear()

    # --- afterwards ---

    def check(self, port: int, database: Path, *, since_at: float) -> None:
        """Come back and look whether everything that was acknowledged is there; faults go into the facts."""
        self._check_retained(port)
        held = {name: self._held(self.peers[name]) for name in READERS}
        for name, peer in self.peers.items():
            self._come_back(name, peer, port)
        marked = self._marker()
        waiting = [self.peers[name] for name in (*READERS, "churn")]
        self._wait_for(waiting, marked)
        for name, (open_ids, unacknowledged) in held.items():
            self._check_mentions(self.peers[name], open_ids, unacknowledged)
            self._check_delivered(name)
        self._stirred = False
        self._check_sessions()
        self.check_history(database, since_at=since_at)
        self.checker.close()

    def _wait_for(self, waiting: list[Peer], number: int) -> None:
        try:
            wait(
                [*waiting, self.checker],
                lambda: all(number in peer.markers for peer in waiting),
                "the marker",
                patience_s=self._marker_s,
            )
        except Silent as error:
            self.facts.faults.add("acknowledged and lost", f"marker {number}: {error}")
            self._marker_s = 0.5  # no need to wait as long for the next

    def _marker(self) -> int:
        """Publish what comes after everything else; gives its number."""
        number = self.checker.publish(MARKER, 2)
        wait([self.checker], lambda: not self.checker.state.outgoing, "PUBCOMP of the marker")
        return number

    def _check_retained(self, port: int) -> None:
        checker = self.checker
        checker.connect(port, clean=True)
        checker.state.outgoing.clear()
        checker.retained.clear()
        checker.subscribe("home/#", "big/#", "tele/#", f"{CLEARED}#", qos=0)
        expected = {
            topic
            for topic, numbers in self.facts.retained.items()
            if self.facts.messages[numbers[0]].acknowledged and all(payload_of(number, topic) for number in numbers)
        }
        checker.send(b"\xc0\x00")
        pongs = checker.pongs
        wait([checker], lambda: checker.pongs > pongs, "PINGRESP")
        until = time.monotonic() + self._retained_s
        while expected - checker.retained.keys():
            if select.select([checker.socket], [], [], 0.1)[0]:
                if not checker.pump():
                    raise Silent("checker: closed while it was sent retained messages")
                until = time.monotonic() + self._retained_s
            elif time.monotonic() > until:
                self._retained_s = 1.0  # as with the marker
                break
        check_retained(self.facts, {topic: payload for topic, (payload, _) in checker.retained.items()})
        for topic, (payload, properties) in checker.retained.items():
            sent = self.facts.messages.get(number_in(payload) or 0)
            if sent is not None and sent.seq is not None and b"\x00\x03seq\x00" not in properties:
                self.facts.faults.add("retained value wrong", f"{topic}: {payload!r} without its properties")

    def _held(self, peer: Peer) -> tuple[dict[int, int], dict[int, int]]:
        """Give what a reader has received and not done with: QoS 2, and QoS 1 whose publisher has its PUBACK."""
        messages = self.facts.messages
        unacknowledged = {i: n for i, n in peer.state.unacknowledged.items() if messages[n].acknowledged}
        return dict(peer.state.open), unacknowledged

    def _come_back(self, name: str, peer: Peer, port: int) -> None:
        known = peer.state.known
        if name == "discard":
            self._discard_possible = peer.state.possible()
            self.ledger.note("asked", name, "bare")
        present = peer.connect(port)
        if name == "discard":
            self._discard_present = present
            return
        self.ledger.note("back", name)
        if known and not present:
            self.facts.faults.add("Session Present wrong", f"{name}: unknown, though it was acknowledged something")
        if not present:
            self._restore_subscriptions(name, peer)

    def _restore_subscriptions(self, name: str, peer: Peer) -> None:
        """Subscribe again after a loss, so that the rounds to come mean something."""
        if name in READERS:
            packet_id = peer.subscribe(*(f"{prefix}#" for prefix in EVERYTHING), qos=READERS[name])
        elif name == "churn":
            packet_id = peer.subscribe("marker/#", qos=2)
        else:
            return
        wait([peer], lambda: packet_id in peer.answers, "SUBACK")

    def _check_mentions(self, peer: Peer, open_ids: dict[int, int], unacknowledged: dict[int, int]) -> None:
        """See that what was on its way came again, under its id and marked, in its order."""
        faults = self.facts.faults
        again: list[Mention] = peer.mentions
        for packet_id, number in open_ids.items():
            if not any(m.packet_id == packet_id and m.qos == 2 and m.number in (number, None) for m in again):
                faults.add("QoS 2 lost", f"{peer.name}: id {packet_id} ({number}) was open and never came again")
        for packet_id, number in unacknowledged.items():
            found = [m for m in again if m.number == number]
            if not found:
                faults.add("acknowledged and lost", f"{peer.name}: {number} was not acknowledged and never came again")
            elif not self._stirred and not any(m.dup and m.packet_id == packet_id for m in found):
                faults.add("repeated without DUP or the original id", f"{peer.name}: {number}, was {packet_id}")
        newest: dict[str, int] = {}
        for mention in again:
            if mention.dup and mention.number is not None:
                sent = self.facts.messages[mention.number]
                if mention.number < newest.get(sent.topic, 0) and not sent.again:
                    example = f"{peer.name}: repeated {mention.number} after {newest[sent.topic]}"
                    faults.add("out of order", example)
                newest[sent.topic] = mention.number

    def _check_delivered(self, name: str) -> None:
        """See that everything acknowledged has reached this reader."""
        state = self.facts.peers[name]
        missing = [number for number in state.wanted if self.facts.messages[number].acknowledged]
        for number in missing:
            sent = self.facts.messages[number]
            kind = "QoS 2 lost" if sent.qos == state.qos == 2 else "acknowledged and lost"
            self.facts.faults.add(kind, f"{name}: {sent.topic} {number}")
            del state.wanted[number]

    def _check_sessions(self) -> None:
        """See what is subscribed to by publishing to it."""
        churn, discard = self.peers["churn"], self.peers["discard"]
        churn.probes.clear()
        discard.probes.clear()
        for which in range(CHURN):
            self.checker.publish(f"churn/{which}/set", 2)
        self.checker.publish(DISCARD, 1)
        number = self._marker()
        self._wait_for([churn], number)
        discard.send(b"\xc0\x00")
        pongs = discard.pongs
        wait([discard], lambda: discard.pongs > pongs, "PINGRESP")
        found = dict(sorted(churn.probes.items()))
        check_setting(self.facts, "churn", found, churn.state.possible())
        self.ledger.note("found", "churn", found)
        seen = "subscribed" if DISCARD in discard.probes else "bare" if self._discard_present else "none"
        check_setting(self.facts, "discard", seen, self._discard_possible)
        self.ledger.note("found", "discard", seen)
        if seen == "none":  # the link that asked has begun a new one
            self.ledger.note("asked", "discard", "bare")

    def check_history(self, database: Path, *, since_at: float) -> None:
        """Hold the rows of the last rounds to what was acknowledged."""
        check_history(self.facts, recorded(database, list(self.facts.series), since_at), forget=True)

    def check_view(self, database: Path) -> None:
        """See that the view for other programs shows the same rows as the page."""
        topics = list(self.facts.series)
        shown, asked = viewed(database, topics), recorded(database, topics, 0)
        for topic in topics:
            for number in {row[0] for row in asked[topic]} ^ {row[0] for row in shown[topic]}:
                self.facts.faults.add("history rows lost", f"{topic}: {number} is in the view or the rows, not in both")
            if shown[topic] != asked[topic]:
                self.facts.faults.add("history out of order", f"{topic}: the view has another order than the rows")
