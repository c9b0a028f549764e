"""What agents say of themselves counts as far as whoever published it may speak of it."""

import pytest
from virtual import V5, VirtualServer

from appliance.abouts import MOST_TOLD, Abouts
from appliance.accounts import Accounts, Files
from appliance.auth.acl import Acl
from appliance.auth.roles import of_role
from appliance.broker.message import Message
from appliance.devices import Device, Measurement, encode_about

ATTIC, KITCHEN = "home/attic/temperature", "home/kitchen/temperature"
ABOUT = "home/devices/attic/about"
GRANTS = {
    "admin": of_role("admin", "home"),
    "attic": of_role("device", "home", "attic", (ATTIC,)),
    "kitchen": of_role("device", "home", "kitchen", (KITCHEN,)),
}


def told(*topics, agent="attic"):
    sensors = tuple(Measurement(topic=topic, kind="temperature", unit="hPa", name="gone") for topic in topics)
    return encode_about(Device(agent=agent, site="home", sensors=sensors))


class House:
    """A server with accounts, and what reads its agents' descriptions."""

    def __init__(self, *users):
        self.acl = Acl([], {user: GRANTS[user] for user in users}, users=set(users)) if users else None
        self.server = VirtualServer(**({"authorize": self.acl.rights} if self.acl else {}))
        accounts = Accounts(None, self.acl, Files({}, [], {}, frozenset()), "home") if self.acl else None
        self.abouts = Abouts(self.server.broker, accounts)

    def publish(self, user, payload, *, retain=True, client_id="one"):
        """Publish as a client would; gives what a reader inside the process gets."""
        self.server.client(client_id, V5, username=user).publish(ABOUT, payload, retain=retain)
        return Message(ABOUT, payload, 0, retain, client_id=client_id)

    def kept(self):
        return self.server.broker.router.retained.peek(ABOUT)

    def read(self, message):
        device = self.abouts.read(message)
        return device.agent, [sensor.topic for sensor in device.sensors]


ALL = ("admin", "attic", "kitchen")


def test_without_accounts_it_is_as_it_is():
    at = House()
    at.publish(None, told(ATTIC, KITCHEN, agent="house"))
    assert at.read(at.kept()) == ("house", [ATTIC, KITCHEN])


@pytest.mark.parametrize("retain", [False, True])
def test_it_counts_for_what_its_publisher_may_publish_to_and_for_its_own_agent(retain, caplog):
    at = House(*ALL)
    message = at.publish("attic", told(ATTIC, KITCHEN, "", agent="kitchen"), retain=retain)
    for _ in range(2):
        assert at.read(at.kept() if retain else message) == ("attic", [ATTIC])
    assert caplog.text.count(f"{ABOUT}: what it says of '{KITCHEN}' counts for nothing") == 1
    at.server.goodbye(at.server.clients[-1])
    if retain:
        assert at.read(at.kept()) == ("attic", [ATTIC])


def test_an_admin_may_speak_of_everything():
    at = House(*ALL)
    at.publish("admin", told(ATTIC, KITCHEN))
    assert at.read(at.kept()) == ("attic", [ATTIC, KITCHEN])


def test_whose_it_is_stays_known_when_another_comes_under_its_client_id():
    at = House(*ALL)
    at.publish("attic", told(KITCHEN), client_id="hass")
    at.server.goodbye(at.server.clients[-1])
    at.server.client("hass", V5, username="admin")
    assert at.read(at.kept()) == ("attic", [])


@pytest.mark.parametrize(
    ("users", "topics"),
    [
        (ALL, [ATTIC]),  # the agent may have said it, so more than that is not believed
        (("admin", "kitchen"), [ATTIC, KITCHEN]),  # nobody but an admin
        (("kitchen",), []),  # nobody at all
    ],
)
def test_of_an_unknown_publisher_it_is_one_of_those_who_may(users, topics):
    at = House(*users)
    before = Message(ABOUT, told(ATTIC, KITCHEN), 1, True, client_id="one")
    at.server.broker.router.retained.put(before, at.server.now)
    assert at.read(before) == ("attic", topics)
    gone = Message(ABOUT, told(ATTIC, KITCHEN), client_id="will of one who is gone")
    assert at.read(gone) == ("attic", topics)


def test_what_is_none_is_said():
    at = House(*ALL)
    at.publish("attic", b"{")
    with pytest.raises(ValueError, match="not an about message"):
        at.read(at.kept())


def test_the_log_of_it_is_bounded(caplog):
    at = House(*ALL)
    at.publish("attic", told(*(f"{KITCHEN}/{number}" for number in range(MOST_TOLD + 5))))
    assert at.read(at.kept()) == ("attic", [])
    assert len(caplog.records) == MOST_TOLD
