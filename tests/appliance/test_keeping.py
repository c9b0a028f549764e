"""The store's parts together: from an append on the loop to the word that it is durable, and when the disk fails."""

import asyncio
import errno
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import Disk, disk_error

from appliance import keeping as module
from appliance.broker.core import Broker
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import Back
from appliance.broker.restoring import LeftOut
from appliance.broker.rights import ALL_RIGHTS
from appliance.keeping import Keeping, size_bytes
from appliance.settings import History, Limits, Settings, Store
from appliance.store import beside
from appliance.store.database import StoreError
from appliance.store.gaps import HUB, UNKEPT
from appliance.store.group import Group
from appliance.store.missing import Missing
from appliance.store.opening import open_ledger, read_only

RECORD = int(RouteFlag.RECORD)


class Gate:
    released = 0


class Core:
    """A broker and a hub, as far as the store speaks to them."""

    def __init__(self):
        self.gate = Gate()
        self.restored = None
        self.told = []
        self.links = 0

    def restore(self, image, _now):
        self.restored = image
        return LeftOut(0, 0)

    def waiting(self):
        return self.links

    def committed(self, group, _now):
        self.told.append(group)
        self.gate.released, self.links = self.links, 0

    def cannot_store(self, _now):
        self.told.append("cannot store")
        self.links = 0

    def settle(self):
        pass

    turn = can_store = settle


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "appliance.db")


def running(disk, scenario, **store):
    """Run `scenario(keeping, journal, core)` on a loop."""

    async def run():
        settings = Settings(store=Store(reserve_mb=0, **store), history=History(enabled=False))
        keeping = Keeping(disk.path, settings, disk.open)
        await keeping.open()
        core = Core()
        try:
            journal = keeping.journal_for(lambda _: ALL_RIGHTS)
            keeping.restore(core, core)
            return await scenario(keeping, journal, core)
        finally:
            await keeping.close()
            await keeping.close()

    return asyncio.run(run())


async def until(holds, what):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 another thread brings it about
            await asyncio.sleep(0.001)
    assert holds(), what


def publish(journal, core, payload=b"21.4"):
    journal.append(Message("home/kitchen/temperature", payload, 1), RECORD, time.monotonic())
    core.links = 1


def test_what_is_taken_is_durable_when_it_is_said(disk):
    async def scenario(_keeping, journal, core):
        assert core.restored.sessions == {}
        assert (journal.take_number(), journal.take_key()) == (40, 9)
        publish(journal, core)
        await until(lambda: core.told, "the commit")
        assert core.told == [1]
        assert disk.rows() == [b"21.4"]

    running(disk, scenario)


def test_close_writes_what_was_taken_last(disk):
    async def scenario(_keeping, journal, core):
        publish(journal, core, b"1")
        journal.note(Back(3))

    running(disk, scenario)
    assert disk.rows() == [b"1", repr(Back(3))]


def test_one_group_follows_the_other_without_a_timer(disk):
    async def scenario(keeping, journal, core):
        for number in range(1, 30):
            publish(journal, core)
            await until(lambda number=number: core.told[-1:] == [number], "the commit")
        assert keeping.status()["commits"] == 29

    running(disk, scenario)


def test_who_does_not_wait_is_not_numbered(disk):
    async def scenario(keeping, journal, core):
        assert journal.group == 0
        publish(journal, core)
        await until(lambda: core.told, "the commit")
        assert keeping.status()["waits"] is False

    running(disk, scenario, wait=False)
    assert disk.rows() == [b"21.4"]


def test_a_file_that_cannot_be_opened(disk):
    disk.faults["open"] = [StoreError("move it away")]
    with pytest.raises(StoreError, match="move it away"):
        running(disk, None)


def test_a_failing_disk_closes_who_waits_and_recovers_by_itself(disk, caplog):
    async def scenario(keeping, journal, core):
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL, "database or disk is full")]
        disk.sticky.add("write")
        publish(journal, core)
        await until(lambda: core.told, "the failure")
        assert core.told == ["cannot store"]
        assert journal.refuses
        status = keeping.status()
        assert status["trouble"] == keeping.trouble() == f"the disk under {disk.path} is full: free some space"
        assert status["refuses"]
        assert status["failures"] >= 1
        disk.faults.clear()
        await until(lambda: not journal.refuses, "the recovery")
        assert core.told == ["cannot store", 1]
        assert keeping.trouble() is None
        assert disk.rows() == [b"21.4"]

    running(disk, scenario)
    assert "nothing is acknowledged that would have to be kept: the disk under" in caplog.text
    assert "is written again" in caplog.text


def test_a_disk_that_does_not_answer_is_told_and_stops_nobody(disk, caplog, monkeypatch):
    monkeypatch.setattr(module, "SILENT_S", 0.02)

    async def scenario(keeping, journal, core):
        disk.gate.clear()
        publish(journal, core)
        await until(keeping.trouble, "the alarm")
        assert "has not answered for" in keeping.trouble()
        assert keeping.status()["waiting_bytes"] > 0
        assert not journal.refuses
        disk.gate.set()
        await until(lambda: core.told, "the commit")
        assert keeping.trouble() is None
        await until(lambda: keeping._watch is None, "the end of looking")

    running(disk, scenario)
    assert caplog.text.count("has not answered for") == 1


def test_status(disk):
    async def scenario(keeping, journal, core):
        publish(journal, core)
        await until(lambda: core.told, "the commit")
        status = keeping.status()
        assert (status["commits"], status["groups"], status["failures"]) == (1, 1, 0)
        assert (status["waits"], status["refuses"], status["trouble"]) == (True, False, None)
        assert (status["dropped"], status["left_out"], status["waiting_bytes"]) == (0, 0, 0)
        assert status["max_bytes"] == 4_000_000_000
        assert status["budget_day_bytes"] == 200_000_000
        assert status["window_ms"] == 5.0
        assert status["size_bytes"] == size_bytes(disk.path) > 0
        assert status["free_bytes"] > 0
        assert keeping.history_status() is None

    running(disk, scenario)


def test_the_size_of_what_is_not_there(tmp_path):
    assert size_bytes(tmp_path / "appliance.db") == 0


def test_losses_say_whom_they_concern(disk):
    async def scenario(keeping, _journal, _core):
        losses = keeping.losses()
        assert {scope for scope, _ in losses} == {HUB, UNKEPT}
        keeping.tally.refused = 3
        assert {named: count() for named, count in losses.items() if count()} == {
            (UNKEPT, "more series than history.max_series"): 3
        }

    running(disk, scenario)


def test_what_fails_since_before_the_start_is_nothing_where_it_cannot_be_read(tmp_path):
    assert Keeping(tmp_path / "appliance.db", Settings()).failing() == []


def test_a_start_on_a_full_disk_refuses_until_there_is_room(tmp_path, monkeypatch):
    path = tmp_path / "appliance.db"
    open_ledger(path, site="home", max_series=9).close()
    full = StoreError(f"the disk under {path} is full")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    left = [full] * 3

    def opened(*arguments, **options):
        if left:
            raise left.pop()
        return open_ledger(*arguments, **options)

    monkeypatch.setattr(module, "open_ledger", opened)

    async def scenario():
        keeping = Keeping(path, Settings())
        await keeping.open()
        try:
            journal = keeping.journal_for(lambda _client_id: ALL_RIGHTS)
            assert journal.refuses
            assert "is full" in keeping.trouble()
            await until(lambda: not journal.refuses, "it does not take up again")
            assert keeping.trouble() is None
        finally:
            await keeping.close()

    asyncio.run(scenario())


def test_what_is_remarked_at_the_start_is_not_said_when_the_file_is_opened_again(tmp_path, monkeypatch, caplog):
    path = tmp_path / "appliance.db"

    missing = Missing(at=1_060.0, why="the end of its log is torn", since=1_030.0)

    def opened(*arguments, remark, on_missing, **options):
        remark("it was there and empty")
        on_missing(missing)
        return open_ledger(*arguments, remark=remark, on_missing=on_missing, **options)

    monkeypatch.setattr(module, "open_ledger", opened)

    async def scenario():
        keeping = Keeping(path, Settings())
        await keeping.open()
        try:
            said = list(caplog.messages)
            keeping._remark("again")
            keeping._misses(Missing(at=1_090.0, why="again", since=None))
            assert said.count("it was there and empty") == 1
            assert said.count(missing.line()) == 1
            assert caplog.messages == said
            keeping.journal_for(lambda _client_id: ALL_RIGHTS)
            assert keeping.status()["cut"] == missing.told()
            assert keeping.status()["cut"]["seconds"] == 30
        finally:
            await keeping.close()

    asyncio.run(scenario())


def retained_in(path, directory):
    """What a start after a power cut would find."""
    directory.mkdir()
    for more in ("", "-wal"):
        if Path(f"{path}{more}").exists():
            shutil.copy(f"{path}{more}", directory)
    image = read_only(directory / path.name, 5.0).image
    return {topic: message.payload for topic, message in image.retained.items()}


@pytest.mark.parametrize("what", ["the log", "the file"])
def test_what_is_gone_under_a_running_service_is_written_anew(tmp_path, what):
    path = tmp_path / "data" / "appliance.db"
    other = tmp_path / "other.db"
    open_ledger(other, site="home", max_series=9).close()

    async def scenario():
        keeping, hub = Keeping(path, Settings()), Core()
        await keeping.open()
        try:
            journal = keeping.journal_for(lambda _: ALL_RIGHTS)
            broker = Broker(Limits(), next_client_id=str, journal=journal)
            keeping.restore(broker, hub)
            broker.publish(Message("a", b"1", 1, True), 1.0)
            broker.publish(Message("b", b"1", 1, True), 1.0)
            await until(lambda: keeping.status()["commits"], "it is not written")
            if what == "the log":
                path.with_name("appliance.db-wal").unlink()
            else:
                other.rename(path)
            broker.publish(Message("b", b"2", 1, True), 2.0)
            journal.close()  # nobody waits for it, so its group stays open
            await until(lambda: keeping.status()["failures"], "nobody noticed")
            await until(lambda: not journal.refuses and not journal.waiting_bytes, "it is not written again")
            assert retained_in(path, tmp_path / "copy") == {"a": b"1", "b": b"2"}
        finally:
            await keeping.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("readable", [True, False])
def test_a_damaged_file_on_a_full_disk_does_not_stop_the_start(tmp_path, monkeypatch, caplog, readable):
    path = tmp_path / "data" / "appliance.db"
    ledger = open_ledger(path, site="home", max_series=9)
    kept = Message("t", b"kept", 1, True)
    ledger.write(Group(1, [(kept, int(RouteFlag.RETAINED), 1.0, None)], run=7, now=1.0, at=1e9))
    ledger.finish()
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'wills'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 1024)
        file.write(b"\xff" * 1024)
    full = StoreError(f"{path} is damaged and there is no room")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    has_room = []

    def opened(*arguments, **options):
        if not has_room:
            raise full
        return open_ledger(*arguments, **options)

    def unreadable(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "open_ledger", opened)
    if not readable:
        monkeypatch.setattr(beside, "read_beside", unreadable)

    async def scenario():
        keeping, hub = Keeping(path, Settings()), Core()
        await keeping.open()
        try:
            journal = keeping.journal_for(lambda _: ALL_RIGHTS)
            broker = Broker(Limits(), next_client_id=str, journal=journal)
            keeping.restore(broker, hub)
            assert [one.topic for one in broker.router.retained.messages()] == ["t"] * readable
            assert journal.refuses
            assert "no room" in keeping.trouble()
            has_room.append(True)
            await until(lambda: not journal.refuses, "it does not take up again")
            assert retained_in(path, tmp_path / "copy") == {"t": b"kept"}
            assert journal.take_key() > (0 if readable else 1_000_000)
        finally:
            await keeping.close()

    asyncio.run(scenario())
    assert "cannot be mended where nothing can be written" in caplog.text
