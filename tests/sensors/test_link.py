import socket
import threading
from contextlib import contextmanager

import pytest
from driven import Driven, driven
from mosquitto_peer import BINARY, Mosquitto, end, eventually, free_port
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from appliance.config import ConfigError
from sensors.backoff import LONGEST_WAIT_S
from sensors.link import (
    ALONE_AFTER_S,
    CONNACK_TIMEOUT_S,
    CUT_SHORT,
    LONGEST_TAKEN_OVER_WAIT_S,
    QUEUE,
    SETTLED_AFTER_S,
    TAKEN_OVER_WAIT_S,
    WINDOW,
)


@contextmanager
def listening(answer=b"", *, hold=True):
    """A server that takes connections and says `answer`, whatever it hears; then holds them or closes them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                connection.sendall(answer)
                if not hold:
                    connection.recv(1024)  # closing with unread bytes would reset instead
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def other(broker):
    """Another client with its messages."""
    client = Client(CallbackAPIVersion.VERSION2, "other", protocol=MQTTv5)
    client.got = []
    client.on_message = lambda _client, _data, message: client.got.append(message)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe("home/#", 1)
    assert subscribed.wait(10)
    yield client
    end(client)


def test_nobody_listens_says_so_and_tries_again_later():
    with driven(free_port()) as link:
        assert "nothing listens on 127.0.0.1:" in link.until_told("nothing listens")
        first = link.link.next_deadline()
        assert 0.5 <= first - link.now <= 1.0
        link.turn()
        assert len(link.told) == 1
        link.now = first
        link.until(lambda: len(link.told) == 2)
        assert 1.0 <= link.link.next_deadline() - link.now <= 2.0


def test_while_it_is_not_known_how_to_connect_it_does_not_and_looks_again():
    """No other way is taken meanwhile, were it there."""
    ways = [ConfigError(path=None, line=None, key="", problem="x holds no credential", cure="pair anew")] * 2
    with listening(CONNACK) as port, driven(port) as link:
        good = link.link._endpoint

        def again():
            if ways:
                raise ways.pop()
            return good

        link.link._again = again
        for count in (1, 2):
            link.turn()
            assert link.told == ["x holds no credential; pair anew"] * count
            assert link.link.socket is None
            link.now = link.link.next_deadline()
        link.until_told("connected")


def test_it_knows_when_the_broker_spoke_last():
    with listening(CONNACK) as port, driven(port) as link:
        link.now = 2000.0
        link.until_told("connected")
        link.now = 2060.0
        link.turn()
        assert link.link.heard_at == 2000.0


def test_a_dropped_link_connects_no_more():
    with listening() as port, driven(port) as link:
        link.until(lambda: link.link.socket)
        link.link.drop()
        link.link.tick(link.now)
        assert link.link._attempt is None


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70 + ".invalid"])
def test_an_unknown_name_says_so(host):
    with driven(1883, host=host) as link:
        link.until(lambda: link.told)
        assert "check broker.host" in link.told[0] or "cannot be reached" in link.told[0]


def test_what_does_not_answer_is_given_up():
    with listening() as port, driven(port) as link:
        link.until(lambda: link.link.socket)
        link.now += CONNACK_TIMEOUT_S
        link.until_told("does not answer as an MQTT broker")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x20\x02\x00",
        b"\xff" * 9,
        b"\x20\x03\x00\x00\x05x",
    ],
)
def test_what_is_no_broker_never_stops_the_agent(answer):
    with listening(answer) as port, driven(port) as link:
        link.until(lambda: link.link.socket or link.told)
        link.now += CONNACK_TIMEOUT_S
        link.until(lambda: link.told)
        assert not link.link.up
        assert "127.0.0.1" in link.told[0]
        assert "\n" not in link.told[0]


CONNACK = b"\x20\x03\x00\x00\x00"
TAKEN_OVER = b"\xe0\x02\x8e\x00"


def test_a_second_agent_with_the_name_is_named_and_not_fought():
    with listening(CONNACK + TAKEN_OVER) as port, driven(port) as link:
        why = link.until_told("another client connected")
        assert "sensors-home-house" in why
        assert "its own agent = " in why
        assert link.link.tells_of_takeovers
        for times in range(1, 9):
            wait_s = link.link.next_deadline() - link.now
            longest_s = min(TAKEN_OVER_WAIT_S * 2 ** (times - 1), LONGEST_TAKEN_OVER_WAIT_S)
            assert longest_s / 2 <= wait_s <= max(longest_s, LONGEST_WAIT_S)
            link.now = link.link.next_deadline()
            link.until(lambda count=times: link.told.count(why) == count + 1)


SERVES_CABIN = b"\x20\x11\x00\x00\x0e\x26\x00\x04site\x00\x05cabin"


def test_a_hub_of_another_site_is_told_once(caplog):
    with listening(SERVES_CABIN) as port, driven(port, site="home") as link:
        for times in range(1, 4):
            link.until(lambda count=times: link.told.count("connected") == count)
            link.link.give_way("")
            link.now = link.link.next_deadline()
    assert caplog.text.count(f"127.0.0.1:{port} is the hub of site cabin") == 1
    assert 'set site = "cabin", or broker.host to the hub of home' in caplog.text


@pytest.mark.parametrize("site", ["home", "", "a\nb"])
def test_our_own_site_and_what_is_none_are_not_spoken_of(site, caplog):
    pair = b"\x26\x00\x04site" + len(site).to_bytes(2, "big") + site.encode()
    answer = b"\x20" + bytes([len(pair) + 3]) + b"\x00\x00" + bytes([len(pair)]) + pair
    with listening(answer) as port, driven(port, site="home") as link:
        link.until_told("connected")
        assert link.link.strayed == ""
    assert "site" not in caplog.text


def test_who_gives_way_to_a_second_agent_names_its_computer_and_waits_longer_each_time():
    with listening(CONNACK) as port, driven(port) as link:
        for times in range(1, 4):
            link.until(lambda count=times: link.told.count("connected") == count)
            assert link.link.address == "127.0.0.1"
            assert link.link.is_contested is (times > 1)
            assert not link.link.tells_of_takeovers
            link.link.give_way("attic, 192.0.2.7")
            assert "a second agent with the same site and agent, on attic, 192.0.2.7? Give each" in link.told[-1]
            assert TAKEN_OVER_WAIT_S * 2 ** (times - 2) <= link.link.next_deadline() - link.now
            assert link.link.address == ""
            link.now = link.link.next_deadline()


def test_a_second_agent_that_stays_away_is_forgotten():
    with listening(CONNACK) as port, driven(port) as link:
        link.until_told("connected")
        link.link.give_way("attic")
        link.now = link.link.next_deadline()
        link.until(lambda: link.told.count("connected") == 2)
        opened_at = link.now
        link.link.tick(opened_at + LONGEST_TAKEN_OVER_WAIT_S)
        assert link.link.is_contested
        link.link.tick(opened_at + ALONE_AFTER_S + 1)
        assert not link.link.is_contested


def test_a_bug_of_ours_in_hearing_the_broker_keeps_its_traceback(caplog):
    caplog.set_level("DEBUG")
    with listening(CONNACK) as port, driven(port) as link:
        link.link._handler.connected = lambda: 1 / 0
        link.until_told("ZeroDivisionError")
    assert "Traceback" in caplog.text
    assert "in <lambda>" in caplog.text


def test_nothing_of_a_broken_connection_is_repeated_on_the_next():
    heard = [b"", b""]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for number in (0, 1):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(CONNACK)
                    while (b"first", b"second")[number] not in heard[number] and (bytes_ := connection.recv(4096)):
                        heard[number] += bytes_

        thread = threading.Thread(target=serve)
        thread.start()
        with driven(server.getsockname()[1]) as link:
            link.until_told("connected")
            for token in range(WINDOW + 5):  # some of them queued
                assert link.link.publish("home/first", b"1", retain=False, tokens=(token,))
            link.until(lambda: not link.link.up)
            link.now = link.link.next_deadline()
            link.until(lambda: link.told.count("connected") == 2)
            assert link.link.idle
            assert link.link.publish("home/second", b"2", retain=False, tokens=(99,))
            link.until(lambda: not link.link.up)
        thread.join(10)
    assert heard[0].count(b"home/first") >= 1
    assert heard[1].count(b"home/first") == 0


@pytest.mark.parametrize(("maximum", "window"), [(1, 1), (7, 7), (65_535, WINDOW)])
def test_the_window_follows_the_broker_s_receive_maximum(maximum, window):
    with listening(b"\x20\x06\x00\x00\x03\x21" + maximum.to_bytes(2, "big")) as port, driven(port) as link:
        link.until_told("connected")
        assert link.link.window == window
        for token in range(100):
            assert link.link.publish("home/n", b"1", retain=False, tokens=(token,))
        assert len(link.link._in_flight) == window


def test_a_message_larger_than_the_broker_takes_is_not_sent(caplog):
    takes_1000_bytes = b"\x20\x08\x00\x00\x05\x27\x00\x00\x03\xe8"
    with listening(takes_1000_bytes) as port, driven(port) as link:
        link.until_told("connected")
        assert link.link.max_packet_bytes == 1000
        for _ in range(3):  # the backlog is tried five times a second
            assert not link.link.publish("home/devices/house/about", b"x" * 1000, retain=True)
        link.link.announce("home/devices/house/health", b"x" * 1000)
        assert caplog.text.count("more than the broker takes") == 2
        assert not link.link.wants_write
        assert link.link.publish("home/attic/temperature", b"21.4", retain=True)


def test_a_message_that_is_too_large_is_said_on_each_connection(caplog):
    with listening(b"\x20\x08\x00\x00\x05\x27\x00\x00\x03\xe8") as port, driven(port) as link:
        for count in (1, 2):
            link.until(lambda count=count: link.told.count("connected") == count)
            link.link.announce("home/devices/house/health", b"x" * 1000)
            assert caplog.text.count("more than the broker takes") == count
            link.link.give_way("")
            link.now = link.link.next_deadline()


def test_a_connection_that_lasts_ends_the_suspicion_of_a_second_agent():
    with listening(CONNACK) as port, driven(port) as link:
        link.until_told("connected")
        link.link._cut_short = CUT_SHORT - 1
        link.now += SETTLED_AFTER_S - 1
        link.turn()
        assert link.link.is_contested
        link.now += 1
        link.turn()
        assert not link.link.is_contested


def test_connections_cut_short_again_and_again_hint_at_a_second_agent():
    with listening(CONNACK, hold=False) as port, driven(port) as link:
        for attempts in range(1, CUT_SHORT + 1):
            link.until(lambda count=attempts: link.told.count("connected") == count and not link.link.up)
            assert ("a second agent" in link.told[-1]) is (attempts == CUT_SHORT)
            link.now = link.link.next_deadline()


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
class TestWithMosquitto:
    def test_messages_arrive_with_their_properties_and_are_acknowledged(self, broker, other):
        with driven(broker.port) as link:
            link.until_told("connected")
            properties = (("agent", "house"), ("seq", "7"))
            assert link.link.publish(
                "home/kitchen/temperature", b"21.4", retain=True, properties=properties, tokens=(7,)
            )
            assert link.until_told(7)[1] < 0x80
            message = eventually(lambda: other.got and other.got[0])
            assert (message.topic, message.payload) == ("home/kitchen/temperature", b"21.4")
            assert message.properties.UserProperty == list(properties)
            assert link.link.idle

    def test_the_will_speaks_when_the_connection_breaks_and_not_after_goodbye(self, broker, other):
        with driven(broker.port) as link:
            link.until_told("connected")
            link.link.drop()
        message = eventually(lambda: other.got and other.got[0])
        assert (message.topic, message.payload) == ("home/devices/house/availability", b"offline")
        with driven(broker.port) as link:
            link.until_told("connected")
            link.link.publish("home/devices/house/availability", b"online", retain=True, tokens=(1,))
            link.until_told(1)
        other.publish("home/end", b"", qos=1).wait_for_publish(10)
        eventually(lambda: other.got[-1].topic == "home/end")
        assert [message.payload for message in other.got] == [b"offline", b"online", b""]

    def test_nothing_is_published_without_a_connection(self, broker):
        link = Driven(broker.port)
        assert not link.link.publish("home/kitchen/temperature", b"21.4", retain=True)
        link.end()

    def test_the_window_holds_and_the_rest_waits_its_turn(self, broker, other):
        with driven(broker.port) as link:
            link.until_told("connected")
            assert link.link.window <= min(WINDOW, 20)  # Mosquitto's Receive Maximum
            for n in range(200):
                assert link.link.publish("home/n", b"%d" % n, retain=False, tokens=(n,))
                assert len(link.link._in_flight) <= link.link.window
            link.until(lambda: link.link.idle)
            eventually(lambda: len(other.got) == 200)
            assert [int(message.payload) for message in other.got] == list(range(200))

    def test_what_waited_too_long_comes_back_unsent(self, broker):
        with driven(broker.port) as link:
            link.until_told("connected")
            link.link.window = 0
            assert link.link.publish("home/n", b"1", retain=False, tokens=(1,), good_until=link.now + 5.0)
            assert link.link.publish("home/n", b"2", retain=False, tokens=(2,), good_until=link.now + 50.0)
            link.now += 6.0
            link.link.window = 1
            link.until_told("unsent")
            link.until_told(2)
            assert ("unsent", 1) in link.told

    def test_the_queue_is_bounded(self, broker):
        with driven(broker.port) as link:
            link.until_told("connected")
            link.link.window = 0
            taken = sum(link.link.publish("home/n", b"", retain=False) for _ in range(QUEUE + 10))
            assert taken == QUEUE
            link.link.window = WINDOW

    def test_commands_come_with_their_retain_flag(self, broker, other):
        other.publish("home/kitchen/relay/set", b"ON", qos=1, retain=True).wait_for_publish(10)
        with driven(broker.port) as link:
            link.until_told("connected")
            link.link.subscribe(["home/kitchen/relay/set"])
            assert link.until_told(b"ON") == ("home/kitchen/relay/set", b"ON", True)
            other.publish("home/kitchen/relay/set", b"OFF", qos=1)
            assert link.until_told(b"OFF") == ("home/kitchen/relay/set", b"OFF", False)

    def test_a_second_agent_with_the_name_is_named(self, broker):
        """Mosquitto 2.0.11 tells nobody that another client took over: it cuts the connection without a word."""
        with driven(broker.port) as first, driven(broker.port) as second:
            first.until_told("connected")
            waits = []
            for _ in range(CUT_SHORT):
                second.until(lambda: second.link.up)
                first.until(lambda: not first.link.up)
                waits.append(first.link.next_deadline() - first.now)
                first.now = first.link.next_deadline()
                first.until(lambda: first.link.up)
                second.until(lambda: not second.link.up)
                second.now = second.link.next_deadline()
            for link in (first, second):
                assert [("a second agent" in said) for said in link.told if said != "connected"] == [False, False, True]
                link.until_told("is there a second agent with the client id sensors-home-house?")
            assert waits[-1] > waits[0]  # each waits longer for the other

    def test_a_restarted_broker_is_found_again(self, broker):
        with driven(broker.port) as link:
            link.until_told("connected")
            broker.stop()
            link.until(lambda: not link.link.up)
            assert "closed the connection" in link.told[-1]
            broker.start()
            link.now = link.link.next_deadline()
            link.until(lambda: link.told.count("connected") == 2)

    def test_a_connection_that_lasted_ends_the_backoff(self, broker):
        with driven(broker.port) as link:
            for _ in range(5):
                link.link._backoff.wait_s()
            link.until_told("connected")
            link.now += SETTLED_AFTER_S
            link.turn()
            assert link.link._backoff.wait_s() <= 1.0


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_a_wrong_password_says_where_to_look(tmp_path):
    with (
        Mosquitto(tmp_path, "allow_anonymous false") as broker,
        driven(broker.port, username="a", password="b") as link,
    ):
        assert "check broker.username" in link.until_told("refuses the connection")
        assert link.link.next_deadline() - link.now >= 5.0


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_a_message_that_is_not_granted_is_told_from_one_that_arrived(tmp_path):
    (tmp_path / "acl").write_text("topic read home/#\n")
    with Mosquitto(tmp_path, f"acl_file {tmp_path / 'acl'}") as broker, driven(broker.port) as link:
        link.until_told("connected")
        assert link.link.publish("home/n", b"1", retain=False, tokens=(1,))
        assert link.until_told(1) == (1, 0x87)
