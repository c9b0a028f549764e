"""Cases 50, 56 and 58: a service that loses its power, links that lose theirs, and clocks that jump."""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest
import raw5
from journal import RecordingJournal
from raw import DISCONNECT, PINGREQ, PINGRESP, connect, publish, subscribe
from virtual import V5, V311, VirtualServer

from appliance.broker.restoring import RESTART_GRACE_S
from appliance.mqtt.packets import Will
from appliance.mqtt.types import QoS

WILL = Will("home/attic/availability", b"offline", QoS(1))


def test_f50_after_a_power_cut_whoever_comes_back_in_time_is_known_and_its_will_stays_unsaid(own):
    service = own()
    link = service.client("f50", clean=False, will=("f50", b"gone", 1, True))
    link.send(subscribe("x"))
    assert link.packet() == b"\x90\x03\x00\x01\x00"  # and with it the session and its will are on disk
    os.kill(service.pid, signal.SIGKILL)
    assert link.until_closed() == b""
    service = own()
    watcher = service.reader("f50", "#")
    link = service.link()
    link.send(connect("f50", clean=False, will=("f50", b"gone", 1, True)))
    assert link.packet() == b"\x20\x02\x01\x00"  # its session is present
    link.send(DISCONNECT)
    watcher.silent()


def test_f50_after_a_power_cut_the_will_of_a_lost_client_is_told_once():
    server = VirtualServer(journal=RecordingJournal(automatic=True))
    server.client("f50", will=Will("f50", b"gone", QoS(1), retain=True))
    server.commit()
    server.crash_and_restart()
    watcher = server.client("watcher").subscribe("#", 1)
    watcher.packets()
    server.advance(RESTART_GRACE_S + 0.1)
    assert watcher.messages() == [("f50", b"gone", 1)]
    server.commit()
    server.crash_and_restart()
    watcher = server.client("watcher").subscribe("nothing", 1)
    watcher.packets()
    server.advance(RESTART_GRACE_S + 0.1)
    assert watcher.messages() == []
    assert server.broker.router.retained.get("f50", server.now).payload == b"gone"


def test_f50_at_a_clean_stop_clients_are_told_and_wills_are_in_force(own):
    service = own()
    link = service.link()
    link.send(raw5.connect("f50-five"))
    assert raw5.reason_of(link.packet()) == 0
    watcher = service.reader("f50/#")
    service.client("f50", will=("f50/will", b"gone", 0, False))
    os.kill(service.pid, signal.SIGTERM)
    assert raw5.reason_of(link.packet()) == 0x8B
    assert watcher.until_closed() in {b"", publish("f50/will", b"gone")}  # whoever is closed later still hears it


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("keep_alive_s", [1, 10, 60])
def test_g56_a_link_cut_without_a_word_tells_the_will_within_one_and_a_half_keep_alives(version, keep_alive_s):
    """No FIN comes, no RST, and nothing the server sends is answered."""
    server = VirtualServer()
    watcher = server.client("watcher").subscribe("#", 1)
    watcher.packets()
    half_open = server.client("half-open", version, keep_alive_s=keep_alive_s, will=WILL).subscribe("#", 1)
    half_open.reads = False
    watcher.publish("home/attic/temperature", b"21.4", 1)
    watcher.packets()
    server.advance(1.5 * keep_alive_s - 0.1)
    assert watcher.messages() == []
    server.advance(0.2)
    assert watcher.messages() == [("home/attic/availability", b"offline", 1)]
    assert half_open.closed


@pytest.mark.parametrize(("wished_s", "version"), [(0, V5), (65_535, V5)])
def test_g56_a_link_without_a_keep_alive_of_its_own_is_cut_by_the_servers(wished_s, version):
    server = VirtualServer(max_keep_alive_s=3_600)
    client = server.client("idle", version, keep_alive_s=wished_s)
    server.advance(5_399)
    assert not client.closed
    server.advance(2)
    assert client.closed


def wall_clock(path, *command):
    """Run a command's module in this process with a wall clock whose offset stands in a file."""
    real, real_ns = time.time, time.time_ns

    def offset():
        try:
            with Path(path).open(encoding="ascii") as file:
                return int(file.read() or 0)
        except OSError:
            return 0

    time.time = lambda: real() + offset()
    time.time_ns = lambda: real_ns() + offset() * 1_000_000_000
    sys.argv = list(command[2:])  # python -m module arguments
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)


@pytest.mark.parametrize("step_s", [315_000_000, -315_000_000])  # ten years
def test_g58_a_step_of_the_wall_clock_drops_nobody(own, tmp_path, step_s):
    offset = tmp_path / "offset"
    program = (
        "import sys; sys.path[:0] = ['.', 'tests']; from faults.test_power import wall_clock; wall_clock(*sys.argv[1:])"
    )
    service = own(prefix=[sys.executable, "-c", program, str(offset)])
    client = service.client(keep_alive=4, client_id="g58", clean=False)
    offset.write_text(str(step_s))
    ends = time.monotonic() + 6.5  # one and a half keep-alives go by
    while time.monotonic() < ends:
        client.ask(PINGREQ, PINGRESP)
        time.sleep(0.1)  # the client's own pace
    client.send(DISCONNECT)
    assert client.until_closed() == b""
    service.client("g58", clean=False, answer=b"\x20\x02\x01\x00").silent()  # nor did its session expire


@pytest.mark.parametrize("version", [4, 5])
def test_g58_a_service_that_was_suspended_reads_before_it_judges(own, version):
    """The clients spoke in time; that nobody listened is not their fault."""
    service = own()
    packet = connect("g58", keep_alive=4) if version == 4 else raw5.connect("g58", keep_alive=4)
    clients = [service.link() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(packet.replace(b"g58", b"%03d" % number))
        assert client.packet()[3] == 0
    os.kill(service.pid, signal.SIGSTOP)
    try:
        for client in clients:
            client.send(PINGREQ)
        time.sleep(6.5)  # as long as it is suspended: more than one and a half keep-alives
    finally:
        os.kill(service.pid, signal.SIGCONT)
    for client in clients:
        client.send(PINGREQ)  # all of them in time, however long the answers take
    for client in clients:
        client.expect(PINGRESP, PINGRESP)
