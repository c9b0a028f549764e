"""Group G: clients that say nothing, and clients that say nothing of use. The service gives 1 s to say CONNECT."""

import time

from raw import ACCEPTED, PINGREQ, PINGRESP, connect, publish


def test_g53_no_connect_in_time(service):
    started = time.monotonic()
    links = [service.link() for _ in range(50)]
    for link in links:
        assert link.until_closed() == b""
    assert time.monotonic() - started > 0.9


def test_g53_half_a_connect_buys_no_time(service):
    started = time.monotonic()
    link = service.link()
    packet = connect("g53", username="u" * 60)
    for byte in packet[:-1]:
        if not link.send(bytes([byte])):
            break
        time.sleep(0.02)  # a slow client, not a wait of the test
    assert link.until_closed() == b""
    assert 0.9 < time.monotonic() - started < 15


def test_g54_silence_of_one_and_a_half_keep_alives(service):  # [MQTT-3.1.2-24]
    started = time.monotonic()
    client = service.client(keep_alive=1)
    assert client.until_closed() == b""
    assert time.monotonic() - started > 1.4


def test_g54_any_packet_is_a_sign_of_life(service):
    client = service.client(keep_alive=4)
    started = time.monotonic()
    while time.monotonic() - started < 6.5:
        client.ask(PINGREQ, PINGRESP)
        time.sleep(0.1)
    client.silent()


def test_g54_pieces_of_a_packet_are_not(service):
    client = service.client(keep_alive=1)
    packet = publish("g54", bytes(200))
    started = time.monotonic()
    for byte in packet:
        if not client.send(bytes([byte])):
            break
        time.sleep(0.05)
    assert client.until_closed() == b""
    assert time.monotonic() - started < len(packet) * 0.05


def test_g55_idle_clients_cost_little_and_stay(service_with):
    service = service_with("max_connections_per_address = 501\n")
    before = service.rss_bytes()
    clients = [service.client(keep_alive=(0, 65_535)[n % 2]) for n in range(500)]
    assert service.rss_bytes() - before < 500 * 16_384
    cpu = service.cpu_s()
    time.sleep(0.5)
    assert service.cpu_s() - cpu < 0.25  # nobody speaks, so nothing is done
    for client in clients:
        client.silent()


def test_g55_as_many_connections_as_allowed(service_with):
    service = service_with("max_connections = 50\n")
    clients = [service.client() for _ in range(50)]
    for _ in range(20):
        link = service.link()
        link.send(connect())
        assert link.until_closed() == b""
    for client in clients:
        client.silent()
    clients.pop().reset()
    for _ in range(100):  # as soon as one has left, there is room
        link = service.link()
        link.send(connect())
        if link.packet() == ACCEPTED:
            break
    else:
        raise AssertionError("no room was made")


def test_g57_a_flood_of_pings(service):
    client, honest = service.client(), service.client()
    for _ in range(100):
        client.send(PINGREQ * 1_000)
        honest.silent()
        assert client.packets(1_000) == [PINGRESP] * 1_000
