"""Commit groups for the tests of what is stored: any messages and changes of sessions, and images to compare."""

import shutil
from types import SimpleNamespace

from hypothesis import strategies as st
from strategies import texts, topic_names

from appliance.broker import records
from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.clock import rfc3339
from appliance.store.group import Group
from appliance.store.history import Placed

AT = 1_795_377_951.125  # 2026-11-22T20:05:51.125Z
START_TICK = round(AT * 16_000)


NO_NUMBER = 10**6  # of no message


def retained(topic, payload=b"1", number=0):
    """Give an entry of a group that is retained and nothing else."""
    message = Message(topic, payload, 1, True)
    message.number = number
    return message, 1, 1.0, None


def ask(ledger, statement):
    """Give the one value that a statement finds."""
    return ledger._database.connection.execute(statement).fetchone()[0]


def age_ms(now):
    """Give the service's age where it is as old as its clock."""
    return round(now * 1000)


def user_property(name, value):
    """Give one MQTT 5 user property."""
    pair = b"".join(len(part).to_bytes(2, "big") + part for part in (name.encode(), value.encode()))
    return b"\x26" + pair


def provenance(seq, at, *, agent="house", run="0a1b2c3d4e5f", quality="ok", clock="synced"):
    """Give the property block of an agent's reading, measured at Unix seconds."""
    said = {"agent": agent, "run": run, "seq": str(seq), "time": rfc3339(at), "quality": quality, "clock": clock}
    return b"".join(user_property(name, value) for name, value in said.items())


class FakeHistory:
    """Gives every message one reading or several, each of the series with its topic, and moves nothing."""

    def __init__(self, database, readings=1):
        self._ask = database.connection.execute
        self._readings = readings
        self.learnt = []
        self.moves = []

    def look(self, now, at):
        pass

    def settle(self, now, retained):
        pass

    def learn(self, device):
        self.learnt.append(device)

    def place(self, entry, _group):
        message, _, now, _ = entry
        topics = [message.topic, *(f"{message.topic}/{n}" for n in range(1, self._readings))]
        seq_at = message.properties.find(b"seq\0")
        seq = None if seq_at < 0 else int(message.properties[seq_at + 5 :].split(b"\x26")[0])
        tick = START_TICK + round(now * 16_000)
        return [Placed(self._series(topic), tick + n, _value(message), seq, 40, 1) for n, topic in enumerate(topics)]

    def move(self, cut_id):
        self.moves.append(cut_id)
        return len(self.moves) % 3 != 0

    def deleted(self):
        self.moves.append(None)

    def _series(self, topic):
        self._ask("INSERT OR IGNORE INTO series (topic, kind) VALUES (?, 'number')", (topic,))
        return self._ask("SELECT id FROM series WHERE topic = ?", (topic,)).fetchone()[0]


def _value(message):
    try:
        return round(float(message.payload) * 1000)
    except ValueError:
        return message.payload.decode(errors="replace")


def told(message):
    """Give everything of a message that can be compared."""
    if message is None:
        return None
    expires = None if message.expires_at is None else round(message.expires_at, 3)
    return (message.topic, message.payload, message.qos, message.retain, message.properties, expires, message.client_id)


def described(image):
    """Give everything of an image that can be compared; numbers of retained messages stand for nothing."""
    return SimpleNamespace(
        retained={topic: told(message) for topic, message in image.retained.items()},
        wills={key: (will.will, _rounded(will.due_s)) for key, will in image.wills.items()},
        sessions={
            key: (
                session.key,
                session.client_id,
                session.username,
                session.expiry_s,
                _rounded(session.away_s),
                session.subscriptions,
                session.replays,
                [
                    (
                        delivery.number,
                        told(delivery.message),
                        delivery.qos,
                        delivery.retain,
                        delivery.identifiers,
                        delivery.shared,
                        delivery.packet_id,
                    )
                    for delivery in session.deliveries
                    # The core never has anything in line of whose message nothing was handed over.
                    if delivery.message is not None or delivery.packet_id
                ],
                session.incoming,
            )
            for key, session in image.sessions.items()
        },
    )


def _rounded(seconds):
    return None if seconds is None else round(seconds, 3)


def applied(groups, now):
    """Give the image of groups for the moment `now`, without any database between."""
    image = Image()
    for group in groups:
        for message, flags, _, _ in group.entries:
            image.append(message, flags)
        for change in group.records:
            image.apply(change, now - group.now)
    image.settle()
    return image


def crash_copy(path, directory):
    """Copy the database as a crash at this moment would leave it."""
    directory.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        target = directory / source.name
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
    (directory / f"{path.name}-shm").unlink(missing_ok=True)
    return directory / path.name


keys = st.integers(1, 4)
packet_ids = st.integers(1, 3)
filters = st.sampled_from(["a/#", "home/+/temperature", "$share/g/x", "温度"])
seconds = st.integers(0, 10**7).map(lambda ms: ms / 1000)


@st.composite
def messages(draw):
    """Messages of our agents and of strangers, any bytes in their blocks."""
    topic = draw(st.one_of(topic_names, st.sampled_from(["home/kitchen/temperature", "t"])))
    payload = draw(st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"21.4", b"21.40", b"-0.5", b"ON", b"7"])))
    properties = draw(
        st.one_of(
            st.just(b""),
            st.binary(max_size=60),
            st.builds(provenance, st.integers(0, 10**6), st.sampled_from([AT, AT + 1, 0.0, 9e9]), agent=texts),
        )
    )
    expires_at = draw(st.none() | seconds)
    return Message(topic, payload, draw(st.integers(0, 2)), draw(st.booleans()), properties, expires_at, draw(texts))


@st.composite
def histories_of_groups(draw, max_groups=8):
    """Groups as a broker closes them: numbers are new, and a `Queued` refers to what is new or held by a session."""
    image, groups, ended, number, now = Image(), [], set(), 0, 1.0
    for group_number in range(1, draw(st.integers(1, max_groups)) + 1):
        now += draw(st.integers(0, 5_000)) / 1000
        group = Group(group_number, run=5, now=now)
        for message in draw(st.lists(messages(), max_size=4)):
            if draw(st.booleans()):
                number += 1
                message.number = number
            flags = draw(st.sampled_from([0, 1, 2, 3, 1 | 2 | 4]))
            group.entries.append((message, int(flags), now, None))
            image.append(message, flags)
        held = {d.number for s in image.sessions.values() for d in s.deliveries if d.message is not None}
        numbers = sorted(held | {entry[0].number for entry in group.entries} - {0}) or [NO_NUMBER]
        for change in draw(st.lists(changes(st.sampled_from(numbers)), max_size=12)):
            if not _may_follow(change, image, ended):
                continue
            if isinstance(change, records.Ended):
                ended.add(change.key)
            group.records.append(change)
            image.apply(change)
        image.settle()
        groups.append(group)
    return groups


def _may_follow(change, image, ended):
    """Whether the core can say this now: of a session or will that there is, and never again of one that has ended."""
    if isinstance(change, records.Opened | records.WillKept):
        return change.key not in ended
    if isinstance(change, records.WillWaits | records.WillGone):
        return change.key in image.wills
    if isinstance(change, records.Queued) and change.number == NO_NUMBER:
        return False
    return change.key in image.sessions


def changes(numbers):
    """Changes of sessions of every kind, of few keys and packet ids so that they meet."""
    sent = st.one_of(st.just(0), packet_ids)
    blocks = st.binary(max_size=20)
    shared = st.none() | filters
    qos = st.integers(0, 2)
    return st.one_of(
        st.builds(records.Opened, keys, texts, st.none() | texts, st.sampled_from([0.0, 60.0, float("inf")])),
        st.builds(records.Opened, keys, texts, st.none() | texts, seconds),
        st.builds(records.Left, keys, seconds),
        st.builds(records.Back, keys),
        st.builds(records.Ended, keys),
        st.builds(
            records.Subscribed, keys, filters, qos, st.booleans(), st.booleans(), st.integers(0, 9), st.booleans()
        ),
        st.builds(records.Replayed, keys, filters),
        st.builds(records.Unsubscribed, keys, filters),
        st.builds(
            records.Queued, keys, numbers, qos, st.booleans(), st.lists(st.integers(1, 9)).map(tuple), shared, sent
        ),
        st.builds(records.Queued, keys, numbers, qos, st.booleans(), st.just(()), shared, st.just(0)),
        st.builds(records.Sent, keys, numbers, packet_ids),
        st.builds(records.Dropped, keys, numbers),
        st.builds(records.Released, keys, packet_ids),
        st.builds(records.Done, keys, packet_ids),
        st.builds(records.Received, keys, packet_ids),
        st.builds(records.Forgot, keys, packet_ids),
        st.builds(
            records.WillKept,
            keys,
            texts,
            st.none() | texts,
            topic_names,
            blocks,
            qos,
            st.booleans(),
            blocks,
            st.integers(0, 100),
            st.none() | st.integers(0, 100),
        ),
        st.builds(records.WillWaits, keys, seconds),
        st.builds(records.WillGone, keys),
    )
