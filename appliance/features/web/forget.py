"""Forgets a device: clears what the broker retains of an agent that will not come back, so that nobody shows it."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.broker.message import Message
from appliance.devices import ABOUT, AVAILABILITY, ONLINE, Device, as_told, device_topic
from appliance.features.web.asked import body_of, json_answer
from appliance.features.web.live import Local
from appliance.features.web.login import hold_to_forget
from appliance.mqtt.errors import MqttError
from appliance.mqtt.properties import decode_properties
from appliance.mqtt.topics import check_topic_name

CLOSE: Final = 3  # names that are offered for one that nobody has
MOST_NAMED: Final = 5


class ForgetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /api/forget; without a site it is this service's."""

    agent: str
    site: str = ""


class Forget:
    """The route, and what it needs to answer."""

    def __init__(self, local: Local, site: str, read_about: Callable[[Message], Device] = as_told) -> None:
        self._local = local
        self._read_about = read_about
        self._site = site

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/api/forget", self.forget, methods=["POST"])]

    async def forget(self, request: Request) -> Response:
        """Clear everything that is retained of one device; 404 unless there is one, 409 while it is online."""
        hold_to_forget(request)
        body = await body_of(request, ForgetBody, 'send {"agent": "attic"}')
        hold_to_forget(request)  # still, when all of it has come
        site, agent = body.site or self._site, body.agent
        if not agent or not _is_level(agent) or not _is_level(site):
            raise HTTPException(400, "a device and a site are one level of a topic each, as in attic and home")
        traces = Traces(site, self._local.retained(f"{site}/#"), self._read_about)
        topics = traces.of(agent)
        if not topics:
            raise HTTPException(404, f"no device of {site} is called {agent!r}; {_instead(agent, traces.agents)}")
        if agent in traces.online:
            raise HTTPException(
                409, f"{agent} is online; stop its agent first (`systemctl stop sensors` there), then forget it"
            )
        for topic in topics:
            self._local.publish(topic, b"", retain=True)
        if any(self._local.retained(topic) for topic in topics):
            raise HTTPException(503, "nothing can be stored at present; `appliance status` says why")
        return json_answer({"agent": agent, "cleared": len(topics)})


class Traces:
    """What is retained of each agent of one site."""

    def __init__(
        self, site: str, messages: Sequence[Message], read_about: Callable[[Message], Device] = as_told
    ) -> None:
        """`read_about` gives what an `about` says; ValueError."""
        self._devices = device_topic(site, "", "").removesuffix("/")
        self._messages = messages
        own = [message for message in messages if message.topic.startswith(self._devices)]
        self._abouts = {
            name: listed
            for name, leaf, message in self._leaves(own)
            if leaf == ABOUT and (listed := _listed(message, read_about))
        }
        self.online = {
            name for name, leaf, message in self._leaves(own) if leaf == AVAILABILITY and message.payload == ONLINE
        }
        self.agents = {name for name, _, _ in self._leaves(own)}

    def of(self, agent: str) -> list[str]:
        """Give the topics of one: its own, its readings, and what its `about` lists unless that is another's by now.

        A reading says whose it is; where one does not, no other `about` may list it.
        """
        own = f"{self._devices}{agent}/"
        listed = self._abouts.get(agent, frozenset())
        others = {topic for name, topics in self._abouts.items() if name != agent for topic in topics}
        found = []
        for message in self._messages:
            topic = message.topic
            if topic.startswith(self._devices):
                is_its = topic.startswith(own)
            else:
                by = _publisher(message)
                is_its = by == agent or (by is None and topic in listed and topic not in others)
            if is_its:
                found.append(topic)
        return found

    def _leaves(self, messages: Iterable[Message]) -> Iterable[tuple[str, str, Message]]:
        for message in messages:
            name, _, leaf = message.topic.removeprefix(self._devices).partition("/")
            yield name, leaf, message


def _listed(message: Message, read_about: Callable[[Message], Device]) -> frozenset[str]:
    """Give the topics of readings that an `about` lists."""
    try:
        return frozenset(sensor.topic for sensor in read_about(message).sensors)
    except ValueError:
        return frozenset()


def _publisher(message: Message) -> str | None:
    """Give the agent that a reading says it is from."""
    if not message.properties:
        return None
    try:
        return dict(decode_properties(message.properties).user_property).get("agent")
    except MqttError:
        return None


def _instead(agent: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if close := get_close_matches(agent, names, n=CLOSE):
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return "there are none"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"there are {', '.join(names[:MOST_NAMED])}{more}"


def _is_level(text: str) -> bool:
    try:
        check_topic_name(text)
    except MqttError:
        return False
    return "/" not in text and not text.startswith("$")
