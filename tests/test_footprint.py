"""What a service without a page costs at rest, in bytes."""

import os

import pytest
from service import Service

from appliance.control import ControlClient

MOST_BYTES = 30 * 1_048_576  # of a service without a page that nobody has asked anything and that keeps nothing
MOST_BYTES_OF_A_STORE = 3 * 1_048_576  # more: SQLite, the journal, what places and moves
MOST_BYTES_A_CLIENT = 4_096
CLIENTS = 500
BARE = "[web]\nport = 0\n\n[limits]\nmax_connections_per_address = 1_000\n"
KEEPS_NOTHING = BARE + "\n[store]\nenabled = false\n\n[history]\nenabled = false\n"


@pytest.fixture
def daily(tmp_path, request):
    """A service as in daily use: its files are translated, its database is there."""
    config = getattr(request, "param", BARE)
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "translated")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    Service(tmp_path / "service", config, env=env).stop()
    service = Service(tmp_path / "service", config, env=env)
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
