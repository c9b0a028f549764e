"""Rules of topics -> what each user may do. A name is compared, never matched: no letter in it is a wildcard."""

from collections.abc import Collection, Iterable, Mapping
from weakref import WeakValueDictionary

from appliance.auth.roles import CLIENT, Grants, filled_in, of_role
from appliance.broker.rights import Rights
from appliance.mqtt.topics import matches, overlaps
from appliance.settings import Rule


class Granted:
    """What one user may do: what a rule names, and nothing else."""

    __slots__ = ("__weakref__", "_publish", "_read", "agent")

    def __init__(self, publish: Iterable[str], read: Iterable[str], *, agent: str | None = None) -> None:
        """`agent`: of a device whose readings it sends, empty for nobody's; None: anybody's."""
        self.agent = agent
        self._publish = _Filters(publish)
        self._read = _Filters(read)

    def may_publish(self, topic: str) -> bool:
        """Whether a rule names the topic."""
        return self._publish.take_in(topic)

    def may_read(self, topic: str) -> bool:
        """Whether a rule names the topic."""
        return self._read.take_in(topic)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether the filter and some rule have a topic in common."""
        return self._read.meet(topic_filter)

    def same_as(self, other: Rights) -> bool:
        """Whether these name the same topics as the others."""
        if not isinstance(other, Granted):
            return False
        mine, others = (self._publish, self._read), (other._publish, other._read)  # noqa: SLF001 of its own kind
        return self.agent == other.agent and all(
            one.names() == another.names() for one, another in zip(mine, others, strict=True)
        )

    def publishes_beyond(self, other: "Granted") -> frozenset[str]:
        """Give the filters by which it may publish and the other may not."""
        return self._publish.names() - other._publish.names()  # noqa: SLF001 of its own kind

    @property
    def publishes_everything(self) -> bool:
        """Whether every topic may be published to; nobody publishes to $ topics."""
        return self._publish.everything

    @property
    def reads_everything(self) -> bool:
        """Whether every topic may be read, but perhaps those that begin with $."""
        return self._read.everything


class _Filters:
    """Topic filters; the exact ones cost one look-up however many there are."""

    __slots__ = ("_exact", "_patterns", "everything")

    def __init__(self, topic_filters: Iterable[str]) -> None:
        every = dict.fromkeys(topic_filters)
        self._patterns = tuple(one for one in every if "+" in one or "#" in one)
        self._exact = frozenset(every) - frozenset(self._patterns)
        self.everything = "#" in every  # but for $ topics, [MQTT-4.7.2-1]

    def names(self) -> frozenset[str]:
        return self._exact.union(self._patterns)

    def take_in(self, topic: str) -> bool:
        if self.everything and topic[0] != "$":
            return True
        return topic in self._exact or any(matches(pattern, topic) for pattern in self._patterns)

    def meet(self, topic_filter: str) -> bool:
        return topic_filter in self._exact or any(
            overlaps(one, topic_filter) for group in (self._patterns, self._exact) for one in group
        )


NO_RIGHTS = Granted([], [], agent="")


class Acl:
    """What all users may do: rules that are written by hand, and what managed accounts are granted.

    `users` are those who may come in, None among them where anonymous clients may; without it everybody may.
    A user who has an account and no rules may do everything.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        managed: Mapping[str, Grants] | None = None,
        *,
        site: str = "home",
        users: Collection[str | None] | None = None,
    ) -> None:
        self._users = users
        self._grants: dict[str | None, list[Grants]] = {user: [grants] for user, grants in (managed or {}).items()}
        self._managed = frozenset(self._grants)
        self._of_everybody: list[Grants] = []
        for rule in rules:
            if rule.user in self._managed:  # left of another user of that name: here nobody wrote it for this one
                continue
            grants = of_role(rule.role, site, rule.agent or "", rule.publish, rule.subscribe)
            of_user = self._of_everybody if rule.everybody else self._grants.setdefault(rule.user, [])
            of_user.append(grants)
        self._without_rules = Granted(["#"], ["#"])  # which takes in no $ topic [MQTT-4.7.2-1]
        self._granted: dict[str | None, Granted] = {}  # of users whose client id says nothing
        self._of_clients: WeakValueDictionary[tuple[str | None, str], Granted] = WeakValueDictionary()

    def rights(self, username: str | None, client_id: str) -> Granted:
        """Give what the user may do as this client; None stands for anonymous clients.

        The same object for the same answer, as long as somebody holds it.
        """
        granted = self._granted.get(username) or self._of_clients.get((username, client_id))
        if granted is not None:
            return granted
        if not self.knows(username):  # whose session or will is left of an account that is gone
            return NO_RIGHTS
        every = self._all_grants(username)
        if not every:
            return self._without_rules
        agents = [filled_in(one.agent, username, client_id) or "" for one in every if one.agent]
        granted = Granted(
            *(
                [
                    name
                    for one in every
                    for topic_filter in one[part]
                    if (name := filled_in(topic_filter, username, client_id))
                ]
                for part in (0, 1)
            ),
            agent=agents[0] if agents else None,
        )
        if any(CLIENT in topic_filter.split("/") for one in every for part in one[:2] for topic_filter in part):
            self._of_clients[username, client_id] = granted
        else:
            self._granted[username] = granted
        return granted

    def knows(self, username: str | None) -> bool:
        """Whether there is such an account; None stands for anonymous clients."""
        return self._users is None or username in self._users

    def writers(self, topic: str, client_id: str) -> list[str | None]:
        """Give the users who may have published there as this client: of those who may, none who may everywhere.

        But where nobody else may, it was one of those.
        """
        may = {
            user: rights.publishes_everything
            for user in self._users or ()
            if (rights := self.rights(user, client_id)).may_publish(topic)
        }
        return [user for user, everything in may.items() if not everything] or list(may)

    def _all_grants(self, username: str | None) -> list[Grants]:
        own = self._grants.get(username, [])
        return own if username is None or username in self._managed else own + self._of_everybody
