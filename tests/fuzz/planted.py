"""A bug on purpose, to see that the fuzzer would find it: lengths that are believed without a look."""

from appliance.mqtt.codec import READERS
from appliance.mqtt.packets import Unsubscribe
from appliance.mqtt.types import PacketType, Version
from appliance.mqtt.wire import Reader


def plant() -> None:
    """Let the reader of UNSUBSCRIBE run past the end of the packet."""

    def read(reader: Reader, version: Version) -> Unsubscribe:
        packet_id = reader.two_bytes()
        if version == Version.MQTT_5:
            reader.pos += 1 + reader.body[reader.pos]
        start = reader.pos + 2 + reader.body[reader.pos + 1]
        reader.pos = reader.end
        return Unsubscribe(packet_id, (str(reader.body[start - 1]) + reader.body[start - 2 : start].hex(),))

    READERS[PacketType.UNSUBSCRIBE] = read
