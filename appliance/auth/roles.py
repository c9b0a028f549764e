"""What each role may do, as topic filters; and names in place of %u and %c in a filter."""

from collections.abc import Sequence
from typing import NamedTuple

from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import SHARE_PREFIX, check_topic_filter
from appliance.settings import Role

USER, CLIENT = "%u", "%c"
UNSAFE = frozenset("+#/$")  # no name with one of these stands for a level: it would mean more than itself


class Grants(NamedTuple):
    """Topic filters, in which %u and %c may stand for a level; and of a device whose readings it sends."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    agent: str = ""  # %u may stand for it; empty: anybody's


def of_role(
    role: Role | None, site: str, agent: str = "", publish: Sequence[str] = (), subscribe: Sequence[str] = ()
) -> Grants:
    """Give what a role may do in a site, with the filters that are listed beside it.

    A device's `agent` is the name under which it tells of itself; empty: its user name.
    """
    listed = Grants(tuple(publish), tuple(subscribe))
    match role:
        case "admin":
            grants = Grants(("#",), ("#", "$SYS/#"))
        case "reader":
            grants = Grants((), ("#",))
        case "integration":  # switches what can be switched, and talks with Home Assistant
            grants = Grants((f"{site}/+/+/set", f"{site}/+/+/+/set", "homeassistant/#"), ("#",))
        case "device":
            own = f"{site}/devices/{agent or USER}/#"
            grants = Grants((own,), (own, *listed.publish, *map(_commands, listed.publish)), agent or USER)
        case None:
            return listed
    return Grants(
        _each_once(grants.publish + listed.publish), _each_once(grants.subscribe + listed.subscribe), grants.agent
    )


def filled_in(topic_filter: str, username: str | None, client_id: str) -> str | None:
    """Put the names in; None where one would mean more than itself, or is none: such a filter matches nothing."""
    names = {USER: username, CLIENT: client_id}
    levels = []
    for level in topic_filter.split("/"):
        name = names.get(level, level)
        if level in names and (not name or not UNSAFE.isdisjoint(name)):
            return None
        levels.append(name or "")
    return "/".join(levels)


def filter_problem(topic_filter: str, *, may_be_servers: bool) -> str:
    """Say why this is no topic filter of an account; empty when it is one."""
    try:
        check_topic_filter(topic_filter)
    except MqttError as error:
        return str(error)
    if topic_filter.startswith(SHARE_PREFIX):
        return f"a shared subscription; leave {SHARE_PREFIX}<group>/ away: it is meant too"
    if topic_filter.startswith("$") and not may_be_servers:
        return "nobody may publish to $ topics, they are the server's own"
    if any(level not in {USER, CLIENT} and (USER in level or CLIENT in level) for level in topic_filter.split("/")):
        return f"%u and %c stand for a whole level, in '{topic_filter[:80]}' for a part of one"
    return ""


def _commands(topic_filter: str) -> str:
    return topic_filter if topic_filter == "#" or topic_filter.endswith("/#") else f"{topic_filter}/set"


def _each_once(topic_filters: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(topic_filters))
