"""A TCP proxy that a network deserves: it stalls, cuts, resets and swallows, also in the middle of a packet."""

import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from random import Random

FAULTS = ("stall", "cut", "reset", "black hole", "refuse")
LINGER_NONE = struct.pack("ii", 1, 0)  # closing resets


class ChaosProxy:
    """Listens on `port` of the loopback interface and carries bytes to `target`, faults among them while `wild`.

    Every chunk is carried in pieces of a random length, so that a fault falls anywhere. `done` counts what was done.
    """

    def __init__(self, target: int, random: Random, every_s: float):
        self._target = target
        self._random = random
        self._every_s = every_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets = set()
        self._threads = []
        self._closing = False
        self.port = self._server.getsockname()[1]
        self.wild = True
        self.done = Counter()
        self._start(self._accept)

    def _start(self, job, *arguments):
        thread = threading.Thread(target=job, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.wild and self._random.random() < 0.2:
                self.done["refuse"] += 1
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            self._sockets |= {client, server}
            ends_at = time.monotonic() + self._random.expovariate(1 / self._every_s)
            for source, sink in ((client, server), (server, client)):
                self._start(self._carry, source, sink, ends_at)

    def _carry(self, source, sink, ends_at):
        """Carry one direction until its fault is due; then whatever it does, it does between two bytes."""
        with suppress(OSError):
            source.settimeout(0.1)
            while not self._closing:
                try:
                    chunk = source.recv(self._random.choice((1, 7, 64, 4096)))
                except TimeoutError:
                    chunk = None
                if chunk == b"":
                    break
                if self.wild and time.monotonic() >= ends_at:
                    if not self._fault(source, sink, chunk or b""):
                        break
                    ends_at = time.monotonic() + self._random.expovariate(1 / self._every_s)
                if chunk:
                    sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _fault(self, source, sink, chunk):
        """Do one; False ends the connection."""
        fault = self._random.choice(FAULTS[:-1])
        self.done[fault] += 1
        match fault:
            case "stall":
                self._pause(self._random.uniform(0.2, 2.0))
                return True
            case "black hole":  # what was sent is gone, and nobody hears of it until the connection ends
                self._pause(self._random.uniform(0.2, 1.0))
            case "reset":
                for end in (source, sink):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                    end.close()
            case "cut":
                sink.sendall(chunk[: len(chunk) // 2])
        return False

    def _pause(self, seconds):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self._closing:
            time.sleep(0.05)

    def close(self):
        self._closing = True
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()
