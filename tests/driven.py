"""A link driven by the test's own thread and clock, and all that it told."""

import os
import select
from contextlib import contextmanager
from random import Random

from mosquitto_peer import eventually

from sensors.endpoint import Endpoint
from sensors.link import Link


class Driven:
    """A link and what it told, driven by the test; `now` is the test's."""

    def __init__(self, port, host="127.0.0.1", look=None, **endpoint):
        self.told = []
        self.reader, self.writer = os.pipe()
        self.now = 1000.0
        self.link = Link(
            Endpoint(
                host=host,
                port=port,
                client_id="sensors-home-house",
                will_topic="home/devices/house/availability",
                will_payload=b"offline",
                **endpoint,
            ),
            self,
            lambda: os.write(self.writer, b"\0"),
            Random(1),
            *([look] if look else []),
        )

    def connected(self):
        self.told.append("connected")

    def disconnected(self, why):
        self.told.append(why)

    def acknowledged(self, tokens, reason_code, topics=()):
        self.told.append((*tokens, reason_code, *topics))

    def unsent(self, tokens):
        self.told.append(("unsent", *tokens))

    def refused(self, topic, reason):
        self.told.append((topic, reason))

    def commanded(self, topic, payload, *, retained, by=""):  # noqa: ARG002 as the agent has it
        self.told.append((topic, payload, retained))

    def turn(self):
        self.link.tick(self.now)
        sock = self.link.socket
        reading = [self.reader, *([sock] if sock else [])]
        writing = [sock] if sock and self.link.wants_write else []
        readable, writable, _ = select.select(reading, writing, [], 0.01)
        if self.reader in readable:
            os.read(self.reader, 100)
        if sock in readable:
            self.link.readable(self.now)
        if sock in writable:
            self.link.writable(self.now)

    def until(self, condition):
        def turned():
            self.turn()
            return condition()

        return eventually(turned)

    def until_told(self, part):
        """Wait for a line that holds the words, or for an event that holds the value."""

        def said(event):
            return part in event if isinstance(event, tuple) or isinstance(part, str) else False

        return self.until(lambda: next((event for event in self.told if said(event)), None))

    def end(self):
        self.link.close()
        self.until(lambda: self.link.socket is None and self.link._attempt is None)
        os.close(self.reader)
        os.close(self.writer)


@contextmanager
def driven(port, **endpoint):
    link = Driven(port, **endpoint)
    try:
        yield link
    finally:
        link.end()
