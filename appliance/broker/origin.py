"""Whose reading a message says it is: the user property `agent`, held to the rights of who publishes it.

And whose client id it is: agents have theirs by a rule.
"""

from dataclasses import replace
from functools import lru_cache

from appliance.broker.rights import Rights
from appliance.mqtt.properties import decode_properties, encode_property_block

NAME = "agent"
AGENT = b"\x26\x00\x05agent"  # how such a property begins, MQTT 5 §3.3.2.3.7
ABOUT = "about"  # where an agent describes itself: who may do so speaks for it
AVAILABILITY = "availability"  # where its Last Will goes
AGENTS_ID = "sensors-{site}-{agent}"


def may_speak_for(agent: str, rights: Rights, site: str) -> bool:
    """Whether a publisher may say that a reading is of this agent."""
    if rights.agent is None or rights.agent == agent:
        return True
    return "/" not in agent and rights.may_publish(f"{site}/devices/{agent}/{ABOUT}")


def agents_id(topic: str) -> str:
    """Give the client id of the agent whose availability stands on this topic; empty for other topics."""
    site, *more = topic.split("/")
    if len(more) != 3 or (more[0], more[2]) != ("devices", AVAILABILITY):
        return ""
    return AGENTS_ID.format(site=site, agent=more[1])


def is_another_agents(client_id: str, will_topic: str, rights: Rights, site: str) -> bool:
    """Whether a client id is an agent's for which this user may not speak.

    The site `home-2` has ids that begin as those of `home` do; its agents are known by where their wills go.
    """
    ours = AGENTS_ID.format(site=site, agent="")
    if not client_id.startswith(ours) or may_speak_for(client_id.removeprefix(ours), rights, site):
        return False
    return client_id != agents_id(will_topic)


@lru_cache(1_024)
def _own(agent: str) -> bytes:
    name = agent.encode()
    return AGENT + len(name).to_bytes(2, "big") + name


def held_to(rights: Rights, properties: bytes, site: str) -> bytes:
    """Give a property block without the names of agents that its publisher may not speak for; mostly as it is."""
    agent = rights.agent
    # What looks like such a property inside another one is taken for one here, and looked at more closely.
    if agent is None or properties.count(AGENT) == properties.count(_own(agent)):
        return properties
    said = decode_properties(properties)
    kept = tuple(one for one in said.user_property if one[0] != NAME or may_speak_for(one[1], rights, site))
    if len(kept) == len(said.user_property):
        return properties
    return encode_property_block(replace(said, user_property=kept))
