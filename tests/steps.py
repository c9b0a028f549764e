"""The broker's steps, counted or broken: lines of its own source that run, whatever the machine's speed.

A compiled build has no lines, so this runs as a process of its own that imports the source files and nothing else:
`python -m tests.steps growth`, `... memory` and `... opening` print what they found as JSON.
"""

import json
import linecache
import logging
import re
import sys
import tempfile
from contextlib import suppress
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = str(ROOT / "appliance")


def _source_only(path):
    if not path.startswith(PACKAGE):
        raise ImportError
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


CORE = (f"{PACKAGE}/mqtt/", f"{PACKAGE}/broker/")
STORE = (f"{PACKAGE}/store/",)
FRUGAL = re.compile(r"\s*(try:|return \w+)$")  # what wants no memory


class Steps:
    """Counts the lines of these parts that run; with `fail_at`, the line of that number finds no memory.

    Lines that are `passed_over` are not counted.
    """

    def __init__(self, fail_at=0, parts=CORE, passed_over=None):
        self.count = 0
        self.failed = ""
        self._fail_at = fail_at
        self._parts = parts
        self._passed_over = passed_over

    def __enter__(self):
        sys.settrace(self._call)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _call(self, frame, _event, _argument):
        return self._line if frame.f_code.co_filename.startswith(self._parts) else None

    def _line(self, frame, event, _argument):
        if event == "line" and not self._is_passed_over(frame):
            self.count += 1
            if self.count == self._fail_at:
                self.failed = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                sys.settrace(None)
                raise MemoryError
        return self._line

    def _is_passed_over(self, frame):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno) if self._passed_over else ""
        return bool(line) and self._passed_over.match(line) is not None


# --- how the work grows ---


def growth():
    """Give (size, steps) for each thing whose work must grow no faster than its size."""
    from virtual import VirtualServer

    from appliance.broker.retained import RetainedStore
    from appliance.broker.topictree import Grant, TopicTree
    from appliance.mqtt.errors import MqttError
    from appliance.mqtt.topics import check_topic_filter, check_topic_name, matches

    def steps(call):
        with Steps() as counted:
            call()
        return counted.count

    def nested(levels):
        """Every depth has a reader of its own: `a/#`, `a/a/#` ..."""
        tree = TopicTree()
        for depth in range(1, levels):
            tree.subscribe("a/" * depth + "#", depth, Grant(0))
        return lambda: list(tree.match("a/" * levels + "x"))

    def forked(filters):
        """All ways to write ten levels with `+` and `a`, many times: nodes are visited, not ways."""
        tree = TopicTree()
        for number in range(filters):
            levels = ["+" if number >> i & 1 else "a" for i in range(10)]
            tree.subscribe("/".join([*levels, *"b" * 40, str(number)]), number, Grant(0))
        return lambda: list(tree.match("a/" * 10 + "b/" * 40 + "x"))

    def kept(topics):
        """Wildcards at every level against retained topics."""
        store = RetainedStore(1_000_000, 1_000_000_000)
        server = VirtualServer()
        keeper = server.client("keeper")
        seen = []
        server.broker.router.retained.put = lambda message, _now, _username: seen.append(message) or True
        for number in range(topics):
            keeper.publish(f"k/{number % 10}/{number // 10 % 10}/{number}", b"1", retain=True)
        for message in seen:
            store.put(message, 0.0)
        return lambda: store.topics("+/+/+/+") and store.topics("k/+/5/+")

    def quietly(check, text):
        def call():
            with suppress(MqttError):
                check(text)

        return call

    sizes = (1_000, 2_000, 4_000)
    return {
        "c27 a filter of so many levels": [
            (n, steps(quietly(lambda t: check_topic_filter(t, 70_000), "+/" * n + "x"))) for n in sizes
        ],
        "c27 a name of so many levels": [
            (n, steps(quietly(lambda t: check_topic_name(t, 70_000), "/" * n))) for n in sizes
        ],
        "c27 a topic that so many readers' filters nest around": [(n, steps(nested(n))) for n in sizes],
        "c28 wildcards against so many retained topics": [(n, steps(kept(n))) for n in sizes],
        "c29 so many filters that share their beginnings": [(n, steps(forked(n))) for n in sizes],
        "c29 a filter of so many wildcards against a name": [
            (n, steps(lambda n=n: matches("+/" * n + "x", "a/" * n + "y"))) for n in sizes
        ],
    }


# --- memory that is not there ---


def memory():
    """Have every step of a conversation find no memory once; give how many, and what went wrong for others."""
    from raw import connect, publish, pubrel, subscribe
    from virtual import VirtualServer

    def scene():
        server = VirtualServer()
        honest = server.client("honest").subscribe("honest/#", 1).subscribe("shared/#", 0)
        honest.subscribe("news/#", 1).packets()
        attacker = server.link()
        return server, honest, attacker

    conversation = (
        connect("attacker", clean=False, keep_alive=10, will=("shared/will", b"gone", 1, True)),
        subscribe("shared/#", "own/+", qos=2),
        publish("shared/live", b"1"),
        publish("shared/kept", b"1", 1, 5, retain=True),
        publish("news/x", b"1", 1, 7),
        publish("own/x", b"1", 2, 6) + pubrel(6),
    )
    wrong, number = [], 0
    while True:
        number += 1
        server, honest, attacker = scene()
        broker = server.broker
        with Steps(number) as steps:
            try:
                for packet in conversation:
                    broker.received(attacker.connection, packet, server.now)
                    sys.settrace(None)
                    server.settle()
                    sys.settrace(steps._call)
            except MemoryError:
                pass
        sys.settrace(None)
        if not steps.failed:
            return {"steps": number - 1, "wrong": wrong}
        try:
            attacker.lose()  # what the edge does with a link whose packet met an error of ours
            server.settle()
            honest.packets()
            other = server.client("other")
            other.publish("honest/x", b"21.4", 1)
            other.publish("shared/x", b"21.5")
            came = [(packet.topic, packet.payload) for packet in honest.packets()]
            if came != [("honest/x", b"21.4"), ("shared/x", b"21.5")]:
                wrong.append((steps.failed, f"the honest client got {came}"))
            again = server.client("attacker")
            again.subscribe("own/+", 1).publish("own/x", b"2", 1)
            kinds = [type(packet).__name__ for packet in again.packets()]
            if sorted(kinds) != ["PubAck", "Publish", "SubAck"]:
                wrong.append((steps.failed, f"the client that came back got {kinds}"))
            again.lose()
            server.advance(700_000)
            if set(broker.sessions) != {"honest", "other"}:
                wrong.append((steps.failed, f"sessions of {sorted(broker.sessions)} are left"))
        except Exception as error:  # noqa: BLE001 whatever it is, it is what went wrong
            wrong.append((steps.failed, repr(error)))


def opening():
    """Have every step of opening the database find no memory once, until it stays closed; give how many did."""
    from appliance.store.database import StoreError
    from appliance.store.opening import open_ledger

    logging.disable()
    held, number = [], 0
    with tempfile.TemporaryDirectory() as scratch:

        def opened():
            return open_ledger(Path(scratch, "appliance.db"), site="home", max_series=9)

        opened().close()
        while True:
            number += 1
            with Steps(number, STORE, FRUGAL) as steps:
                try:
                    ledger = opened()
                except MemoryError as error:  # whoever logs it holds on to every frame
                    held.append(error)
                    ledger = None
            if ledger is not None:
                ledger.close()
            if not steps.failed:
                return {"steps": number - 1, "wrong": []}
            try:
                opened().close()
            except StoreError as error:
                return {"steps": number, "wrong": [steps.failed, str(error)]}


if __name__ == "__main__":
    sys.path_hooks.insert(0, _source_only)
    sys.path_importer_cache.clear()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    print(json.dumps({"growth": growth, "memory": memory, "opening": opening}[sys.argv[1]]()))
