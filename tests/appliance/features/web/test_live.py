import asyncio

import pytest
from sockets import until
from webserver import frame, page, record
from websockets.exceptions import ConnectionClosed, InvalidStatus

from appliance.broker.message import Message
from appliance.devices import Device, Measurement, encode_about
from appliance.features.web import live
from appliance.features.web.live import LiveFeed, Viewer

AT = 1_800_000_000.0


class Broker:
    """Stands in for the broker's local client: one subscriber, retained messages by topic."""

    def __init__(self, *retained):
        self._retained = list(retained)
        self.deliver = None

    def subscribe(self, topic_filter, deliver):
        assert topic_filter == "home/#"
        self.deliver = deliver
        for message in self._retained:
            deliver(message)

        def unsubscribe():
            self.deliver = None

        return unsubscribe

    def retained(self, topic_filter):
        assert topic_filter == "home/#"
        return self._retained

    def publish(self, topic, payload, *, qos=1, retain=False):
        self.deliver(Message(topic, payload, qos, retain))


def retained(topic, payload):
    return Message(topic, payload, 1, True)


def feed_of(broker, times=None):
    async def known():
        if isinstance(times, Exception):
            raise times
        return times or {}

    return LiveFeed(broker, "home", known, wall_clock=lambda: AT)


def test_nothing_is_subscribed_while_nobody_looks():
    async def scenario():
        broker = Broker()
        feed = feed_of(broker)
        assert broker.deliver is None
        first, second = feed.join(lambda: None), feed.join(lambda: None)
        assert broker.deliver is not None
        feed.leave(first)
        assert broker.deliver is not None
        feed.leave(second)
        assert broker.deliver is None
        feed.leave(second)  # twice is fine

    asyncio.run(scenario())


def test_a_burst_becomes_one_frame():
    async def scenario():
        broker = Broker(retained("home/a/t", b"0"))
        feed = feed_of(broker)
        viewer = feed.join(lambda: None)
        assert '"snapshot"' in await viewer.next_frame()
        for number in range(1000):
            broker.publish("home/a/t", str(number).encode())
        text = await viewer.next_frame()
        assert '"value":999.0' in text
        assert text.count('"topic"') == 1
        feed.leave(viewer)

    asyncio.run(scenario())


def test_the_history_tells_the_age_of_what_is_retained():
    async def scenario():
        feed = feed_of(Broker(retained("home/a/t", b"0")), {"home/a/t": 5.0})
        viewer = feed.join(lambda: None)
        assert '"at":null' in await viewer.next_frame()
        assert '"at":5.0' in await viewer.next_frame()
        feed.leave(viewer)
        assert (await feed.snapshot()).values[0].at == 5.0

    asyncio.run(scenario())


def test_values_are_shown_though_the_history_is_in_trouble(caplog):
    async def scenario():
        feed = feed_of(Broker(retained("home/a/t", b"0")), OSError("the disk is gone"))
        assert (await feed.snapshot()).values[0].value == 0.0

    asyncio.run(scenario())
    assert "the disk is gone" in caplog.text


def test_too_many_viewers():
    async def scenario():
        feed = feed_of(Broker())
        viewers = [feed.join(lambda: None) for _ in range(live.MAX_VIEWERS)]
        assert feed.join(lambda: None) is None
        for viewer in viewers:
            feed.leave(viewer)

    asyncio.run(scenario())


def test_one_who_does_not_read_is_cut_off_and_costs_nothing_more():
    async def scenario():
        cut = []
        viewer = Viewer(lambda: cut.append(True))
        for _ in range(live.MAX_FRAMES + 10):
            viewer.offer("x", replaces=False)
        assert cut == [True]
        assert not viewer._frames

    asyncio.run(scenario())


def test_bytes_are_bounded_but_a_single_snapshot_may_be_large():
    async def scenario():
        cut = []
        viewer = Viewer(lambda: cut.append(True))
        big = "x" * (live.MAX_FRAME_BYTES + 1)
        viewer.offer("x", replaces=False)
        viewer.offer(big, replaces=True)
        assert not cut
        assert await viewer.next_frame() == big
        viewer.offer("x", replaces=False)
        viewer.offer(big, replaces=False)
        assert cut

    asyncio.run(scenario())


def test_topics_between_two_frames_are_bounded(monkeypatch):
    monkeypatch.setattr(live, "MAX_HEARD", 3)

    async def scenario():
        broker = Broker()
        feed = feed_of(broker)
        viewer = feed.join(lambda: None)
        for number in range(10):
            broker.publish(f"home/a/t{number}", b"1")
        assert len(feed._heard) == 3
        feed.leave(viewer)

    asyncio.run(scenario())


def test_a_page_sees_snapshot_changes_and_what_disappears(tmp_path):
    async def scenario():
        about = Device(
            agent="attic", site="home", sensors=(Measurement(topic="home/a/t", kind="temperature", unit="°C"),)
        )
        history = record(tmp_path / "h.db", [("home/a/t", AT, 1)])
        async with page(tmp_path, history=history) as served:
            served.local.publish("home/a/t", b"1", retain=True)
            served.local.publish("home/b/t", b"7", retain=True)
            served.local.publish("home/devices/attic/about", encode_about(about), retain=True)
            served.local.publish("home/devices/attic/availability", b"online", retain=True)
            async with served.watch() as socket:
                snapshot = await frame(socket)
                assert snapshot["type"] == "snapshot"
                assert {value["topic"]: value["value"] for value in snapshot["values"]} == {
                    "home/a/t": 1,
                    "home/b/t": 7,
                }
                assert snapshot["devices"][0]["online"] is True
                assert {value["topic"]: value["at"] for value in (await frame(socket))["values"]} == {"home/a/t": AT}
                served.local.publish("home/devices/attic/availability", b"offline", retain=True)
                assert (await frame(socket))["devices"][0]["online"] is False
                served.local.publish("home/b/t", b"", retain=True)
                assert (await frame(socket))["gone"] == ["home/b/t"]

    asyncio.run(scenario())


def test_the_subscription_ends_with_the_last_page(tmp_path):
    async def scenario():
        async with page(tmp_path) as served:
            feed = served.server._feed
            async with served.watch() as one, served.watch() as other:
                await frame(one)
                await frame(other)
                assert feed._unsubscribe is not None
            await until(lambda: feed._unsubscribe is None)

    asyncio.run(scenario())


def test_a_quiet_house_says_that_it_is_still_there(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "BEAT_S", 0.02)

    async def scenario():
        async with page(tmp_path) as served, served.watch() as socket:
            assert (await frame(socket))["type"] == "snapshot"
            assert (await frame(socket)) == {"type": "beat"}
            served.local.publish("home/a/t", b"1")
            while (await frame(socket))["type"] != "changes":
                pass

    asyncio.run(scenario())


def test_what_a_page_says_is_ignored_unless_it_is_long(tmp_path):
    async def scenario():
        async with page(tmp_path) as served, served.watch() as socket:
            await frame(socket)
            await socket.send("hello")
            await socket.send(b"\x00")
            served.local.publish("home/a/t", b"1")
            assert (await frame(socket))["values"]
            await socket.send("x" * 10_000)
            with pytest.raises(ConnectionClosed) as closed:
                await frame(socket)
            assert closed.value.rcvd.code == 1009

    asyncio.run(scenario())


def test_one_page_too_many_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)

    async def scenario():
        async with page(tmp_path) as served, served.watch() as first:
            await frame(first)
            async with served.watch() as second:
                with pytest.raises(ConnectionClosed) as closed:
                    await frame(second)
                assert closed.value.rcvd.code == live.TRY_LATER

    asyncio.run(scenario())


def test_a_page_of_another_site_gets_nothing(tmp_path):
    async def scenario():
        async with page(tmp_path) as served:
            with pytest.raises(InvalidStatus) as refused:
                async with served.watch(origin="http://evil.example"):
                    pass
            assert refused.value.response.status_code == 403
            async with served.watch(origin=f"http://127.0.0.1:{served.port}") as socket:
                await frame(socket)

    asyncio.run(scenario())


def test_a_page_that_stops_reading_is_dropped_and_the_others_go_on(tmp_path):
    async def scenario():
        async with page(tmp_path) as served, served.watch() as good:
            await frame(good)
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
            writer.write(
                f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
            )
            feed = served.server._feed
            await until(lambda: feed.viewers == 2)
            reader._transport.pause_reading()
            received = 0
            # What the kernel and the transport hold takes a while to fill; each turn is a frame of its own.
            while feed.viewers == 2:
                for number in range(live.MAX_HEARD // 10):
                    served.local.publish(f"home/room/t{number}", b"%d" % received)
                feed._flush()
                await frame(good)
                received += 1
                assert received < 500
            served.local.publish("home/still/here", b"1")
            while "home/still/here" not in str(await frame(good)):
                pass
            writer.transport.abort()

    asyncio.run(scenario())
