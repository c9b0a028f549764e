"""How much room a reading takes and how long a topic's day takes: `python -m tests.benchmarks.history`.

Two hundred topics of twenty agents speak every 30 s; an agent is away now and then and sends what it measured
meanwhile as its backlog. Rows are placed, staged and moved as the service does, once an hour; those that are still
staged when questions are asked went through the service's own ledger, whole messages as they are.
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.clock import SYNCED, rfc3339
from appliance.mqtt.wire import Writer
from appliance.store.database import Database
from appliance.store.epochs import load_clock, save_epochs
from appliance.store.group import Group
from appliance.store.history import History
from appliance.store.history_reader import HistoryReader
from appliance.store.opening import open_ledger
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.travel import held_at

RECORD, RETAINED = int(RouteFlag.RECORD), int(RouteFlag.RETAINED)
STAGE = "INSERT INTO journal (kind, series_id, tick, value, seq, late_ms, stretch_id) VALUES (0, ?, ?, ?, ?, ?, ?)"
AT = 1_790_000_000
INTERVAL_S = 30
AGENTS = 20
KINDS = (  # name, middle, width, decimals
    ("kitchen/temperature", 20, 8, 1),
    ("kitchen/humidity", 50, 20, 1),
    ("bath/temperature", 22, 6, 1),
    ("bath/humidity", 60, 30, 1),
    ("garden/temperature", 9, 20, 1),
    ("cellar/temperature", 14, 3, 2),
    ("hall/door", 0.5, 0.5, 0),
    ("hall/motion", 0.5, 0.5, 0),
    ("office/co2", 800, 350, 0),
    ("meter/power", 300, 280, 1),
)
TOPICS = AGENTS * len(KINDS)
AWAY_ROUNDS = 60  # an agent that loses its link is away for half an hour
BACKLOG_ENTRIES = 200


class Home:
    """Agents that measure, and the history that takes it."""

    def __init__(self, path: Path, *, page_size: int, move_rows: int, backlog: float) -> None:
        raw = sqlite3.connect(path)
        raw.execute(f"PRAGMA page_size = {page_size}")
        raw.execute("VACUUM")
        raw.close()
        self.path = path
        self.page_size = page_size
        self.move_rows = move_rows
        self.random = random.Random(1)
        self.away_chance = backlog / AWAY_ROUNDS
        self.away = [0] * AGENTS  # rounds that are left
        self.kept: list[list[dict]] = [[] for _ in range(AGENTS)]
        self.seqs = [0] * AGENTS
        self.round = self.rows = self.staged = self.late_rows = 0
        self.moved_rows = self.moved_bytes = 0
        self.step_s: list[float] = []
        self.database = Database.open(path)
        self.ask = self.database.connection.execute
        self.ask("PRAGMA synchronous = OFF")
        self.ask("PRAGMA wal_autocheckpoint = 0")
        with self.database.transaction():
            clock = load_clock(self.database.connection, boot="benchmark", quality=lambda: SYNCED)
            clock.begin(0.0, AT)
            save_epochs(self.database.connection, clock)
            self.history = History(self.database.connection, clock, site="home", max_series=TOPICS)

    def run(self, rows: int) -> None:
        """Measure, stage and move until there are so many rows."""
        while self.rows < rows:
            self.measure()
            if self.staged >= self.move_rows:
                self.move()

    def stage(self, rows: int) -> SqliteLedger:
        """Measure on without moving, into the ledger that is given back."""
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")
        self.database.close()
        now = (self.round + 1) * INTERVAL_S - 1.0
        ledger = open_ledger(
            self.path,
            site="home",
            max_series=TOPICS,
            boot="benchmark",
            quality=lambda: SYNCED,
            clock=lambda: now,
            wall_clock=lambda: AT + now,
        )
        ledger.load(now)
        ends = self.rows + rows
        while self.rows < ends:
            group = self.group()
            ledger.write(group)
            self.rows += len(group.entries)
        return ledger

    def measure(self) -> None:
        """One round of all agents, written as one group."""
        group = self.group()
        with self.database.transaction():
            placed = [row for entry in group.entries for row in self.history.place(entry, group)]
            self.database.connection.executemany(STAGE, placed)
        self.rows += len(placed)
        self.staged += len(placed)

    def group(self) -> Group:
        """One round of all agents."""
        self.round += 1
        group = Group(self.round, run=1)
        for agent in range(AGENTS):
            begin = self.round * INTERVAL_S + agent
            if not self.away[agent] and self.random.random() < self.away_chance:
                self.away[agent] = AWAY_ROUNDS
            readings = [self.reading(agent, begin + place * 0.1, *kind) for place, kind in enumerate(KINDS)]
            if self.away[agent]:
                self.away[agent] -= 1
                self.kept[agent] += readings
                continue
            kept = self.kept[agent]
            for start in range(0, len(kept), BACKLOG_ENTRIES):
                entries = json.dumps(kept[start : start + BACKLOG_ENTRIES]).encode()
                group.entries.append((backlog(agent, entries), RECORD, begin, None))
            self.late_rows += len(kept)
            kept.clear()
            for place, one in enumerate(readings):
                now = begin + place * 0.1 + self.random.uniform(0.005, 0.2)
                group.entries.append((live(agent, one), RECORD | RETAINED, now, None))
        group.now = self.round * INTERVAL_S + AGENTS + 1.5
        group.at = group.now + AT
        return group

    def reading(self, agent: int, now: float, kind: str, middle: float, width: float, decimals: int) -> dict:
        """One reading as an agent keeps it."""
        self.seqs[agent] += 1
        return {
            "topic": f"home/house{agent}/{kind}",
            "value": round(middle + self.random.uniform(-width, width), decimals),
            "time": rfc3339(AT + now),
            "seq": self.seqs[agent],
            "quality": "ok",
            "clock": SYNCED,
        }

    def move(self) -> None:
        """Bring all that is staged over, and count what that writes: the log, then the file."""
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")
        before = written_bytes()
        (cut_id,) = self.ask("SELECT max(id) FROM journal").fetchone()
        more = True
        while more:
            begun = time.perf_counter()
            with self.database.transaction():
                more = self.history.move(cut_id)
            self.step_s.append(time.perf_counter() - begun)
        with self.database.transaction():
            self.ask("DELETE FROM journal WHERE id <= ?", (self.history.cut_id,))
            self.history.deleted()
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")
        self.moved_bytes += written_bytes() - before
        self.moved_rows += self.staged
        self.staged = 0

    def bytes_per_row(self) -> tuple[float, float]:
        """Bytes of the file a row, all in; and of the table alone where SQLite can tell."""
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = self.ask("PRAGMA page_count").fetchone()[0] - self.ask("PRAGMA freelist_count").fetchone()[0]
        try:
            (table,) = self.ask("SELECT sum(pgsize) FROM dbstat WHERE name = 'readings'").fetchone()
        except sqlite3.OperationalError:
            table = 0
        return pages * self.page_size / self.rows, table / self.rows


def live(agent: int, one: dict) -> Message:
    """Give a reading as it is sent in its time."""
    writer = Writer()
    told = {"agent": f"agent{agent}", "run": "0123456789abcdef", "seq": str(one["seq"])}
    for pair in (*told.items(), ("time", one["time"]), ("quality", one["quality"]), ("clock", one["clock"])):
        writer.byte(0x26)
        writer.pair(pair)
    return Message(one["topic"], str(one["value"]).encode(), qos=1, retain=True, properties=bytes(writer.buffer))


def backlog(agent: int, entries: bytes) -> Message:
    """Give what an agent could not send in its time."""
    writer = Writer()
    writer.byte(0x26)
    writer.pair(("run", "0123456789abcdef"))
    return Message(f"home/devices/agent{agent}/backlog", entries, qos=1, properties=bytes(writer.buffer))


def written_bytes() -> int:
    """Bytes that this process has written so far, the log and the file."""
    found = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(found["wchar"])


def days(reader: HistoryReader, until: float) -> dict[str, float]:
    """Median ms of twenty topics' last day, asked for once before."""
    topics = [series.topic for series in reader.topics()][:: TOPICS // 20]
    since = until - 86_400
    questions = {
        "rows": lambda topic: reader.rows(topic, since, until),
        "chart": lambda topic: reader.chart(topic, since, until, 500),
    }
    found = {}
    for name, question in questions.items():
        took = []
        for topic in topics:
            question(topic)
            best = []
            for _ in range(3):
                begun = time.perf_counter()
                question(topic)
                best.append(time.perf_counter() - begun)
            took.append(min(best) * 1000)
        found[name] = statistics.median(took)
    begun = time.perf_counter()
    held_at(reader.path, ["#"], until - 43_200)
    found["all topics at a moment"] = (time.perf_counter() - begun) * 1000
    return found


def main(argv: list[str]) -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.history", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="readings (10000000)")
    parser.add_argument(
        "--staged", type=int, default=5_000, help="of them still staged when questions are asked (5000)"
    )
    parser.add_argument("--move-rows", type=int, default=24_000, help="staged before they are moved, an hour's (24000)")
    parser.add_argument("--backlog", type=float, default=0.05, help="share that arrives late (0.05)")
    parser.add_argument("--page-size", type=int, default=1024, choices=[1024, 2048, 4096], help="of a new file (1024)")
    parser.add_argument("--directory", type=Path, help="where to make the file (a temporary directory)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        home = Home(
            Path(directory) / "appliance.db",
            page_size=options.page_size,
            move_rows=options.move_rows,
            backlog=options.backlog,
        )
        begun = time.perf_counter()
        home.run(options.rows - options.staged)
        if home.staged:
            home.move()
        took_s = time.perf_counter() - begun
        file_bytes, table_bytes = home.bytes_per_row()
        ledger = home.stage(options.staged)
        reader = HistoryReader(home.path, keeps=True)
        asked = days(reader, home.round * INTERVAL_S + AT)
        reader.close()
        ledger._database.close()
    print(
        f"{home.rows:,} readings of {TOPICS} topics, {home.late_rows / home.rows:.1%} of them late, pages of "
        f"{options.page_size} bytes, placed, staged and moved in {took_s:.0f} s"
    )
    print(f"  {file_bytes:.1f} bytes a reading on disk, {table_bytes:.1f} of them in the table")
    print(f"  {home.moved_bytes / home.moved_rows:.1f} MB written per million readings by moves")
    print(
        f"  steps of a move: median {statistics.median(home.step_s) * 1000:.1f} ms, "
        f"longest {max(home.step_s) * 1000:.1f} ms"
    )
    for name, ms in asked.items():
        print(f"  {name}: {ms:.2f} ms, {options.staged:,} rows staged")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
