"""What a service without a page costs at rest, in bytes."""

import os
import time

import pytest
from processes import eventually
from raw import puback, publish
from service import Service

from appliance.control import ControlClient

MOST_BYTES = 30 * 1_048_576  # of a service without a page that nobody has asked anything and that keeps nothing
MOST_BYTES_OF_A_STORE = 3 * 1_048_576  # more: SQLite, the journal, what places and moves
MOST_BYTES_A_CLIENT = 4_096
CLIENTS = 500
BARE = "[web]\nport = 0\n\n[limits]\nmax_connections_per_address = 1_000\n"
KEEPS_NOTHING = BARE + "\n[store]\nenabled = false\n\n[history]\nenabled = false\n"
LATER_S = 5.0  # that it is watched after all that
LAST_LOADED = "appliance.store.sweep"  # by the writer's thread, a second after the start, when nothing is to be written


def running(scratch, config, env, *, settled):
    """Run a service as in daily use: the files that it starts with are translated, its database is there.

    A settled one has loaded what it loads by itself later, and translated it, as where nobody did that when it was
    installed. Python tells of that in the log, which costs memory too.
    """
    env = {**env, "PYTHONPYCACHEPREFIX": str(scratch / "translated")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if settled:
        env["PYTHONPROFILEIMPORTTIME"] = "1"
    for is_first in (True, False):
        service = Service(scratch / "service", config, env=env)
        if settled and not is_first:
            eventually(lambda log=service.log: f" {LAST_LOADED}\n" in log.read_text())
        if is_first:
            service.stop()
    return service


@pytest.fixture
def daily(tmp_path, request):
    """A service that has just started."""
    service = running(tmp_path, getattr(request, "param", BARE), os.environ, settled=False)
    yield service
    service.close_links()
    service.stop()


@pytest.fixture
def settled(tmp_path):
    """A service that loads no more while clients come."""
    service = running(tmp_path, BARE, os.environ, settled=True)
    yield service
    service.close_links()
    service.stop()


@pytest.mark.parametrize("daily", [KEEPS_NOTHING], indirect=True)
def test_a_service_without_a_page_is_small_until_somebody_asks(daily):
    small = daily.rss_bytes()
    assert small <= MOST_BYTES
    assert ControlClient(daily.scratch / "data" / "control.sock").get("/api/status")["web"] is None
    assert daily.rss_bytes() > small + 2_000_000  # the web's libraries are there now
    daily.check_health()


def test_what_keeps_everything_on_disk_is_small_and_stays_so(settled):
    """From when the writer has loaded its last and written its first, through what it does of its own after that."""
    publisher = settled.client("agent")
    publisher.ask(publish("home/kitchen/temperature", b"21.5", qos=1, packet_id=1, retain=True), puback(1))
    ends = time.monotonic() + LATER_S
    seen = []
    while time.monotonic() < ends:
        seen.append(settled.rss_bytes())
        time.sleep(0.1)
    assert max(seen) <= MOST_BYTES + MOST_BYTES_OF_A_STORE


def test_a_client_that_only_keeps_its_link_is_small(settled):
    for number in range(50):  # what is grown once is not theirs
        settled.client(f"early-{number}")
    before = settled.rss_bytes()
    for number in range(CLIENTS):
        settled.client(f"idle-{number}")
    assert (settled.rss_bytes() - before) / CLIENTS <= MOST_BYTES_A_CLIENT
