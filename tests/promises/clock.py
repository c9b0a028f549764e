"""P14: rows from before the clock was set get their true time; no jump loses, reorders, drops or expires anything."""

import shutil
import tempfile
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from appliance.store.database import open_reader
from appliance.store.history_reader import HistoryReader
from appliance.store.reading_rows import prepare
from tests import raw5
from tests.promises.finding import Finding
from tests.raw import PINGREQ, PINGRESP, Raw
from tests.storage.clocks import Dated, forget, libfaketime

TOPIC = "home/room/temperature"
HOUR_S = 3_600.0
YEAR_S = 365.25 * 86_400
BUILD_AT = 1_735_689_600.0  # when some image was built: where systemd lifts a clock to that nobody has set
A_TURN = 4  # readings
NEAR_S = 1.0
EXPIRY = b"\x02" + (600).to_bytes(4, "big")
SETTLED_S = 0.4


@dataclass(frozen=True)
class Story:
    """How a clock goes: (offset, whether it is known to be right) at the start and after each turn.

    `wakes_at` is a fixed time that the clock wakes at. boots: each turn is another boot, after a power cut.
    """

    name: str
    turns: tuple[tuple[float, bool], ...]
    wakes_at: float | None = None
    boots: bool = False


def stories() -> list[Story]:
    """Give all of them."""
    found = [
        Story("wakes in 1970, then set", ((0, False), (0, True)), wakes_at=100.0),
        Story("wakes when the image was built, then set", ((0, False), (0, True)), wakes_at=BUILD_AT),
        Story("wakes ten years ahead, then set", ((10 * YEAR_S, False), (0, True))),
        Story("never set", ((0, False), (0, False)), wakes_at=100.0),
    ]
    jumps = (HOUR_S, -HOUR_S, 10 * YEAR_S, -10 * YEAR_S)
    found += [
        Story(f"jumps by {jump / HOUR_S:+,.0f} h and back", ((0, True), (jump, True), (0, True))) for jump in jumps
    ]
    found += [
        Story(f"boots {jump / HOUR_S:+,.0f} h off, then right", ((0, True), (jump, True), (0, True)), boots=True)
        for jump in jumps[-2:]
    ]
    return found


@dataclass
class Told:
    """What was found in all stories."""

    stories: int = 0
    rows: int = 0
    redated: int = 0
    farthest_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def fault(self, kind: str, example: str) -> None:
        """Note something that must not be."""
        self.faults[kind] += 1
        self.examples.setdefault(kind, example)


KINDS = ("rows lost", "rows out of order", "rows farther than 1 s from their time", "clients dropped",
         "sessions expired", "messages expired")  # fmt: skip


def run(options: Namespace) -> list[Finding]:
    """Hold the service to P14."""
    if libfaketime() is None:
        raise AssertionError("libfaketime is missing: apt install libfaketime")
    told = Told()
    try:
        found = stories()
        if options.planted or options.small:
            found = [found[0], found[-2]] if options.planted else [found[0], *found[-4:-1]]
        for story in found:
            scratch = Path(tempfile.mkdtemp(prefix="appliance-clock-"))
            try:
                live(story, scratch, told, careless=options.planted)
            finally:
                shutil.rmtree(scratch)
            told.stories += 1
    finally:
        forget()
    for kind, example in told.examples.items():
        print(f"  {kind}: {example}", flush=True)
    return [
        Finding("clocks that went wrong", told.stories, least=1),
        Finding("readings recorded", told.rows, least=1),
        Finding("of them dated again when the clock was set", told.redated),
        Finding("farthest from its true time", told.farthest_s, "s"),
        *(Finding(kind, told.faults[kind], most=0) for kind in KINDS),
    ]


def live(story: Story, scratch: Path, told: Told, *, careless: bool) -> None:
    """Go through one story, and start once more at its end with the clock of its begin.

    careless: the clock is believed whatever it says, and its jumps between boots too, which must be caught.
    """
    change = "credulous" if careless else ""
    began = time.time()
    turns = [((story.wakes_at - began) if story.wakes_at and not is_set else offset_s, is_set or careless)
             for offset_s, is_set in story.turns]  # fmt: skip
    sent: list[tuple[float, float, bool]] = []  # true time, what the clock said, whether it was right
    broker = Dated(scratch, turns[0][0], is_set=turns[0][1], boot="boot 0" * story.boots, change=change)
    links: list[Raw] = []
    try:
        stays = _client(broker, links, "stays")
        _subscribe_and_leave(broker, links)
        teller = _client(broker, links, "teller")
        _publish(teller, 900, raw5.publish("keep/it", b"kept", 1, 900, properties=EXPIRY, retain=True))
        _publish(teller, 901, raw5.publish("queue/it", b"waited", 1, 901, properties=EXPIRY))
        for number, (offset_s, is_set) in enumerate(turns):
            if number and story.boots:
                broker.cut()
                broker = Dated(scratch, offset_s, is_set=is_set, boot=f"boot {number}", change=change)
                _check_kept(broker, links, told, f"{story.name}, boot {number}")
                stays, teller = _client(broker, links, "stays"), _client(broker, links, "teller")
            elif number:
                broker.turn(offset_s, is_set=is_set)
            _tell(broker, teller, sent, is_set=is_set)
            if stays.until_answered():
                told.fault("clients dropped", f"{story.name}, turn {number}")
        _check_kept(broker, links, told, story.name)
    finally:
        for link in links:
            link.close()
        broker.stop()
    links = []
    broker = Dated(scratch, turns[0][0], is_set=turns[0][1], boot="the last" * story.boots, change=change)
    try:
        _check_kept(broker, links, told, f"{story.name}, started again")
        _tell(broker, _client(broker, links, "teller"), sent, is_set=turns[0][1])
    finally:
        for link in links:
            link.close()
        broker.stop()
    _check_rows(story, broker.database, sent, told)


class Stays(Raw):
    """A client that stays."""

    def until_answered(self) -> bool:
        """Tell whether it was dropped."""
        self.send(PINGREQ)
        while (packet := self.packet()) is not None:
            if packet == PINGRESP:
                return False
        return True


def _client(broker: Dated, links: list[Raw], name: str) -> Stays:
    link = Stays(broker.port)
    links.append(link)
    link.send(raw5.connect(name, clean=False, keep_alive=5, properties=raw5.session_expiry(3_600)))
    packet = link.packet()
    if packet is None or packet[0] != 0x20 or packet[3]:
        raise AssertionError(f"{name} was not let in: {packet!r}")
    link.is_known = bool(packet[2] & 1)
    return link


def _subscribe_and_leave(broker: Dated, links: list[Raw]) -> None:
    away = _client(broker, links, "away")
    away.send(raw5.subscribe("queue/#", options=1, packet_id=7))
    while (packet := away.packet()) is not None and packet[0] != 0x90:
        pass
    away.close()


def _publish(teller: Raw, packet_id: int, packet: bytes) -> None:
    """Publish and wait for the acknowledgement."""
    teller.send(packet)
    answer = teller.packet()
    if answer is None or answer[0] != 0x40 or answer[2:4] != packet_id.to_bytes(2, "big"):
        raise AssertionError(f"message {packet_id} was answered with {answer!r}")


def _tell(broker: Dated, teller: Raw, sent: list[tuple[float, float, bool]], *, is_set: bool) -> None:
    for _ in range(A_TURN):
        number = len(sent) + 1
        sent.append((time.time(), broker.at(), is_set))
        _publish(teller, number, raw5.publish(TOPIC, b"%d" % number, 1, number))
        time.sleep(SETTLED_S / A_TURN)


def _check_kept(broker: Dated, links: list[Raw], told: Told, name: str) -> None:
    away = _client(broker, links, "away")
    if not away.is_known:
        told.fault("sessions expired", name)
    away.send(raw5.subscribe("keep/#", options=0, packet_id=8), PINGREQ)
    found = b""
    while (packet := away.packet()) is not None and packet != PINGRESP:
        found += packet
    if b"kept" not in found:
        told.fault("messages expired", f"{name}: the retained one")
    if b"waited" not in found:
        told.fault("messages expired", f"{name}: the queued one")
    away.reset()


def _check_rows(story: Story, database: Path, sent: list[tuple[float, float, bool]], told: Told) -> None:
    connection = open_reader(database)
    try:
        prepare(connection)
        asked = "SELECT value FROM history WHERE topic = ? ORDER BY tick"
        order = [int(value) for (value,) in connection.execute(asked, (TOPIC,))]
    finally:
        connection.close()
    rows = {int(row.value): row.at for row in HistoryReader(database).rows(TOPIC, 0, time.time() + 20 * YEAR_S)}
    told.rows += len(order)
    everything = list(range(1, len(sent) + 1))
    if missing := set(everything) - set(order):
        told.fault("rows lost", f"{story.name}: {sorted(missing)}")
    if order != [number for number in everything if number in set(order)]:
        told.fault("rows out of order", f"{story.name}: {order}")
    was_ever_set = any(is_set for _, is_set in story.turns)
    last_start = len(sent) - A_TURN
    for number, (true_at, said_at, was_set) in enumerate(sent):
        at = rows.get(number + 1)
        if at is None:
            told.fault("rows lost", f"{story.name}: {number + 1} cannot be asked for")
            continue
        is_known = story.turns[0][1] or (was_ever_set and number < last_start)
        if not is_known:
            continue  # nobody knows its time
        expected = said_at if was_set and story.turns[0][1] else true_at
        told.redated += not story.turns[0][1] and not was_set
        told.farthest_s = max(told.farthest_s, abs(at - expected))
        if abs(at - expected) > NEAR_S:
            told.fault("rows farther than 1 s from their time", f"{story.name}: {number + 1} by {at - expected:,.1f} s")
