"""Topic names and filters, §4.7 and §4.8.2. Every question is answered in one pass, without recursion."""

from typing import Final

from appliance.mqtt.errors import MqttError, TopicFilterInvalid, TopicNameInvalid
from appliance.mqtt.wire import MAX_STRING_BYTES

SHARE_PREFIX: Final = "$share/"  # case-sensitive, MQTT 5 §4.8.2
MAX_LEVELS: Final = 1_024  # as many as the broker's limit can be set to, far beyond any real topic


def check_topic_name(topic: str, max_levels: int = MAX_LEVELS) -> None:
    """TopicNameInvalid unless a message may be published to `topic`."""
    _check_text(topic, max_levels, "topic name", TopicNameInvalid)
    if "+" in topic or "#" in topic:  # [MQTT-4.7.0-1] [MQTT-3.3.2-2]; 3.1.1: [MQTT-4.7.1-1]
        raise TopicNameInvalid(f"the topic name {_shown(topic)} contains a wildcard")


def check_topic_filter(topic_filter: str, max_levels: int = MAX_LEVELS) -> None:
    """TopicFilterInvalid unless `topic_filter`, shared or not, may be subscribed to."""
    _check_text(topic_filter, max_levels, "topic filter", TopicFilterInvalid)
    _, plain = split_share(topic_filter)
    if "+" not in plain and "#" not in plain:
        return
    *parents, last = plain.split("/")
    for level in parents:
        if "#" in level:  # [MQTT-4.7.1-1]; 3.1.1: [MQTT-4.7.1-2]
            raise TopicFilterInvalid(f"# is not the last level of the topic filter {_shown(topic_filter)}")
        if "+" in level and level != "+":  # [MQTT-4.7.1-2]; 3.1.1: [MQTT-4.7.1-3]
            raise TopicFilterInvalid(f"+ is not alone in its level of the topic filter {_shown(topic_filter)}")
    if ("#" in last or "+" in last) and last not in {"#", "+"}:  # [MQTT-4.7.1-1] [MQTT-4.7.1-2]
        raise TopicFilterInvalid(
            f"a wildcard is not alone in the last level of the topic filter {_shown(topic_filter)}"
        )


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """`$share/group/filter` as (group, filter), any other filter as (None, filter).

    TopicFilterInvalid where a group or its filter is missing or the group has a wildcard.
    """
    if not topic_filter.startswith(SHARE_PREFIX):
        return None, topic_filter
    group, slash, plain = topic_filter[len(SHARE_PREFIX) :].partition("/")
    if not group or not slash or not plain:  # [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        raise TopicFilterInvalid(f"{_shown(topic_filter)} is not $share/<group>/<topic filter>")
    if "+" in group or "#" in group:  # [MQTT-4.8.2-2]
        raise TopicFilterInvalid(f"the share group of {_shown(topic_filter)} contains a wildcard")
    return group, plain


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter, without its share prefix, takes in a valid topic name."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):  # [MQTT-4.7.2-1]
        return False
    levels = topic.split("/")
    wanted = topic_filter.split("/")
    for i, level in enumerate(wanted):
        if level == "#":  # the parent level too, §4.7.1.2
            return True
        if i == len(levels) or level not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)


def overlaps(one: str, other: str) -> bool:
    """Whether there is a topic name that both valid filters, without their share prefixes, take in."""
    if (one[0] == "$" and other[0] in "+#") or (other[0] == "$" and one[0] in "+#"):  # [MQTT-4.7.2-1]
        return False
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    for level, wanted in zip(shorter, longer, strict=False):
        if level == "#" or wanted == "#":
            return True
        if wanted != "+" and level not in ("+", wanted):
            return False
    return len(longer) == len(shorter) or longer[len(shorter)] == "#"  # the parent level too, §4.7.1.2


def _check_text(topic: str, max_levels: int, what: str, error: type[MqttError]) -> None:
    """Rules that names and filters share, §4.7.3."""
    if not topic:  # [MQTT-4.7.3-1]
        raise error(f"the {what} is empty")
    if "\0" in topic:  # [MQTT-4.7.3-2]
        raise error(f"the {what} contains U+0000")
    try:
        size = len(topic) if topic.isascii() else len(topic.encode())
    except UnicodeEncodeError:  # never off the wire; a program in the same process may try
        raise error(f"the {what} contains a surrogate") from None  # [MQTT-1.5.4-1]
    if size > MAX_STRING_BYTES:  # [MQTT-4.7.3-3]
        raise error(f"the {what} is longer than {MAX_STRING_BYTES} bytes")
    if topic.count("/") >= max_levels:
        raise error(f"the {what} has more than {max_levels} levels")


def _shown(topic: str) -> str:
    """Short and without line breaks: it goes into one line of a log."""
    return ascii(topic if len(topic) <= 80 else topic[:80] + "…")
