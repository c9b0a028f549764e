"""The recorder on the event loop: what it takes, when it hands over, what becomes of it."""

import asyncio
import threading

import pytest

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.rights import AllRights
from appliance.devices import Device, Measurement, encode_about
from appliance.features.recorder import BATCH_BYTES, Recorder
from appliance.store.history_reader import HistoryReader
from appliance.store.writer import HistoryWriter

AT = 1_790_000_000.0
TOPIC = "home/kitchen/temperature"
DEVICE = Device(agent="house", site="home", sensors=(Measurement(topic=TOPIC, kind="temperature", unit="°C"),))


class Keeper:
    """A writer that keeps what it is handed."""

    def __init__(self):
        self.batches = []
        self.came = asyncio.Event()

    def submit(self, batch):
        self.batches.append(batch)
        self.came.set()
        return True

    def payloads(self):
        return [message.payload for batch in self.batches for _, message in batch.messages]


class Local:
    """A client inside the process with some retained messages."""

    def __init__(self, *retained):
        self.retained = retained
        self.deliver = None
        self.topic_filter = None

    def subscribe(self, topic_filter, deliver):
        self.topic_filter, self.deliver = topic_filter, deliver
        for message in self.retained:
            deliver(message)
        return self.unsubscribe

    def unsubscribe(self):
        self.deliver = None


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def recorder(keeper):
    return Recorder(keeper, site="home", wall_clock=lambda: AT)


def test_whose_backlog_it_is_goes_with_it(keeper):
    rights = {"agent-1": AllRights(), "agent-2": AllRights()}
    recorder = Recorder(keeper, site="home", rights_of=rights.__getitem__)
    first, second = (Message("home/devices/house/backlog", b"[]", client_id=f"agent-{n}") for n in (1, 2))
    for message in (first, second):
        recorder.append(message, recorder.classify(message.topic))
    recorder.append(Message(TOPIC, b"21.4", client_id="agent-1"), recorder.classify(TOPIC))  # nobody is asked
    recorder.close()
    assert keeper.batches[0].rights == {first: rights["agent-1"], second: rights["agent-2"]}


def test_classify(recorder):
    assert recorder.classify(TOPIC) is RouteFlag.RECORD
    assert recorder.classify("home/devices/house/backlog") is RouteFlag.RECORD | RouteFlag.BUNDLE
    assert recorder.classify("home/devices/house/about") is RouteFlag.NONE
    assert recorder.classify("home/kitchen/relay/set") is RouteFlag.NONE


async def handed_over(keeper, batches):
    async with asyncio.timeout(20):
        while len(keeper.batches) < batches:
            keeper.came.clear()
            await keeper.came.wait()


def test_messages_share_a_batch_and_keep_their_order(recorder, keeper):
    async def scenario():
        recorder.start()
        assert [recorder.append(Message(TOPIC, b"%d" % n)) for n in range(20)] == [0] * 20
        assert keeper.batches == []
        await handed_over(keeper, 1)
        recorder.append(Message(TOPIC, b"20"))
        await handed_over(keeper, 2)
        recorder.close()

    asyncio.run(scenario())
    assert keeper.payloads() == [b"%d" % n for n in range(21)]
    assert keeper.batches[0].messages[0][0] == AT
    assert keeper.batches[0].size_bytes > 20 * len(TOPIC)


def test_nothing_is_armed_while_nothing_arrives(recorder, keeper):
    async def scenario():
        recorder.start()
        assert recorder._timer is None
        recorder.append(Message(TOPIC, b"1"))
        await handed_over(keeper, 1)
        assert recorder._timer is None
        recorder.close()

    asyncio.run(scenario())


def test_a_full_batch_does_not_wait(recorder, keeper):
    async def scenario():
        recorder.start()
        recorder.append(Message(TOPIC, b"x" * BATCH_BYTES))
        assert len(keeper.batches) == 1
        assert recorder._timer is None
        recorder.close()

    asyncio.run(scenario())


def test_what_arrives_before_the_start_waits_for_it_and_close_hands_over_the_rest(recorder, keeper):
    recorder.append(Message(TOPIC, b"1"))

    async def scenario():
        recorder.start()
        await handed_over(keeper, 1)
        recorder.append(Message(TOPIC, b"2"))
        recorder.close()
        recorder.close()

    asyncio.run(scenario())
    assert keeper.payloads() == [b"1", b"2"]


def test_abouts_are_learnt_retained_and_live_and_bad_ones_named(recorder, keeper, caplog):
    about = "home/devices/house/about"
    local = Local(Message(about, encode_about(DEVICE), 1, True))

    async def scenario():
        recorder.start(local)
        assert local.topic_filter == "home/devices/+/about"
        local.deliver(Message(about, encode_about(DEVICE), 1, True))
        local.deliver(Message(about, b"", 1, True))
        local.deliver(Message("home/devices/shed/about", b"{", 1, True))
        await handed_over(keeper, 1)
        recorder.close()

    asyncio.run(scenario())
    assert [device for batch in keeper.batches for device in batch.devices] == [DEVICE, DEVICE]
    assert local.deliver is None
    assert "home/devices/shed/about: not an about message" in caplog.text


def test_a_flood_of_descriptions_is_handed_over_in_time(recorder, keeper):
    async def scenario():
        recorder.start()
        while not keeper.batches:
            recorder.learn(DEVICE)
        recorder.close()

    asyncio.run(scenario())
    assert len(keeper.batches[0].devices) < BATCH_BYTES / 300


def test_end_to_end_into_the_database(tmp_path):
    path = tmp_path / "appliance.db"
    writer = HistoryWriter(path, site="home")
    recorder = Recorder(writer, site="home", wall_clock=lambda: AT)

    async def scenario():
        writer.start()
        recorder.start(Local(Message("home/devices/house/about", encode_about(DEVICE), 1, True)))
        recorder.append(Message(TOPIC, b"21.4"))
        recorder.append(Message("tele/plug/SENSOR", b'{"AM2301":{"Temperature":22.6},"Switch1":"ON"}'))
        recorder.append(Message("home/hall/doorbell", b"press"))
        recorder.close()
        await asyncio.to_thread(writer.close)

    asyncio.run(scenario())
    reader = HistoryReader(path)
    assert {topic: row.value if row.text is None else row.text for topic, row in reader.latest().items()} == {
        TOPIC: 21.4,
        "home/hall/doorbell": "press",
        "tele/plug/SENSOR/AM2301/Temperature": 22.6,
        "tele/plug/SENSOR/Switch1": 1.0,
    }
    assert {series.topic: series.unit for series in reader.topics()}[TOPIC] == "°C"
    assert {row.at for row in reader.latest().values()} == {AT}
    assert not [thread for thread in threading.enumerate() if thread.name == "history-writer"]
