"""K73, K75: a disk that is full, read-only, limited or slow, under the whole service.

How soon a failure is told is judged by P7, which takes the time of each; here it only has to be told. Its disks are
not slow, though, and the store tries them again sooner than in a home: those times are taken here.
"""

import errno
import os
import re
import select
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest
from benchmarks.brokers import BrokerError
from processes import eventually, running
from raw import PINGREQ, PINGRESP, puback, publish, subscribe
from service import CONFIG, Service
from storage.faulty import Orders, environment, forget

from appliance.control import ControlClient, ControlUnavailable
from appliance.places import control_paths

FILLS = b"x" * 4_000
STORED = CONFIG.replace("enabled = false", "enabled = true").replace("[store]", "[store]\nreserve_mb = 0")
ALARM_S, RECOVERY_S = 5, 10


@pytest.fixture
def scratch(tmp_path):
    """Where a service lives; its data is on a disk of 4 MB. Mounting wants root, and anybody else is told so here."""
    data = tmp_path / "own" / "data"
    data.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", data], check=True)
    yield tmp_path / "own"
    subprocess.run(["umount", data], check=True)


@contextmanager
def served(scratch, **options):
    service = Service(scratch, STORED, **options)
    try:
        yield service
        assert "Traceback" not in service.last_words()
    finally:
        service.close_links()
        service.stop()


def ask(service, path):
    """Ask the service, wherever its control socket is."""
    for socket in control_paths(service.scratch / "data"):
        with suppress(ControlUnavailable):
            return ControlClient(socket).get(path)
    raise AssertionError("it answers nowhere")


def store(service):
    """Ask the service how its store is."""
    return ask(service, "/api/status")["store"]


def keep(service, number):
    """Publish what has to be kept; True when it is acknowledged."""
    link = service.client()
    link.send(publish(f"kept/{number}", b"=%d=" % number + FILLS, 1, 7, retain=True))
    return link.packet() == puback(7)


def fill(service):
    """Publish until nothing more is kept; gives what was."""
    link = service.client()
    for number in range(2_000):
        link.send(publish(f"kept/{number}", b"=%d=" % number + FILLS, 1, 7, retain=True))
        if link.packet() != puback(7):
            return set(range(number))
    raise AssertionError("the disk never got full")


def kept(service):
    """Give the numbers of what is retained, each whole."""
    reader = service.client()
    reader.send(subscribe("kept/#"), PINGREQ)
    found = set()
    quiet = 0  # rounds without a message: a long replay comes in pieces
    while quiet < 5:
        packet = reader.packet()
        if packet == PINGRESP:
            quiet += 1
            time.sleep(0.02)
            reader.send(PINGREQ)
        elif packet[0] >> 4 == 3:
            quiet = 0
            topic, payload, rest = re.search(rb"kept/(\d+)=(\d+)=(.*)", packet, re.DOTALL).groups()
            assert topic == payload
            assert rest == FILLS
            found.add(int(topic))
    return found


def is_readable(link):
    """Whether something has come that nobody has taken."""
    return link.buffered() or bool(select.select([link.socket], [], [], 0)[0])


def goes_on(service):
    """QoS 0 goes from one client to another."""
    reader = service.reader("live/#")
    service.client().send(publish("live/now", b"1"))
    reader.expect(publish("live/now", b"1"))


def trouble_of(service):
    """Give the trouble, once it is told."""
    return eventually(lambda: store(service)["trouble"])


def recovers(service, number):
    """What has to be kept is acknowledged again, in ten seconds at most."""
    began = time.monotonic()
    eventually(lambda: keep(service, number))
    eventually(lambda: store(service)["trouble"] is None)
    assert time.monotonic() - began < RECOVERY_S


def test_a_full_disk_that_gets_room_again(scratch):
    stuffing = scratch / "data" / "stuffing"
    with served(scratch) as service:
        assert keep(service, 5_000)
        stuffing.write_bytes(bytes(2_500_000))  # somebody else's
        acknowledged = fill(service) | {5_000}
        assert "is full: free some space" in trouble_of(service)
        assert not keep(service, 5_001)
        goes_on(service)
        stuffing.unlink()
        recovers(service, 5_002)
        assert acknowledged | {5_002} <= kept(service)
    with served(scratch) as service:
        assert acknowledged | {5_002} <= kept(service)


def test_an_agent_that_comes_while_the_disk_is_full_is_online_once_there_is_room(scratch, tmp_path):
    stuffing = scratch / "data" / "stuffing"
    config = tmp_path / "sensors.toml"
    with served(scratch) as service:
        stuffing.write_bytes(bytes(2_500_000))
        fill(service)
        trouble_of(service)
        config.write_text(
            f'agent = "house"\ndata_dir = "{tmp_path}"\n[broker]\nport = {service.port}\n'
            '[[sensor]]\nname = "attic"\nroom = "attic"\nkind = "simulated"\nmodel = "room"\ninterval_s = 0.2\n'
        )
        with running(tmp_path, "run", "--config", config, program="sensors") as agent:
            while "cannot store readings" not in (line := agent.process.stderr.readline()):
                assert line
            stuffing.unlink()
            recovers(service, 5_002)
            reader = service.reader("home/devices/house/#", "home/attic/temperature")
            told = {}
            while len(told) < 4:
                packet = reader.packet()
                size = int.from_bytes(packet[2:4], "big") if packet[1] < 0x80 else int.from_bytes(packet[3:5], "big")
                start = 4 if packet[1] < 0x80 else 5
                topic = packet[start : start + size].decode()
                if packet[0] >> 4 == 3 and topic.split("/")[-1] in {"availability", "about", "temperature"}:
                    told[topic] = packet[start + size :]
        assert told["home/devices/house/availability"].endswith(b"online")
        assert told["home/devices/house/attic/availability"].endswith(b"online")
        assert b"attic" in told["home/devices/house/about"]


def test_a_start_on_a_full_disk(scratch):
    stuffing = scratch / "data" / "stuffing"
    with served(scratch) as service:
        assert keep(service, 1)
        free = os.statvfs(scratch / "data")
    stuffing.write_bytes(bytes(free.f_bavail * free.f_frsize - 150_000))  # what SQLite needs to open a file is there
    with served(scratch) as service:
        assert kept(service) == {1}
        fill(service)
        goes_on(service)
        stuffing.unlink()
        recovers(service, 2)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (errno.EROFS, "mount its disk writable"),
        (errno.EIO, "check its free space, then the disk"),
        (errno.ENOSPC, "free space"),
    ],
)
def test_a_disk_that_fails_until_it_is_mended(tmp_path, error, cure):
    """Read-only as ext4 makes itself after an error: nothing but a preloaded library can do that to open files."""
    with failing(tmp_path) as (service, orders):
        assert keep(service, 1)
        orders.fail(1, error, sticky=True)
        assert not keep(service, 2)
        assert "\n" not in trouble_of(service)
        eventually(lambda: cure in store(service)["trouble"])
        goes_on(service)
        orders.end()
        recovers(service, 3)
        assert kept(service) >= {1, 3}
        assert orders["retried"] == 0


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_start_on_a_disk_without_one_byte_left(scratch, is_killed):
    stuffing = scratch / "data" / "stuffing"
    with served(scratch) as service:
        assert keep(service, 1)
        if is_killed:
            os.kill(service.pid, signal.SIGKILL)
            eventually(lambda: not service.lives())
    with stuffing.open("wb", buffering=0) as file, suppress(OSError):  # until it is full
        while True:
            file.write(bytes(4096))
    with served(scratch) as service:
        assert kept(service) == {1}
        assert not keep(service, 2)
        assert "is full: free some space" in trouble_of(service)
        goes_on(service)
        stuffing.unlink()
        recovers(service, 3)
        assert kept(service) >= {1, 3}
    with served(scratch) as service:
        assert kept(service) >= {1, 3}


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_start_on_a_read_only_disk(scratch, is_killed):
    with served(scratch) as service:
        assert keep(service, 1)
        if is_killed:
            os.kill(service.pid, signal.SIGKILL)
            eventually(lambda: not service.lives())
    subprocess.run(["mount", "-o", "remount,ro", scratch / "data"], check=True)
    with served(scratch) as service:
        assert "mount its disk writable" in service.log.read_text()
        assert kept(service) == {1}
        assert not keep(service, 2)
        goes_on(service)
        for _ in range(3):  # whoever looks meanwhile keeps nothing from recovering
            assert ask(service, "/api/topics") == []
        subprocess.run(["mount", "-o", "remount,rw", scratch / "data"], check=True)
        began = time.monotonic()
        eventually(lambda: keep(service, 3))
        assert time.monotonic() - began < RECOVERY_S
        assert kept(service) >= {1, 3}


def test_a_new_start_on_a_disk_that_cannot_be_written_is_refused_with_the_cure(scratch):
    subprocess.run(["mount", "-o", "remount,ro", scratch / "data"], check=True)
    with pytest.raises(BrokerError, match="mount its disk writable"):
        Service(scratch, STORED)


def test_a_limit_on_the_size_of_files(tmp_path):
    with served(tmp_path / "own", prefix=("prlimit", "--fsize=600000:unlimited")) as service:
        acknowledged, number = set(), 0
        while not (
            store(service)["trouble"] and store(service)["refuses"]
        ):  # the log is moved once, then both are full
            if keep(service, number):
                acknowledged.add(number)
            number += 1
        assert "check its free space" in trouble_of(service)
        goes_on(service)
        subprocess.run(["prlimit", f"--pid={service.pid}", "--fsize=unlimited"], check=True)
        recovers(service, 5_000)
        assert acknowledged <= kept(service)
        assert len(acknowledged) > 50


def test_a_disk_whose_flushes_take_long(tmp_path):
    with failing(tmp_path) as (service, orders):
        assert keep(service, 1)
        sent, told_after_s = {1}, []
        for number in (2, 3, 4):  # the soonest counts: the machine may pause meanwhile
            orders["slow_us"] = 15_000_000
            link = service.client()
            began = time.monotonic()
            link.send(publish(f"kept/{number}", b"=%d=" % number + FILLS, 1, 7, retain=True))
            bystander = service.client()
            for _ in range(20):  # nobody else waits for the disk
                bystander.ask(PINGREQ, PINGRESP)
                time.sleep(0.1)
            goes_on(service)
            assert "has not answered for" in trouble_of(service)
            told_after_s.append(time.monotonic() - began)
            assert not is_readable(link)  # it is not acknowledged before it is on the disk
            orders["slow_us"] = 0
            link.expect(puback(7))
            recovers(service, 100 + number)
            sent |= {number, 100 + number}
            if told_after_s[-1] < ALARM_S + 1:  # of asking
                break
        else:
            raise AssertionError(f"told only after {told_after_s} s")
        assert kept(service) == sent


@contextmanager
def failing(tmp_path):
    """A service on a disk that obeys orders."""
    (tmp_path / "own").mkdir()
    orders = Orders(tmp_path / "orders")
    env = {**os.environ, **environment(tmp_path / "own" / "data", tmp_path / "orders")}
    try:
        with served(tmp_path / "own", env=env) as service:
            yield service, orders
            orders.end()
    finally:
        orders.close()
        forget()
