"""Case 76 once, as a client meets it: what was acknowledged outlives a kill in the next microsecond."""

import os
import signal

import pytest
from raw import ACCEPTED_AND_KNOWN, puback, publish, subscribe

TOPIC = "home/attic/door"


def killed(service):
    os.kill(service.pid, signal.SIGKILL)
    service.close_links()
    service.stop()


@pytest.mark.parametrize("number", range(3))
def test_a_retained_message_that_was_acknowledged_is_there(own, number):
    service = own()
    publisher = service.client("f76")
    for value in range(number, 20):
        publisher.ask(publish(TOPIC, b"%d" % value, qos=1, packet_id=value + 1, retain=True), puback(value + 1))
    killed(service)
    reader = own().reader(TOPIC)
    reader.expect(publish(TOPIC, b"19", retain=True))


def test_a_session_and_its_queue_are_there(own):
    service = own()
    absent = service.client("absent", clean=False)
    absent.ask(subscribe(TOPIC, qos=1), b"\x90\x03\x00\x01\x01")
    absent.close()
    publisher = service.client()
    for packet_id in (1, 2, 3):
        publisher.ask(publish(TOPIC, b"%d" % packet_id, qos=1, packet_id=packet_id), puback(packet_id))
    killed(service)
    service = own()
    back = service.client("absent", clean=False, answer=ACCEPTED_AND_KNOWN)
    packets = [back.packet() for _ in range(3)]
    assert [packet[0] for packet in packets] == [0x32, 0x32, 0x32]  # never sent before, so no DUP
    assert [packet[-1:] for packet in packets] == [b"1", b"2", b"3"]
    for packet in packets:
        back.send(puback(int.from_bytes(packet[4 + len(TOPIC) : 6 + len(TOPIC)], "big")))
    back.silent()
    service.client().ask(publish(TOPIC, b"4", qos=1, packet_id=9), puback(9))
    back.expect(publish(TOPIC, b"4", qos=1, packet_id=4))
