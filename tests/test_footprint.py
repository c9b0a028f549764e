"""What a service without a page costs at rest, in bytes."""

import os

import pytest
from processes import eventually
from service import Service

from appliance.control import ControlClient

MOST_BYTES = 30 * 1_048_576  # of a service without a page that nobody has asked anything and that keeps nothing
MOST_BYTES_OF_A_STORE = 3 * 1_048_576  # more: SQLite, the journal, what places and moves
MOST_BYTES_A_CLIENT = 4_096
CLIENTS = 500
BARE = "[web]\nport = 0\n\n[limits]\nmax_connections_per_address = 1_000\n"
KEEPS_NOTHING = BARE + "\n[store]\nenabled = false\n\n[history]\nenabled = false\n"
LAST_LOADED = "appliance.store.sweep"  # by the writer's thread, a second after the start, when nothing is to be written


def at_rest(scratch, config, env):
    """A service that has loaded what it loads by itself; Python tells of that in the log."""
    service = Service(scratch, config, env={**env, "PYTHONPROFILEIMPORTTIME": "1"})
    if config != KEEPS_NOTHING:
        eventually(lambda: f" {LAST_LOADED}\n" in service.log.read_text())
    return service


@pytest.fixture
def daily(tmp_path, request):
    """A service as in daily use: its files are translated, its database is there."""
    config = getattr(request, "param", BARE)
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "translated")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    at_rest(tmp_path / "service", config, env).stop()
    service = at_rest(tmp_path / "service", config, env)
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


def test_what_keeps_everything_on_disk_is_small(daily):
    assert daily.rss_bytes() <= MOST_BYTES + MOST_BYTES_OF_A_STORE


def test_a_client_that_only_keeps_its_link_is_small(daily):
    for number in range(50):  # what is grown once is not theirs
        daily.client(f"early-{number}")
    before = daily.rss_bytes()
    for number in range(CLIENTS):
        daily.client(f"idle-{number}")
    assert (daily.rss_bytes() - before) / CLIENTS <= MOST_BYTES_A_CLIENT
