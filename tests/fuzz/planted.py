"""Bugs on purpose, to see that the fuzzer would find them: bounds that are not checked."""

from appliance.broker import inbound
from appliance.mqtt import wire


def plant() -> None:
    """Let the codec and the walk read past the end of what is there."""

    def prefixed(self: wire.Reader, _what: str) -> bytes:
        start = self.pos + 2
        stop = start + (self.body[start - 2] << 8 | self.body[start - 1])
        self.pos = stop
        return self.body[start:stop]

    def check_packet_id(packet_id: int) -> None:
        if packet_id == 0:
            raise ValueError("packet id 0")

    wire.Reader._prefixed = prefixed  # type: ignore[method-assign]
    inbound._check_packet_id = check_packet_id
