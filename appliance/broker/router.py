"""From a published message to its readers: subscriptions, routes, shared turns.

A route holds everything the hot path asks of a topic: that its name is valid, what it is for, and who reads it.
Routes are kept per topic, dropped when a subscription changes what they say, and made again by the next message;
who may read the topic is decided when they are made, who may publish to it when a publisher first asks for one.
"""

from appliance.broker.audience import Audience, Reader
from appliance.broker.last_messages import LastMessages
from appliance.broker.message import Message
from appliance.broker.notes import Notes
from appliance.broker.outbound import NO_FORMS, Forms, Outbound
from appliance.broker.ports import Classify, Journal, RouteFlag
from appliance.broker.records import Subscribed
from appliance.broker.retained import UNKNOWN
from appliance.broker.rights import Rights
from appliance.broker.session import Session
from appliance.broker.shared import SharedGroup, Turn
from appliance.broker.stats import Stats
from appliance.broker.tables import Tables
from appliance.broker.topictree import Grant, TopicTree, filter_bytes
from appliance.mqtt.packets import Subscription
from appliance.mqtt.topics import check_topic_name, split_share
from appliance.mqtt.types import ReasonCode
from appliance.mqtt.wire import utf8
from appliance.settings import Limits

MAX_CACHED_TOPIC_BYTES = 1_024
RETAINED = int(RouteFlag.RETAINED)
RECORD = int(RouteFlag.RECORD)
BUNDLE = int(RouteFlag.BUNDLE)
NO_READERS = int(ReasonCode.NO_MATCHING_SUBSCRIBERS)  # MQTT 5 §3.4.2.1: a success


class Route:
    """What is known of a topic."""

    __slots__ = ("audience", "flags", "stores", "topic")

    def __init__(self, topic: str, flags: RouteFlag, audience: Audience) -> None:
        self.topic = topic
        self.flags = int(flags)  # an IntFlag computes too slowly for every message
        self.audience = audience
        self.stores = bool(flags) or audience.stores  # whether a message of QoS 1 or 2 has to be written down


class Router:
    """Topics, their readers and their last messages."""

    def __init__(self, limits: Limits, stats: Stats, journal: Journal, classify: Classify) -> None:
        self.tables: Tables[Route] = Tables(limits.max_cached_topics)
        self.routes = self.tables.all
        self.notes = Notes(journal)
        self.outbound = Outbound(limits, stats, self.notes)
        self._audiences: dict[tuple[tuple[Reader, ...], tuple[Turn, ...]], Audience] = {}
        self._tree: TopicTree[Session | SharedGroup] = TopicTree()
        self.groups: dict[str, SharedGroup] = {}  # by `$share/group/filter`
        self.last = LastMessages(limits, stats, own_is_read=lambda: self._tree.reaches("$SYS"))
        self.retained = self.last.clients
        self._limits = limits
        self._max_output_bytes = limits.max_output_bytes
        self._stats = stats
        self._journal = journal
        self._classify = classify

    # --- subscriptions ---

    def grant(self, session: Session, subscription: Subscription, identifier: int) -> int:
        """Give a client the subscription that it asks for, or the reason why not. [MQTT-3.9.3-2]"""
        topic_filter = subscription.topic_filter
        names = split_share(topic_filter)[1]
        if names.count("/") >= self._limits.max_topic_levels:
            self._stats.subscriptions_refused["too many levels"] += 1
            return ReasonCode.TOPIC_FILTER_INVALID
        if not session.rights.may_subscribe(names):  # where it takes in more than may be read, that much is delivered
            self._stats.subscriptions_refused["not allowed to read"] += 1
            return ReasonCode.NOT_AUTHORIZED
        grant = Grant(subscription.qos, subscription.no_local, subscription.retain_as_published, identifier)
        if not self.subscribe(session, topic_filter, grant, subscription.retain_handling):
            self._stats.subscriptions_refused["too many subscriptions"] += 1
            return ReasonCode.QUOTA_EXCEEDED
        if session.key:
            replays = topic_filter in session.replays
            self.notes.note(session, Subscribed(session.key, topic_filter, int(grant.qos), *grant[1:], replays))
        return subscription.qos

    def subscribe(self, session: Session, topic_filter: str, grant: Grant, retain_handling: int) -> bool:
        """Add or replace a subscription; False when the client has as many as it may."""
        existed = topic_filter in session.subscriptions
        if not existed:
            size = session.subscribed_bytes + filter_bytes(topic_filter)
            limits = self._limits
            if len(session.subscriptions) >= limits.max_subscriptions or size > limits.max_subscription_bytes:
                return False
            session.subscribed_bytes = size
        session.subscriptions[topic_filter] = grant
        if session.left_out is not None:
            session.left_out.pop(topic_filter, None)
        group, names = split_share(topic_filter)
        if group is not None:
            shared = self.groups.setdefault(topic_filter, SharedGroup(topic_filter))
            shared.members[session] = grant
            self._tree.subscribe(names, shared, grant)
            self._forget_routes(names)
            return True  # without the retained messages, §4.8.2
        if retain_handling == 0 or (retain_handling == 1 and not existed):  # [MQTT-3.3.1-9], [MQTT-3.3.1-10]
            session.replays[topic_filter] = self.last.replay(topic_filter, grant, session)
            session.waiting = True
        self._tree.subscribe(topic_filter, session, grant)
        self._forget_routes(topic_filter)
        return True

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Take a subscription away; False when there was none."""
        if session.left_out is not None:
            session.left_out.pop(topic_filter, None)
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        session.subscribed_bytes -= filter_bytes(topic_filter)
        group, names = split_share(topic_filter)
        if group is not None:
            shared = self.groups[topic_filter]
            del shared.members[session]
            if not shared.members:
                del self.groups[topic_filter]
                self._tree.unsubscribe(names, shared)
            self._forget_routes(names)
            return True
        session.replays.pop(topic_filter, None)  # [MQTT-3.10.4-2]
        self._tree.unsubscribe(topic_filter, session)
        self._forget_routes(topic_filter)
        return True

    def forget_routes(self) -> None:
        """Have every topic looked at anew by its next message."""
        self.tables.clear()
        self._audiences.clear()

    def _forget_routes(self, topic_filter: str) -> None:
        self._audiences.clear()
        if "+" in topic_filter or "#" in topic_filter:
            self.tables.clear()
        else:
            self.tables.drop(topic_filter.encode())  # made again once for all changes, by the next message

    # --- publishing ---

    def route(self, topic: bytes) -> Route:
        """Give the topic's route; MalformedPacket when nobody may publish to such a name.

        It is kept for the next message, but for a very long name, which would cost more memory than it saves time,
        and for $-topics, which are the server's own: the walk over a client's bytes must not find one.
        """
        route = self.routes.get(topic)
        if route is not None:
            return route
        name = self.check_name(topic)
        route = Route(name, self._classify(name), self._audience(name))
        if len(topic) > MAX_CACHED_TOPIC_BYTES or name[0] == "$":
            return route
        if self.tables.full():
            self.forget_routes()
        self._audiences[route.audience.readers, route.audience.groups] = route.audience
        self.routes[topic] = route
        return route

    def check_name(self, topic: bytes) -> str:
        """Give the topic's name; MalformedPacket when it is none, or has too many levels."""
        name = utf8(topic)
        check_topic_name(name, self._limits.max_topic_levels)
        return name

    def route_for(self, rights: Rights, topic: bytes) -> Route | None:
        """Give the topic's route to who wants to publish there; None when its rights do not include that.

        That of bundles is asked for each time: whether one may be published depends on what is in it.
        """
        name = self.check_name(topic)
        if not rights.may_publish(name):
            return None
        route = self.route(topic)
        if not route.flags & BUNDLE:
            self.tables.allow(rights, topic)
        return route

    def _audience(self, topic: str) -> Audience:
        grants: dict[Session, list[Grant]] = {}
        groups = []
        for reader, grant in self._tree.match(topic):
            if isinstance(reader, SharedGroup):
                groups.append(reader.turn(topic))
            elif reader.rights.may_read(topic):
                grants.setdefault(reader, []).append(grant)
        readers = tuple(
            Reader(
                session,
                max(grant.qos for grant in of_session),
                any(grant.retain_as_published for grant in of_session),
                tuple(grant.identifier for grant in of_session if grant.identifier),
                tuple(of_session),
            )
            for session, of_session in grants.items()
        )
        key = readers, tuple(turn for turn in groups if not turn.empty)
        return self._audiences.get(key) or Audience(*key)

    def record(self, route: Route, payload: bytes, client_id: str, now: float) -> None:
        """Hand a QoS 0 message without properties to the journal."""
        self._journal.append(Message(route.topic, payload, 0, False, b"", None, client_id), route.flags, now)

    def publish(
        self, route: Route, message: Message, source: Session | None, now: float, forms: Forms | None = None
    ) -> int:
        """Keep, record and deliver one message; gives the commit group that its acknowledgement waits for.

        `forms` may hold the message's bytes as they were received, where they serve a reader as they are.
        """
        flags = route.flags
        audience = route.audience
        group = 0
        if message.retain:
            if self.last.keep(message, now, UNKNOWN if source is None else source.username):
                flags |= RETAINED
            elif message.topic[0] != "$":  # there was no room, and what was kept before is gone too
                group = self._journal.group
                self._journal.append(Message(message.topic, b"", 0, True), RETAINED | flags & RECORD, now)
        if flags:
            if audience.stores and message.qos:  # sessions may refer to it
                message.number = self._journal.take_number()
            group = self._journal.group
            self._journal.append(message, flags, now)
        if audience.empty:
            return group
        if forms is None:
            forms = NO_FORMS[:]
        published_qos = message.qos
        retained = message.retain
        if audience.stores:
            self.notes.group = group
            if audience.plain:
                self.outbound.deliver_durably(audience, message, now, forms)
                self.outbound.deliver_plainly(audience, message, now, forms)
                return self.notes.group
        elif audience.plain:
            self.outbound.deliver_plainly(audience, message, now, forms)
            return group
        for session, granted, retain_as_published, identifiers, grants in audience.readers:
            if session is source and any(grant.no_local for grant in grants):
                others = [grant for grant in grants if not grant.no_local]  # [MQTT-3.8.3-3]
                if not others:
                    continue
                granted = max(grant.qos for grant in others)  # noqa: PLW2901 what is left of it
                retain_as_published = any(grant.retain_as_published for grant in others)  # noqa: PLW2901
                identifiers = tuple(grant.identifier for grant in others if grant.identifier)  # noqa: PLW2901
            if session.deliver is not None:
                noted = self.notes.group
                session.deliver(message)  # its owner may publish in turn
                self.notes.group = max(noted, self.notes.group)
                continue
            retain = retained and retain_as_published  # else 0: [MQTT-3.3.1-9] of 3.1.1, [MQTT-3.3.1-12] of 5
            qos = min(published_qos, granted)
            self.outbound.deliver(session, (message, qos, retain, identifiers, None), now, forms)
        is_only_copy = len(audience.readers) + len(audience.groups) == 1
        for turn in audience.groups:
            self._share(turn, message, now, forms, is_only_copy=is_only_copy)
        return self.notes.group if audience.stores else group

    def _share(self, turn: Turn, message: Message, now: float, forms: Forms, *, is_only_copy: bool) -> None:
        """Deliver to the member whose turn it is."""
        member = turn.shared.next_member(self._max_output_bytes, turn.barred)
        if member is not None:
            session, grant = member
            if session.key and message.qos and not is_only_copy:  # a session knows no number twice
                message = message.copy()
            retain = message.retain and grant.retain_as_published
            identifiers = (grant.identifier,) if grant.identifier else ()
            delivery = message, min(grant.qos, message.qos), retain, identifiers, turn.shared  # [MQTT-4.8.2-3]
            self.outbound.deliver(session, delivery, now, forms)

    def share_again(self, messages: list[tuple[SharedGroup, Message]], now: float) -> None:
        """Hand on what a member could not finish, but for what nobody may get any more. [MQTT-3.3.2-5]"""
        for shared, message in messages:
            if message.expires_at is not None and message.expires_at < now:
                self._stats.dropped["expired"] += 1
                continue
            self._share(shared.turn(message.topic), message, now, NO_FORMS[:], is_only_copy=False)
