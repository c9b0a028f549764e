"""The last messages of all topics: the clients' retained ones, and beside them what the server says of itself."""

from collections.abc import Callable, Iterator

from appliance.broker.message import Message
from appliance.broker.retained import UNKNOWN, RetainedStore
from appliance.broker.rights import ALL_RIGHTS
from appliance.broker.session import Delivery, Session
from appliance.broker.stats import Stats
from appliance.broker.topictree import Grant
from appliance.settings import Limits

MAX_OWN_MESSAGES, MAX_OWN_BYTES = 1_000, 1_048_576


class LastMessages:
    """Two stores. No wildcard reaches into `$…` [MQTT-4.7.2-1], so that a filter finds messages in one of them only.

    The server's own cost no client its place, and are made only while somebody reads them: `refresh_own` is called
    when somebody begins to.
    """

    def __init__(self, limits: Limits, stats: Stats, own_is_read: Callable[[], bool]) -> None:
        self.clients = RetainedStore(limits.max_retained_messages, limits.max_retained_bytes)
        self.own = RetainedStore(MAX_OWN_MESSAGES, MAX_OWN_BYTES)
        self.own_is_read = own_is_read
        self.refresh_own: Callable[[], None] = _do_nothing
        self.left_out: set[str] = set()  # topics whose message was kept at the last start and found no room at this one
        self._stats = stats

    def keep(self, message: Message, now: float, username: str | None = UNKNOWN) -> bool:
        """Keep a message in place of its topic's last, or forget that; True when it is a client's and had room.

        `username` is its publisher's.
        """
        if message.topic[0] == "$":
            self.own.put(message, now)
            return False
        kept = True
        if not message.payload:
            self.clients.discard(message.topic)  # [MQTT-3.3.1-10]
        elif not self.clients.put(message, now, username):
            self.clients.discard(message.topic)  # an older value must not pass for the last one
            self._stats.dropped["no room to retain"] += 1
            kept = False
        self._stats.retained_now = len(self.clients)
        return kept

    def expire(self, now: float) -> None:
        """Forget the clients' whose time is over; without this they stay until there is another to keep."""
        self.clients.expire(now)
        self._stats.retained_now = len(self.clients)

    def store(self, topic_filter: str) -> RetainedStore:
        """Give the store in which the filter may find messages; the server's own are up to date then."""
        if topic_filter[0] != "$":
            return self.clients
        if topic_filter.partition("/")[0] == "$SYS" and not self.own_is_read():
            self.refresh_own()
        return self.own

    def replay(self, topic_filter: str, grant: Grant, reader: Session) -> Iterator[Delivery]:
        """Give the retained messages one by one as the reader takes them, each as it is at that moment, if it may."""
        return _replay(self.store(topic_filter), topic_filter, grant, reader)


def _replay(store: RetainedStore, topic_filter: str, grant: Grant, reader: Session) -> Iterator[Delivery]:
    identifiers = (grant.identifier,) if grant.identifier else ()
    for topic in store.topics(topic_filter):
        message = store.peek(topic)
        if message is not None and (reader.rights is ALL_RIGHTS or reader.rights.may_read(topic)):
            yield message, min(grant.qos, message.qos), True, identifiers, None


def _do_nothing() -> None:
    pass
