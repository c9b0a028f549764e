"""Holds what a store gives back, without any service around it, to what clients saw acknowledged."""

from pathlib import Path

from appliance.broker.image import Image, StoredSession
from tests.crash.facts import Facts, State, number_in, payload_of
from tests.crash.history import recorded
from tests.crash.house import AGENTS, DISCARD, READERS
from tests.crash.judge import check_history, check_retained, check_setting
from tests.crash.peer import WILL


def check_store(facts: Facts, image: Image, database: Path) -> None:
    """Check everything that a store holds; faults go into the facts."""
    check_image(facts, image)
    check_history(facts, recorded(database, list(facts.series), 0))


def check_image(facts: Facts, image: Image) -> None:
    """Check sessions and retained messages."""
    check_retained(
        facts, {topic: message.payload for topic, message in image.retained.items() if not topic.startswith("$")}
    )
    sessions = {session.client_id: session for session in image.sessions.values()}
    for topic, message in image.retained.items():
        sent = facts.messages.get(number_in(message.payload) or 0)
        if sent is not None and sent.seq is not None and b"\x00\x03seq\x00" not in message.properties:
            facts.faults.add("retained value wrong", f"{topic}: {message.payload!r} without its properties")
    wills = {(stored.will.client_id, stored.will.topic, stored.will.payload) for stored in image.wills.values()}
    taken = _taken(facts, sessions)
    for name, state in facts.peers.items():
        session = sessions.get(name)
        if name in ("discard", "checker"):
            continue
        if session is None:
            if state.known:
                facts.faults.add("Session Present wrong", f"{name}: unknown, though it was acknowledged something")
            continue
        _check_incoming(facts, name, state, session.incoming, taken)
        if name in AGENTS and state.settled_link and (name, f"{WILL}{name}", b"offline") not in wills:
            facts.faults.add("wills lost", name)
        if name in READERS:
            _check_deliveries(facts, name, state, session.deliveries)
            found = {topic_filter: grant.qos for topic_filter, grant in session.subscriptions.items()}
            if state.filters and found != {f"{prefix}#": state.qos for prefix in state.filters}:
                facts.faults.add("subscriptions wrong", f"{name}: {found}")
        elif name == "churn":
            grants = session.subscriptions.items()
            found = {key: grant.qos for key, grant in sorted(grants) if key != "marker/#"}
            check_setting(facts, name, found, state.possible())
    session = sessions.get("discard")
    found = "none" if session is None else "subscribed" if DISCARD in session.subscriptions else "bare"
    check_setting(facts, "discard", found, facts.peers["discard"].possible())


def _taken(facts: Facts, sessions: dict[str, StoredSession]) -> set[int]:
    """Give the numbers that have reached a reader or are on their way to one."""
    found = {
        number_in(delivery.message.payload)
        for name in READERS
        for delivery in (sessions[name].deliveries if name in sessions else ())
        if delivery.message is not None
    }
    seen = (facts.peers[name].got for name, qos in READERS.items() if qos == 2)  # QoS 1 does not wait for the disk
    return {number for number in found if number is not None}.union(*seen)


def _check_incoming(facts: Facts, name: str, state: State, incoming: set[int], taken: set[int]) -> None:
    """The id of a message that was taken must be known until PUBREL, and after PUBCOMP it must not."""
    for packet_id, outgoing in state.outgoing.items():
        of_qos_2 = facts.messages[outgoing.number].qos == 2
        if of_qos_2 and not outgoing.released and outgoing.number in taken and packet_id not in incoming:
            facts.faults.add("QoS 2 duplicates", f"{name}: id {packet_id} ({outgoing.number}) would be taken again")
    for packet_id in incoming - state.outgoing.keys():
        facts.faults.add("QoS 2 lost", f"{name}: id {packet_id} is still taken, its next message would be dropped")


def _check_deliveries(facts: Facts, name: str, state: State, deliveries) -> None:
    """What was acknowledged to publishers and not by this reader must be on its way, in order, once."""
    on_its_way: dict[int, tuple[int, int]] = {}
    released: set[int] = set()
    newest: dict[tuple[str, int], int] = {}
    for delivery in deliveries:
        if delivery.message is None:
            released.add(delivery.packet_id)
            continue
        topic, payload = delivery.message.topic, delivery.message.payload
        number = number_in(payload)
        if topic.startswith("churn/"):
            continue
        if number is None or number not in facts.messages or payload != payload_of(number, topic):
            facts.faults.add("payloads that nobody sent", f"{name}: {topic} {payload[:40]!r}")
            continue
        qos = facts.messages[number].qos
        if qos == 2 == delivery.qos:
            if number in on_its_way:
                facts.faults.add("QoS 2 duplicates", f"{name}: {topic} {number} is on its way twice")
            if number in state.got and state.open.get(delivery.packet_id) != number:
                facts.faults.add("QoS 2 duplicates", f"{name}: {topic} {number} would come again")
        if number < newest.get((topic, qos), 0) and not facts.messages[number].again:
            facts.faults.add("out of order", f"{name}: {topic} {number} after {newest[topic, qos]}")
        newest[topic, qos] = number
        on_its_way[number] = (delivery.packet_id, delivery.qos)
    for number in state.wanted:
        if facts.messages[number].acknowledged and number not in on_its_way:
            kind = "QoS 2 lost" if facts.messages[number].qos == state.qos == 2 else "acknowledged and lost"
            facts.faults.add(kind, f"{name}: {facts.messages[number].topic} {number}")
    for packet_id, number in state.open.items():
        if packet_id not in released and on_its_way.get(number, (0, 0))[0] != packet_id:
            facts.faults.add("QoS 2 lost", f"{name}: id {packet_id} ({number}) is open and not known")
    for packet_id, number in state.unacknowledged.items():
        if on_its_way.get(number, (0, 0))[0] not in (0, packet_id):  # 0: that it was sent is no promise at QoS 1
            facts.faults.add("repeated without DUP or the original id", f"{name}: {number} was sent as {packet_id}")
