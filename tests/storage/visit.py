"""What clients do to a service whose disk fails at one operation: the whole script, again for each operation.

A process of its own, because the disk that fails is preloaded into it. `python -m tests.storage.visit` is given a
directory, the orders, and what is to fail; it prints what it found as JSON. The service runs in this process and
everything but the process is real: sockets, threads, files.
"""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from appliance.app import Service, serving
from appliance.exits import CommandError
from appliance.settings import Mqtt, Settings, Store, Web
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.writer import Writer
from tests.processes import free_port
from tests.raw import ack, connect, publish, pubrel, subscribe, unsubscribe
from tests.storage.faulty import Orders
from tests.storage.home import NAME, is_proved, open_home, prove

PATIENCE_S = 10.0  # within which a disk that works again must be found out
ALARM_S = 5.0
ANSWER_S = 0.6  # until an answer that waits for a failing disk is waited for no longer
RETRY_S = 0.05  # instead of a second: there are hundreds of disks to wait for
LATE_S = 0.1  # how much later a careless service writes than it acknowledges
AWAY, HERE = "away", "here"


class Gone(Exception):
    """The server closed the link."""


class Guest:
    """A client over a real socket; what it was promised stands in the visit's facts."""

    def __init__(self, port: int, client_id: str, *, clean: bool = True) -> None:
        self._port = port
        self._client_id = client_id
        self._clean = clean
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.got: list[tuple[str, bytes]] = []

    async def come(self) -> None:
        """Connect."""
        await self.leave()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(connect(self._client_id, clean=self._clean))
        await self.wait_for(0x20)

    async def leave(self) -> None:
        """Close the link without a word."""
        if self._writer is not None:
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()
            self._writer = None

    async def ask(self, packet: bytes, answer: int, packet_id: int) -> None:
        """Send a packet and wait for its answer; Gone or TimeoutError."""
        if self._writer is None:
            await self.come()
        self._writer.write(packet)
        await self.wait_for(answer, packet_id)

    async def say(self, packet: bytes) -> None:
        """Send a packet."""
        if self._writer is None:
            await self.come()
        self._writer.write(packet)

    async def wait_for(self, first: int, packet_id: int | None = None) -> None:
        """Read until a packet of this kind comes; acknowledges messages on the way."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                kind, body = await self._packet()
                if kind >> 4 == 3:
                    self._take(kind, body)
                elif kind == 0x62:
                    self._writer.write(ack(0x70, int.from_bytes(body[:2], "big")))
                if kind & 0xF0 == first and (packet_id is None or body[:2] == packet_id.to_bytes(2, "big")):
                    return

    def _take(self, kind: int, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        qos = kind >> 1 & 3
        if qos:
            self._writer.write(ack(0x40 if qos == 1 else 0x50, int.from_bytes(rest[:2], "big")))
            rest = rest[2:]
        self.got.append((topic, rest))

    async def _packet(self) -> tuple[int, bytes]:
        try:
            kind = (await self._reader.readexactly(1))[0]
            length = shift = 0
            while True:
                byte = (await self._reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            return kind, await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._writer = None
            raise Gone from error


class Visit:
    """One run of the script against one failing disk."""

    def __init__(
        self, scratch: Path, orders: Orders, faults: Counter[str], examples: dict[str, str], *, waits: bool = True
    ) -> None:
        self.waits = waits  # False is the bug that must be caught: acknowledged before it is stored
        self.data = scratch / "data"
        self.copy = scratch / "copy"
        self.template = scratch / "template"  # what every run begins with
        self.orders = orders
        self.faults = faults
        self.examples = examples
        self.name = ""
        self.refused_starts = self.alarms = 0
        self.slowest_alarm_s = self.slowest_recovery_s = 0.0
        self.retained: dict[str, bytes] = {}
        self.queued: set[bytes] = set()
        self.is_subscribed = False
        self._port = 0
        self._service: Service | None = None
        self._sent = 0
        self._round = 0  # its hundred is in what is kept, so that nothing passes for what an earlier round left

    def fault(self, kind: str, example: object) -> None:
        """Note something that must not be."""
        self.faults[kind] += 1
        self.examples.setdefault(kind, f"{self.name}: {example}")

    @asynccontextmanager
    async def service(self) -> AsyncGenerator[None]:
        """Run the service; when it does not start on the failing disk, on one that works again."""
        self._port = free_port()
        settings = Settings(mqtt=Mqtt(port=self._port, sys_interval_s=0), web=Web(port=0), store=Store(wait=self.waits))
        entered = serving(settings, self.data)
        try:
            self._service = await entered.__aenter__()
        except CommandError as error:
            self.refused_starts += 1
            if "\n" in str(error) or str(self.data) not in str(error):
                self.fault("unclear words", error)
            self.orders.end()
            entered = serving(settings, self.data)
            self._service = await entered.__aenter__()
        try:
            yield
        finally:
            await entered.__aexit__(None, None, None)
            self._service = None

    async def run(self, at: int, error: int, *, sticky: bool) -> bool:
        """Go through the script once; False when nothing was left to fail."""
        self.name = f"operation {at}, errno {error}{', sticky' if sticky else ''}"
        self._round += 1
        self.orders.end()
        shutil.rmtree(self.data, ignore_errors=True)
        if self.template.exists():
            shutil.copytree(self.template, self.data)
        self.retained, self.queued, self.is_subscribed = {}, set(), False
        self.orders.fail(at, error, sticky=sticky)
        async with self.service():
            await self._script()
            if sticky:
                await self._crash()
            was_failing = bool(self.orders["failed"])
            self.orders.end()
            if was_failing:
                await self._recover()
        if self.orders["retried"]:
            self.fault("a failed flush was tried again", self.orders["retried"])
        self._check(self.data / NAME, "after the end")
        return was_failing

    async def _script(self) -> None:
        here, away, teller = self._guests()
        try:
            await here.come()
            await self._do(here, subscribe("#", packet_id=1), 0x90, 1)
            if await self._do(away, subscribe("away/#", qos=2, packet_id=2), 0x90, 2):
                self.is_subscribed = True
            await away.leave()
            for number in range(1, 4):
                await self._live(here, teller)
                await self._retained(teller, f"home/room{number}/note", number)
                await self._queued(teller, 10 + number, qos=1)
                await self._queued(teller, 20 + number, qos=2)
            await self._do(teller, unsubscribe("none", packet_id=30), 0xB0, 30)
            await self._live(here, teller)
        finally:
            for guest in (here, away, teller):
                await guest.leave()

    def _guests(self) -> tuple[Guest, Guest, Guest]:
        return Guest(self._port, HERE), Guest(self._port, AWAY, clean=False), Guest(self._port, "teller", clean=False)

    async def _do(self, guest: Guest, packet: bytes, answer: int, packet_id: int) -> bool:
        """Ask, and once more where the link was closed; an alarm must follow where nothing is answered."""
        began = time.monotonic()
        for _ in range(3):
            try:
                await guest.ask(packet, answer, packet_id)
            except (Gone, ConnectionError):
                await guest.leave()
                if packet[0] >> 4 == 3:
                    packet = bytes([packet[0] | 8]) + packet[1:]
            except TimeoutError:
                break
            else:
                return True
        await guest.leave()
        await self._alarm(began)
        return False

    async def _alarm(self, began: float) -> None:
        """Wait for the trouble to be told."""
        while not (trouble := self._service.status()["store"]["trouble"]):
            if not self.orders["sticky"]:
                return  # it may be over before anybody looks
            if not self.orders["at"] or time.monotonic() - began > ALARM_S:
                self.fault("no alarm", f"{self.orders['failed']} operations failed")
                return
            await asyncio.sleep(0.005)
        self.alarms += 1
        self.slowest_alarm_s = max(self.slowest_alarm_s, time.monotonic() - began)
        if "\n" in trouble or str(self.data) not in trouble or ": " not in trouble:
            self.fault("unclear words", trouble)

    async def _live(self, here: Guest, teller: Guest) -> None:
        """QoS 0 goes on whatever the disk does."""
        self._sent += 1
        payload = b"%d" % self._sent
        try:
            await teller.say(publish("live/now", payload))
            while ("live/now", payload) not in here.got:
                await here.wait_for(0x30)
        except (Gone, TimeoutError, ConnectionError) as error:
            self.fault("QoS 0 stood still", repr(error))

    async def _retained(self, teller: Guest, topic: str, number: int) -> None:
        payload = prove(topic, 100 * self._round + number)
        if await self._do(teller, publish(topic, payload, 1, number, retain=True), 0x40, number):
            self.retained[topic] = payload

    async def _queued(self, teller: Guest, number: int, qos: int) -> None:
        payload = prove("away/note", 100 * self._round + number)
        if not await self._do(teller, publish("away/note", payload, qos, number), 0x40 if qos == 1 else 0x50, number):
            return
        if self.is_subscribed:
            self.queued.add(payload)
        if qos == 2:
            await self._do(teller, pubrel(number), 0x70, number)

    async def _recover(self) -> None:
        """The disk works again: soon everything must be acknowledged as ever."""
        began = time.monotonic()
        teller = Guest(self._port, "teller", clean=False)
        payload = prove("home/late/note", 100 * self._round + 99)
        while time.monotonic() - began < PATIENCE_S:
            with suppress(Gone, ConnectionError, TimeoutError):
                await teller.ask(publish("home/late/note", payload, 1, 99, retain=True), 0x40, 99)
                self.retained["home/late/note"] = payload
                break
            await teller.leave()
        else:
            self.fault("no recovery", self._service.status()["store"]["trouble"])
        await teller.leave()
        while self._service.status()["store"]["trouble"] and time.monotonic() - began < PATIENCE_S:  # noqa: ASYNC110 as any client
            await asyncio.sleep(0.005)
        if trouble := self._service.status()["store"]["trouble"]:
            self.fault("no recovery", trouble)
        self.slowest_recovery_s = max(self.slowest_recovery_s, time.monotonic() - began)

    async def _crash(self) -> None:
        """Look at the files as kill -9 would leave them now, while the disk still fails."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()
        copies = [self.data / f"{NAME}{more}" for more in ("", "-wal", ".lock")]
        there = [path for path in copies if path.exists()]
        # By another process, whose operations are not counted.
        await asyncio.to_thread(subprocess.run, ["cp", *there, self.copy], env={"PATH": os.defpath}, check=True)
        await asyncio.to_thread(self._check, self.copy / NAME, "in a crash")

    def _check(self, path: Path, when: str) -> None:
        """Hold what is in the files to what was acknowledged."""
        ledger = open_home(path)
        try:
            image = ledger.load(time.monotonic())
            if ledger.damaged:
                self.fault("damaged files", when)
        finally:
            ledger.close()
        for topic, payload in self.retained.items():
            message = image.retained.get(topic)
            if message is None or message.payload != payload:
                self.fault("acknowledged and lost", f"{when}: {topic}")
        image.settle()
        sessions = {session.client_id: session for session in image.sessions.values()}
        session = sessions.get(AWAY)
        if session is None:
            if self.is_subscribed:
                self.fault("acknowledged and lost", f"{when}: the session")
            return
        waiting = Counter(delivery.message.payload for delivery in session.deliveries if delivery.message is not None)
        for payload in self.queued:
            if not waiting[payload]:
                self.fault("acknowledged and lost", f"{when}: {payload[:40]!r} of {len(self.queued)}")
        for payload, count in waiting.items():
            if not is_proved("away/note", payload):
                self.fault("payloads that nobody sent", f"{when}: {payload[:40]!r}")
            if count > 1 and int(payload.split()[1]) % 100 > 20:
                self.fault("QoS 2 duplicates", f"{when}: {payload[:40]!r} {count} times")


class Tracebacks(logging.Handler):
    """Counts what no owner should have to read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep those that come with a traceback."""
        if record.exc_info:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


def main(argv: list[str]) -> int:
    """Fail each operation in turn. Given are a directory, the orders' file, and errors: an errno, with ! for sticky.

    With "turns" before the errors one operation fails in one of these ways, the next in the next.
    """
    scratch, orders, plan = Path(argv[0]), Orders(Path(argv[1])), argv[2:]
    if planted := plan[0] == "planted":
        plan = plan[1:]
    if in_turns := plan[0] == "turns":
        plan = plan[1:]
    Writer.__init__.__kwdefaults__["retry_s"] = RETRY_S
    if planted:
        write = SqliteLedger.write
        SqliteLedger.write = lambda *arguments: (time.sleep(LATE_S), write(*arguments))[1]
    log = logging.getLogger("appliance")
    log.propagate = False
    tracebacks = Tracebacks()
    log.addHandler(tracebacks)
    visit = Visit(scratch, orders, Counter(), {}, waits=not planted)
    runs = 0
    began = time.monotonic()

    async def everything() -> None:
        nonlocal runs
        await visit.run(0, 0, sticky=False)  # nothing fails: a home that is there already
        visit.data.rename(visit.template)
        left = dict.fromkeys(plan, True)
        at = 0
        while any(left.values()) and not (planted and visit.faults):  # the first fault is enough of a planted one
            at += 1
            for place, what in enumerate(plan):
                if left[what] and not (in_turns and at % len(plan) != place):
                    left[what] = await visit.run(at, int(what.rstrip("!")), sticky=what.endswith("!"))
                    runs += 1

    asyncio.run(everything())
    for found in tracebacks.found:
        visit.faults["tracebacks"] += 1
        visit.examples.setdefault("tracebacks", found)
    told = {
        "runs": runs, "alarms": visit.alarms, "refused_starts": visit.refused_starts, "faults": visit.faults,
        "examples": visit.examples, "slowest_alarm_s": visit.slowest_alarm_s,
        "slowest_recovery_s": visit.slowest_recovery_s, "seconds": time.monotonic() - began,
    }  # fmt: skip
    print(json.dumps(told))
    orders.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
