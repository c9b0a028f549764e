"""A journal in memory: what the core asks to have written down, in groups that the test closes and commits."""

from dataclasses import dataclass, field

from appliance.broker.image import Image


@dataclass
class Group:
    """What becomes durable together; `now` is of its closing."""

    number: int
    entries: list = field(default_factory=list)  # (message, flags, now)
    records: list = field(default_factory=list)
    now: float = 0.0


class RecordingJournal:
    """Takes everything. `automatic`: a `VirtualServer` commits at the end of each turn."""

    def __init__(self, automatic=False):
        self.automatic = automatic
        self.refuses = False
        self.written = []  # groups that are durable, of earlier lives too
        self.closed = []  # groups that wait to be written
        self.next_number = self.next_key = 1
        self.open = Group(1)

    @property
    def group(self):
        return self.open.number

    def append(self, message, flags, now):
        self.open.entries.append((message, flags, now))

    def note(self, record):
        self.open.records.append(record)

    def take_number(self):
        self.next_number += 1
        return self.next_number - 1

    def take_key(self):
        self.next_key += 1
        return self.next_key - 1

    # --- for the test ---

    @property
    def records(self):
        """All records of this life, in order."""
        return [record for group in [*self.written, *self.closed, self.open] for record in group.records]

    @property
    def messages(self):
        """All messages, in order."""
        return [entry[0] for group in [*self.written, *self.closed, self.open] for entry in group.entries]

    @property
    def flags(self):
        """Why they were handed over."""
        return [entry[1] for group in [*self.written, *self.closed, self.open] for entry in group.entries]

    def close(self, now=0.0):
        """Close the open group if there is anything in it."""
        if self.open.entries or self.open.records:
            self.open.now = now
            self.closed.append(self.open)
            self.open = Group(self.open.number + 1)

    def commit(self, most=None):
        """Make groups durable that are closed, all or the first; gives the number of the last one."""
        count = len(self.closed) if most is None else most
        self.written += self.closed[:count]
        del self.closed[:count]
        return self.written[-1].number if self.written else 0

    def crash(self):
        """The power fails: what is not durable is gone, and whoever writes next begins with a new group 1.

        Numbers and keys go on behind those that are durable; others that were given may be given again.
        """
        self.closed = []
        self.open = Group(1)
        numbers = [entry[0].number for group in self.written for entry in group.entries]
        keys = [record.key for group in self.written for record in group.records]
        self.next_number, self.next_key = max(numbers, default=0) + 1, max(keys, default=0) + 1

    def image(self, now=0.0):
        """What is durable, as a start finds it; the clock went on while there was no power."""
        return image_of(self.written, now)


def image_of(groups, now=0.0, image=None):
    """Apply groups in their order, to nothing or to an image."""
    image = image or Image()
    for group in groups:
        for message, flags, _ in group.entries:
            read = message.copy()
            read.number = message.number
            image.append(read, flags)
        for record in group.records:
            image.apply(record, max(now - group.now, 0.0))
    return image


def plain(image):
    """An image as plain values that can be compared."""
    image.settle()

    def words(message):
        if message is None:
            return None
        return (
            message.topic, message.payload, message.qos, message.retain, message.properties, message.expires_at,
            message.client_id,
        )  # fmt: skip

    return {
        "sessions": {
            key: (
                one.client_id, one.username, one.expiry_s, one.away_s, one.subscriptions, one.replays, one.incoming,
                [
                    (d.number, words(d.message), d.qos, d.retain, d.identifiers, d.shared, d.packet_id)
                    if d.message is not None else (d.number, d.packet_id)
                    for d in one.deliveries
                ],
            )
            for key, one in image.sessions.items()
        },
        "wills": {key: (one.will, one.due_s) for key, one in image.wills.items()},
        "retained": {topic: words(message) for topic, message in image.retained.items()},
    }  # fmt: skip
