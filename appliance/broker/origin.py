"""Whose reading a message says it is: the user property `agent`, held to the rights of who publishes it."""

from dataclasses import replace
from functools import lru_cache

from appliance.broker.rights import Rights
from appliance.mqtt.properties import decode_properties, encode_property_block

NAME = "agent"
AGENT = b"\x26\x00\x05agent"  # how such a property begins, MQTT 5 §3.3.2.3.7
ABOUT = "about"  # where an agent describes itself: who may do so speaks for it


def may_speak_for(agent: str, rights: Rights, site: str) -> bool:
    """Whether a publisher may say that a reading is of this agent."""
    if rights.agent is None or rights.agent == agent:
        return True
    return "/" not in agent and rights.may_publish(f"{site}/devices/{agent}/{ABOUT}")


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
