"""Groups I and J: more of everything than there is, and readers that do not read."""

import resource
import select
import sys
import time
from pathlib import Path

import pytest
from promises import flat
from raw import ACCEPTED, DISCONNECT, Raw, connect, frame, puback, publish, pubrec, pubrel, subscribe

MIB = 1_048_576

# --- I. resources ---


def test_i65_connections_come_and_go(service):
    service.client().silent()
    descriptors = service.descriptors()
    for _ in range(1_000):
        link = service.link()
        link.send(connect(), DISCONNECT)
        assert link.until_closed() == ACCEPTED
        link.close()
    service.client().silent()
    assert service.descriptors() <= descriptors + 2


def test_i65_no_descriptors_left(service_with):
    """64 descriptors, 150 clients: who is in stays in, nothing spins, and the rest get in when there is room."""
    service = service_with(prefix=[sys.executable, "-c", LIMITED])
    inside = service.client("inside")
    crowd = [Raw(service.port) for _ in range(150)]
    try:
        for raw in crowd:
            raw.send(connect())
        inside.silent()
        cpu, started = service.cpu_s(), time.monotonic()
        while time.monotonic() - started < 1.0:
            inside.silent()
            time.sleep(0.05)
        assert service.cpu_s() - cpu < 0.5
    finally:
        for raw in crowd:
            raw.close()
    inside.silent()
    late = service.client("late")
    late.silent()


def test_i65_one_address_may_not_take_every_place(service_with):
    service = service_with("max_connections = 10\nmax_connections_per_address = 3\n")
    inside = [service.client() for _ in range(3)]
    for _ in range(5):
        assert service.link().until_closed() == b""
    inside[0].send(subscribe("$SYS/broker/turned away/#"))
    count = publish("$SYS/broker/turned away/too many connections from one address", b"5", retain=True)
    inside[0].expect(frame(0x90, b"\0\1\0"), count)
    inside[1].close()
    inside[0].silent()
    service.client().silent()
    service.close_links()


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_i66_retained_messages_are_bounded_in_bytes(service_with):
    service = service_with("max_retained_bytes = 1_000_000\n")
    publisher = service.client()
    before = service.rss_bytes()
    for number in range(100):
        publisher.ask(publish(f"i66/{number}", bytes(100_000), 1, 1, retain=True), puback(1))
    assert service.rss_bytes() - before < 8 * MIB
    reader = service.reader("i66/#")
    kept = reader.packets(9)
    assert kept == [publish(f"i66/{number}", bytes(100_000), retain=True) for number in range(9)]
    for number in range(100):  # room is made by clearing, and used again
        publisher.ask(publish(f"i66/{number}", b"", 1, 1, retain=True), puback(1))
    reader.expect(*(publish(f"i66/{number}", b"") for number in range(100)))
    publisher.ask(publish("i66/new", bytes(100_000), 1, 1, retain=True), puback(1))
    service.reader("i66/#").expect(publish("i66/new", bytes(100_000), retain=True))


def test_i66_retained_messages_are_bounded_in_number(service_with):
    service = service_with("max_retained_messages = 100\n")
    publisher = service.client()
    publisher.send(*(publish(f"i66/{number:05}", b"1", retain=True) for number in range(5_000)))
    publisher.silent()
    reader = service.reader("i66/#")
    assert reader.packets(100) == [publish(f"i66/{number:05}", b"1", retain=True) for number in range(100)]
    reader.silent()
    publisher.send(publish("i66/00000", b"2", retain=True))  # what is there may change
    reader.expect(publish("i66/00000", b"2"))


def test_i66_what_is_not_retained_is_not_an_old_value(service_with):
    service = service_with("max_retained_bytes = 100_000\n")
    publisher = service.client()
    publisher.ask(publish("i66", b"first", 1, 1, retain=True), puback(1))
    publisher.ask(publish("i66", bytes(200_000), 1, 2, retain=True), puback(2))
    service.reader("i66").silent()


def test_i67_sessions_are_bounded_and_nobody_is_locked_out(service_with):
    service = service_with("max_sessions = 100\n")
    present = b"\x20\x02\x01\x00"
    for number in range(200):
        link = service.link()
        link.send(connect(f"i67-{number}", clean=False), DISCONNECT)
        assert link.until_closed() == ACCEPTED
        link.close()
    for number in (100, 150, 199):  # those longest away have made room
        service.client(f"i67-{number}", clean=False, answer=present)
    service.client("i67-99", clean=False, answer=ACCEPTED)
    for number in range(200, 296):
        service.client(f"i67-{number}")
    link = service.link()
    link.send(connect("i67-one-too-many"))
    answer = link.until_closed()  # whose client is connected makes no room
    assert answer[:3] == b"\x20\x02\x00"
    assert answer[3] != 0
    service.close_links()


def test_i69_memory_is_flat_over_connections(service):
    def come_and_go(count):
        for number in range(count):
            link = service.link()
            link.send(
                connect(f"i69-{number % 50}", will=("i69/will", b"gone", 0, False)),
                subscribe(f"i69/{number}", "i69/+"),
                publish(f"i69/{number}", b"x", 1, 1),
            )
            link.packet()
            link.packet()
            link.reset()
        service.close_links()
        service.client().silent()
        return service.rss_bytes()

    before = come_and_go(1_500)
    assert come_and_go(1_500) - before < MIB


# --- J. slow readers ---


def shove(publisher, topic, qos, total, payload=bytes(16_000)):
    """Publish so many bytes past the readers; every message is acknowledged at once."""
    for _ in range(total // len(payload) // 10):
        publisher.send(*(publish(topic, payload, qos, number) for number in range(1, 11)))
        if qos == 1:
            assert publisher.packets(10) == [puback(number) for number in range(1, 11)]
        if qos == 2:
            assert publisher.packets(10) == [pubrec(number) for number in range(1, 11)]
            publisher.send(*(pubrel(number) for number in range(1, 11)))
            publisher.packets(10)
    publisher.silent()


@pytest.mark.parametrize("qos", range(3))
def test_j70_a_reader_that_never_reads_costs_a_bounded_amount(service, qos):
    service.reader("j70", qos=qos, receive_buffer=1_024)
    publisher = service.client()
    shove(publisher, "j70", qos, 2 * MIB)
    before = service.rss_bytes()
    shove(publisher, "j70", qos, 48 * MIB)
    assert service.rss_bytes() - before < 12 * MIB


def test_j70_others_get_everything_meanwhile(service):
    service.reader("j70", receive_buffer=1_024)
    publisher, honest = service.client(), service.reader("j70")
    for number in range(2_000):
        packet = publish("j70", b"%06d" % number + bytes(10_000))
        publisher.send(packet)
        honest.expect(packet)


def test_j70_qos_1_is_complete_once_it_is_read(service):
    reader = service.reader("j70", qos=1, receive_buffer=1_024)
    publisher = service.client()
    for number in range(300):
        publisher.ask(publish("j70", b"%03d" % number + bytes(5_000), 1, 1), puback(1))
    for number in range(300):
        packet = reader.packet()
        assert packet[10:13] == b"%03d" % number
        reader.send(puback(int.from_bytes(packet[8:10], "big")))
    reader.silent()


def test_j71_many_slow_readers_at_once(service):
    slow = [service.reader("j71", qos=n % 2, receive_buffer=1_024) for n in range(50)]
    publisher, honest = service.client(), service.reader("j71")
    for number in range(400):
        packet = publish("j71", b"%04d" % number + bytes(4_000), 1, 1)
        publisher.ask(packet, puback(1))
        honest.expect(publish("j71", b"%04d" % number + bytes(4_000)))
        if number % 20 == 0:
            for raw in slow:
                readable, _, _ = select.select([raw.socket], [], [], 0)
                if readable:
                    raw.socket.recv(1)


def test_j72_a_storm_of_retained_messages_is_streamed(service):
    """30 MB retained for readers that do not read: each costs what its link may hold, not what there is."""
    publisher = service.client()
    count, payload = 150, bytes(100_000)
    for number in range(count):
        publisher.ask(publish(f"j72/{number:03}", payload, 1, 1, retain=True), puback(1))
    try:
        before = service.rss_bytes()
        readers = [service.client(receive_buffer=1_024) for _ in range(20)]
        for reader in readers:
            reader.send(subscribe("j72/#", qos=1))
        publisher.silent()
        time.sleep(0.2)
        assert service.rss_bytes() - before < 20 * 1.5 * MIB
        reader = readers[0]
        reader.expect(b"\x90\x03\x00\x01\x01")
        for number in range(count):
            packet = reader.packet()
            assert packet == publish(f"j72/{number:03}", payload, 1, number + 1, retain=True)
            reader.send(puback(number + 1))
    finally:
        for number in range(count):
            publisher.ask(publish(f"j72/{number:03}", b"", 1, 1, retain=True), puback(1))


@pytest.mark.soak
def test_i69_memory_is_flat_over_a_million_connections(service):
    """Twenty thousand of them, in every run, are promise P11 in its small form."""
    points = flat.connects(service, 1_000_000)
    assert points[-1][1] - points[len(points) // 2][1] < MIB


def test_the_limit_of_this_test_run_is_not_the_services():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= 1_024, "the tests open a thousand sockets"
    assert Path("/proc/self/fd").is_dir()
