"""Damaged data directories, made from a good one: cut off, flipped, zeroed, swapped, taken away, foreign."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appliance.store.database import PAGE_BYTES
from appliance.store.sealed import GAPS, TABLES
from tests.storage.home import NAME

LOG = f"{NAME}-wal"
LOCK = f"{NAME}.lock"
SECTOR = 512
LOG_HEAD, FRAME_HEAD = 32, 24


@dataclass(frozen=True)
class Case:
    """One damage. `contents`: what is then in the files, None for one that is gone."""

    kind: str
    contents: dict[str, bytes | None]

    def make(self, good: Path, directory: Path) -> None:
        """Copy the good files and damage them."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name in (NAME, LOG, LOCK):
            content = self.contents.get(name, (good / name).read_bytes())
            if content is not None:
                (directory / name).write_bytes(content)


def cases(good: Path, other: Path, earlier: Path, seed: int = 1) -> Iterator[Case]:
    """Give damages without end: each cut once, and in between the others at random.

    `other` is another home, `earlier` this one some time before.
    """
    dice = random.Random(seed)
    files = {name: (good / name).read_bytes() for name in (NAME, LOG)}
    cuts = [(name, at) for name, data in files.items() for at in range(0, len(data), SECTOR)]
    dice.shuffle(cuts)
    rare = _rare(files, other, earlier)
    pages = _small_pages(good, files[LOG])
    indexes = _small_pages(good, files[LOG], "index")
    while True:
        for case in rare:
            yield case
            for _ in range(7):
                if cuts:
                    name, at = cuts.pop()
                    yield Case(f"{_short(name)} cut off", {name: files[name][:at]})
                for _ in range(2):
                    yield _flipped(files, dice)
                yield _zeroed(files, dice)
                yield _flipped_page(files, pages, dice, "page of a small table")
                yield _flipped_page(files, indexes, dice, "index of a small table")


def _flipped(files: dict[str, bytes], dice: random.Random) -> Case:
    name = dice.choice(list(files))
    data = bytearray(files[name])
    bit = dice.randrange(min(100, len(data)) * 8) if dice.random() < 0.05 else dice.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    return Case(f"{_short(name)} with a flipped bit", {name: bytes(data)})


def _small_pages(good: Path, log: bytes, kind: str = "*") -> list[int]:
    """Give the places of the small tables' first pages, of those that have no later copy in the log.

    kind: "index" for those of their indexes alone.
    """
    tables = (*TABLES, GAPS)
    with closing(sqlite3.connect(f"{(good / NAME).as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        asked = (
            f"SELECT rootpage FROM sqlite_master WHERE tbl_name IN ({', '.join('?' * len(tables))})"
            " AND rootpage > 0 AND type GLOB ?"
        )
        roots = [number for (number,) in connection.execute(asked, (*tables, kind))]
    frames = range(LOG_HEAD, len(log) - FRAME_HEAD, FRAME_HEAD + PAGE_BYTES)
    logged = {int.from_bytes(log[at : at + 4], "big") for at in frames}
    return [(number - 1) * PAGE_BYTES for number in roots if number not in logged]


def _flipped_page(files: dict[str, bytes], pages: list[int], dice: random.Random, what: str) -> Case:
    at = dice.choice(pages)
    data = bytearray(files[NAME])
    used = [place for place in range(at, at + PAGE_BYTES) if data[place]]  # no bit that nobody reads
    data[dice.choice(used)] ^= 1 << dice.randrange(8)
    return Case(f"{what} with a flipped bit", {NAME: bytes(data)})


def _zeroed(files: dict[str, bytes], dice: random.Random) -> Case:
    name = dice.choice(list(files))
    data = bytearray(files[name])
    size = dice.choice((SECTOR, 1024, 4096))
    at = dice.randrange(len(data) // size or 1) * size
    data[at : at + size] = bytes(len(data[at : at + size]))
    return Case(f"{_short(name)} with zeros", {name: bytes(data)})


def _rare(files: dict[str, bytes], other: Path, earlier: Path) -> list[Case]:
    return [
        Case("log taken away", {LOG: None}),
        Case("log of another home", {LOG: (other / LOG).read_bytes()}),
        Case("log of an earlier time", {LOG: (earlier / LOG).read_bytes()}),
        Case("database taken away, log left", {NAME: None}),
        Case("database empty", {NAME: b""}),
        Case("database of zeros", {NAME: bytes(len(files[NAME]))}),
        Case("text in its place, the lock left", {NAME: b"shopping: milk, bread\n" * 200, LOG: None}),
        Case("foreign database", {NAME: foreign(), LOG: None, LOCK: None}),
        Case("foreign text", {NAME: b"shopping: milk, bread\n" * 200, LOG: None, LOCK: None}),
        Case("lock file empty", {LOCK: b""}),
        Case("lock file of garbage", {LOCK: b"\xff\x00{]" * 100}),
        Case("lock file taken away", {LOCK: None}),
        Case("lock file taken away, first page zeros", {LOCK: None, NAME: bytes(1024) + files[NAME][1024:]}),
    ]


def foreign() -> bytes:
    """Give the bytes of a database that is not ours."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE recipes (name)")
    connection.execute("PRAGMA application_id = 42")
    data = connection.serialize()
    connection.close()
    return data


def _short(name: str) -> str:
    return "log" if name == LOG else "database"
