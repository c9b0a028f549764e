"""P13: rights that are taken away while messages cross in every way there is; and when the last one crossed.

Each way is tried again and again, from before the change to well after it. A trial has a moment at which it began and
a number that crossed or did not; the service answers when it has applied the change, and nothing that begins later may
cross. `--planted` runs a service that takes the new accounts for those who come and forgets those who are there.
"""

import base64
import contextlib
import json
import os
import select
import socket
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as websocket

from appliance.auth.managed import Account, serialize
from appliance.auth.passwords import hashed
from appliance.control import ControlClient
from tests import raw5
from tests.benchmarks.brokers import BrokerProcess
from tests.promises.finding import Finding
from tests.raw import Raw, frame

CONFIG = """\
[web]
port = 0

[mdns]
enabled = false

[accounts]
managed_file = "accounts.json"

[[listener]]
serve = "web"
address = "0.0.0.0"
port = {web}
plain = true

[store]
budget_mb_per_day = 1_000_000

[limits]
max_connections_per_address = 1000
max_keep_alive_s = 0
"""
FORGETFUL = """\
import sys
from appliance.broker.revoking import Revoking
from appliance.features.web.login import Login
Revoking.reauthorize = Login.forget = lambda *_, **__: None
from appliance.cli import main
sys.exit(main(sys.argv[1:]))
"""
SECRET = "a secret of everybody's"
BEFORE_S, AFTER_S = 0.3, 0.7  # of trying, before the change and after the answer, at least
PATIENCE_S = 20.0  # on a busy machine, until something has crossed before and each way was tried after
EACH_S = 0.004  # between two trials of one way
MOST = 400  # of them; what each needs is made ready beforehand
KEPT_BACK = 4  # of so many one is for after the answer, however long that takes
SHOWN = "home/hall/temperature"
KEPT = raw5.session_expiry(600)


class Link(Raw):
    """A client from an address of its own, so that nobody waits for another's wrong passwords."""

    def __init__(self, port: int, address: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10.0, source_address=(address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def login(self, user: str, client_id: str, **fields) -> bool:
        """Tell whether it was let in."""
        self.send(raw5.connect(client_id, username=user, password=SECRET, **fields))
        packet = self.packet()
        return packet is not None and packet[0] == raw5.ACCEPTED and packet[3] == 0

    def arrived(self, seconds: float) -> list[bytes]:
        """Give what comes within so long."""
        found: list[bytes] = []
        until = time.monotonic() + seconds
        while self.buffered() or select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                packet = self.packet()
            except TimeoutError:
                break
            if packet is None:
                break
            found.append(packet)
        return found


class Moments:
    """What the threads wait for."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.enough = threading.Event()

    def over(self) -> None:
        """Let nobody wait any longer."""
        self.enough.set()
        self.answered.set()


class Way:
    """One way of a message, tried in a thread of its own."""

    address = "127.0.0.1"
    most, each_s = MOST, EACH_S
    hearer: Link | None = None  # where it arrives

    def __init__(self, port: int, web: int) -> None:
        self.port, self.web = port, web
        self.began: dict[int, float] = {}  # by trial
        self.newest = 0.0  # of these
        self.crossed: set[int] = set()
        self.links: list[Link] = []

    def link(self, user: str, client_id: str, **fields) -> Link:
        """Connect; OSError where it is not let in."""
        link = Link(self.port, self.address)
        self.links.append(link)
        if not link.login(user, f"{type(self).__name__} {client_id}", **fields):
            raise ConnectionError("not let in")
        return link

    def reader(self, user: str, client_id: str, topic_filter: str, options: int = 0, **fields) -> Link:
        """Connect and subscribe."""
        link = self.link(user, client_id, **fields)
        link.send(raw5.subscribe(topic_filter, options=options))
        while (packet := link.packet()) is not None and packet[0] != 0x90:
            pass
        return link

    def prepare(self) -> None:
        """Make everything ready, before anything changes."""

    def attempt(self, number: int) -> None:
        """Try once."""

    def collect(self) -> None:
        """Find out what crossed, at the end."""

    def has_crossed(self) -> bool:
        """Tell whether something has, or is there to be collected."""
        if self.crossed or self.hearer is None:
            return bool(self.crossed)
        return bool(select.select([self.hearer.socket], [], [], 0)[0])

    def run(self, moments: Moments) -> None:
        """Try until it is enough."""
        for number in range(self.most):
            if number == self.most - self.most // KEPT_BACK:
                moments.answered.wait()
            if moments.enough.is_set():
                break
            self.began[number] = self.newest = time.monotonic()
            with contextlib.suppress(OSError, WebSocketException):
                self.attempt(number)
            time.sleep(max(0.0, self.began[number] + self.each_s - time.monotonic()))

    def note(self, packets: list[bytes]) -> None:
        """Note the numbers that messages hold."""
        self.crossed.update(int(one[one.rindex(b"#") + 1 :]) for one in packets if one[0] >> 4 == 3 and b"#" in one)


class Read(Way):
    """Live messages that the client reads."""

    address = "127.0.13.1"
    topic = "home/x/read"

    def prepare(self) -> None:
        self.teller = self.link("ann", "read by")
        self.hearer = self.reader("esp", "reads", self.topic)

    def attempt(self, number: int) -> None:
        self.teller.send(raw5.publish(self.topic, b"#%d" % number))

    def collect(self) -> None:
        self.note(self.hearer.arrived(0.3))


class Written(Read):
    """Live messages that the client publishes."""

    address = "127.0.13.2"
    topic = "home/x/written"

    def prepare(self) -> None:
        self.teller = self.link("esp", "writes")
        self.hearer = self.reader("ann", "written to", self.topic)


class Exactly(Read):
    """Messages of QoS 2 that the client begins, each in an exchange of its own that is ended much later."""

    address = "127.0.13.3"

    def prepare(self) -> None:
        self.teller = self.link("esp", "begins")
        self.hearer = self.reader("ann", "hears it", "home/x/exactly", options=2)

    def attempt(self, number: int) -> None:
        packet = raw5.publish("home/x/exactly", b"#%d" % number, 2, number % 90 + 1)
        self.teller.send(frame(0x62, (number % 90 + 1).to_bytes(2, "big")), packet)
        for came in self.hearer.arrived(0):
            if came[0] >> 4 == 3:
                self.note([came])
                at = 4 + int.from_bytes(came[2:4], "big")
                self.hearer.send(frame(0x50, came[at : at + 2]))
            elif came[0] >> 4 == 6:
                self.hearer.send(frame(0x70, came[2:4]))


class Queued(Way):
    """What waits for clients that are away: each trial is one that comes back."""

    address = "127.0.13.4"
    most, each_s = 70, 3 * EACH_S

    def prepare(self) -> None:
        for number in range(self.most):
            link = self.reader("esp", f"away {number}", f"home/x/away{number}", options=1, clean=False, properties=KEPT)
            self.before(link, number)
            link.close()
        teller = self.link("ann", "to the absent")
        for number in range(self.most):
            teller.send(raw5.publish(f"home/x/away{number}", b"#%d" % number, 1, number + 1))
            teller.packet()

    def before(self, link: Link, number: int) -> None:
        """Have something done while it is here."""

    def attempt(self, number: int) -> None:
        self.note(self.link("esp", f"away {number}", clean=False, properties=KEPT).arrived(0.01))

    def run(self, moments: Moments) -> None:
        time.sleep(BEFORE_S / 2)  # there are few of them
        super().run(moments)


class Begun(Queued):
    """What was sent and never answered: it is sent again to a client that comes back."""

    address = "127.0.13.5"
    most, each_s = 50, 4 * EACH_S

    def prepare(self) -> None:
        teller = self.link("ann", "begins")
        for number in range(self.most):
            link = self.reader("esp", f"away {number}", f"home/x/open{number}", options=2, clean=False, properties=KEPT)
            teller.send(raw5.publish(f"home/x/open{number}", b"#%d" % number, 1, number + 1))
            teller.packet()
            link.packet()
            link.close()


class Kept(Way):
    """Retained messages: each trial is a subscription."""

    address = "127.0.13.6"

    def prepare(self) -> None:
        self.hearer = self.link("esp", "asks")
        teller = self.link("ann", "keeps")
        for number in range(MOST):
            teller.send(raw5.publish(f"home/x/kept{number}", b"#%d" % number, retain=True))

    def attempt(self, number: int) -> None:
        self.hearer.send(raw5.subscribe(f"home/x/kept{number}"))

    def collect(self) -> None:
        self.note(self.hearer.arrived(0.3))


class Left(Way):
    """Retained messages that the client has left behind, for another who comes and asks."""

    address = "127.0.13.7"

    def prepare(self) -> None:
        teller = self.link("esp", "leaves")
        for number in range(MOST):
            teller.send(raw5.publish(f"home/x/left{number}", b"#%d" % number, retain=True))
        self.hearer = self.link("ann", "comes late")

    def attempt(self, number: int) -> None:
        self.hearer.send(raw5.subscribe(f"home/x/left{number}"))

    def collect(self) -> None:
        self.note(self.hearer.arrived(0.3))


class Willed(Way):
    """Wills: each trial is a client that is lost."""

    address = "127.0.13.8"
    most, each_s = 70, 3 * EACH_S

    def prepare(self) -> None:
        self.hearer = self.reader("ann", "hears wills", "home/x/will")
        self.mortal = [
            self.link("esp", f"mortal {number}", will=("home/x/will", b"#%d" % number, 0, 0))
            for number in range(self.most)
        ]

    def attempt(self, number: int) -> None:
        self.mortal[number].reset()

    def run(self, moments: Moments) -> None:
        time.sleep(BEFORE_S / 2)
        super().run(moments)

    def collect(self) -> None:
        self.note(self.hearer.arrived(0.3))


class Shown(Way):
    """Live values on an open page."""

    address = "127.0.13.9"

    def prepare(self) -> None:
        said = base64.b64encode(f"viewer:{SECRET}".encode()).decode()
        url = f"ws://127.0.0.1:{self.web}/api/live"
        self.page = websocket(url, additional_headers={"Authorization": f"Basic {said}"}, proxy=None)
        self.page.recv(timeout=10)
        self.teller = self.link("ann", "shown")
        self.frames: list[str] = []
        threading.Thread(target=self.look, daemon=True).start()

    def look(self) -> None:
        """Take the frames as they come."""
        with contextlib.suppress(WebSocketException):
            for shown in self.page:
                self.frames.append(str(shown))

    def attempt(self, number: int) -> None:
        self.teller.send(raw5.publish(SHOWN, b"%d" % number))
        time.sleep(0.02)

    def has_crossed(self) -> bool:
        return bool(self.frames)

    def collect(self) -> None:
        time.sleep(0.6)
        self.page.close()
        values = [one for frame in self.frames for one in json.loads(frame).get("values", ())]
        self.crossed = {int(float(one["value"])) for one in values if one["topic"] == SHOWN}


WAYS: dict[str, Callable[[int, int], Way]] = {
    "live, read": Read,
    "live, published": Written,
    "QoS 2 that is pending": Exactly,
    "queued": Queued,
    "begun and not answered": Begun,
    "retained, read": Kept,
    "retained, left behind": Left,
    "wills": Willed,
    "open page": Shown,
}


def free_ports() -> tuple[int, int]:
    """Give two that nobody holds at the moment."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("", 0))  # one of them is opened on every address, from all of which others call
        return one.getsockname()[1], other.getsockname()[1]


class House(BrokerProcess):
    """The service, and the file of its accounts."""

    def __init__(self, scratch: Path, *, planted: bool) -> None:
        self.scratch = scratch
        port, self.web = free_ports()
        self._hash = hashed(SECRET.encode())
        self.grant(everything=True)
        (scratch / "appliance.toml").write_text(CONFIG.format(web=self.web))
        run = ["-c", FORGETFUL] if planted else ["-m", "appliance"]
        more = ["run", "--config", str(scratch / "appliance.toml"), "--data", str(scratch / "data")]
        command = [sys.executable, *run, *more, "--mqtt-port", str(port)]
        super().__init__("appliance", command, port, scratch, dict(os.environ))

    def grant(self, *, everything: bool, gone: bool = False) -> None:
        """Write the file: esp may do everything with home/x, or nothing any more, or is gone."""
        accounts = {"ann": Account(password=self._hash, role="admin")}
        if not gone:
            topics = ("home/x/+",) if everything else ()
            accounts["esp"] = Account(password=self._hash, role="device", publish=topics, subscribe=topics)
        if everything:
            accounts["viewer"] = Account(password=self._hash, role="reader")
        beside = self.scratch / "accounts.new"
        beside.write_text(serialize(accounts))
        beside.replace(self.scratch / "accounts.json")

    def reload(self) -> None:
        """Have the file read again; when it answers, it is in force."""
        told = ControlClient(self.scratch / "data" / "control.sock").post("/api/reload", {})
        assert isinstance(told, dict)
        if told["problems"]:
            raise AssertionError(str(told["problems"]))


def patiently(done: Callable[[], bool]) -> None:
    """Wait until it is so; where it never is, the findings tell."""
    until = time.monotonic() + PATIENCE_S
    while not done() and time.monotonic() < until:
        time.sleep(0.01)


def live(house: House, *, gone: bool) -> list[Finding]:
    """Try all ways at once while the rights go."""
    ways = {name: make(house.port, house.web) for name, make in WAYS.items()}
    moments = Moments()
    try:
        for way in ways.values():
            way.prepare()
        threads = [threading.Thread(target=way.run, args=(moments,)) for way in ways.values()]
        for thread in threads:
            thread.start()
        time.sleep(BEFORE_S)
        patiently(lambda: all(way.has_crossed() for way in ways.values()))
        changed = time.monotonic()
        house.grant(everything=False, gone=gone)
        house.reload()
        answered = time.monotonic()
        moments.answered.set()
        time.sleep(AFTER_S)
        patiently(lambda: all(way.newest > answered for way in ways.values()))
        moments.enough.set()
        for thread in threads:
            thread.join()
        for way in ways.values():
            with contextlib.suppress(OSError):
                way.collect()
    finally:
        moments.over()
        for way in ways.values():
            for link in way.links:
                link.close()
    title = "account gone" if gone else "rights gone"
    findings = []
    before = after = 0
    for name, way in ways.items():
        crossed = {number: at for number, at in way.began.items() if number in way.crossed}
        last = max((at for at in crossed.values() if at > changed), default=changed)
        before += any(at < changed for at in crossed.values())
        after += any(at > answered for at in way.began.values())
        findings += [
            Finding(f"{title}: {name}, last after", (last - changed) * 1e3, "ms", most=1_000, timed=True),
            Finding(f"{title}: {name}, after the answer", sum(at > answered for at in crossed.values()), most=0),
        ]
    return [
        Finding(f"{title}: until it was answered", (answered - changed) * 1e3, "ms", most=1_000, timed=True),
        *findings,
        Finding(f"{title}: ways in which messages crossed before", before, least=len(ways)),
        Finding(f"{title}: ways that were tried afterwards", after, least=len(ways)),
    ]


def run(options: Namespace) -> list[Finding]:
    """Hold the service to P13."""
    findings = []
    for gone in (False, True):
        with tempfile.TemporaryDirectory(prefix="promise-") as directory:
            house = House(Path(directory), planted=options.planted)
            try:
                findings += live(house, gone=gone)
                findings.append(
                    Finding("errors of the service's own", house.log.read_text().count("Traceback"), most=0)
                )
            finally:
                house.stop()
    return findings
