"""One service for all tests, with an honest client that must never notice, and as many bad ones as wanted."""

import itertools

import pytest
from accounts import PASSWORDS, write_accounts
from raw import publish
from service import CONFIG, Service

_numbers = itertools.count(1)

_services = []  # the last one serves all tests


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Start another service when a test has killed the last, before the trip-wires look at what there is."""
    if _services and not _services[-1].lives():
        _services.append(Service(_services[-1].scratch))


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory):
    _services.append(Service(tmp_path_factory.mktemp("service")))
    yield lambda: _services[-1]
    for service in _services:
        service.stop()


@pytest.fixture
def service(shared_service):
    """The service, with a bystander that is connected the whole time and must not notice anything."""
    service = shared_service()
    bystander = service.reader("bystander/#")
    service.links.remove(bystander)
    try:
        yield service
        service.close_links()
        publisher = service.client()
        payload = b"%d" % next(_numbers)
        publisher.send(publish("bystander/topic", payload))
        bystander.expect(publish("bystander/topic", payload))
        service.check_health()
    finally:
        bystander.close()
        service.close_links()


@pytest.fixture
def service_with(tmp_path):
    """Start a service with limits of its own."""
    started = []

    def start(limits="", prefix=()):
        started.append(Service(tmp_path / "own", CONFIG + limits, prefix))
        return started[-1]

    try:
        yield start
        for service in started:
            service.close_links()
            service.check_health()
    finally:
        for service in started:
            service.close_links()
            service.stop()


@pytest.fixture
def service_for(service_with, tmp_path):
    """Start a service with accounts of these users, and anonymous clients beside them."""

    def start(*users):
        write_accounts(tmp_path / "own", users=users)
        return service_with(PASSWORDS)

    return start


@pytest.fixture
def own(tmp_path):
    """Start a service of one's own, which may end badly; another start goes on with the same data."""
    started = []

    def start(limits="", prefix=()):
        started.append(Service(tmp_path / "own", CONFIG + limits, prefix))
        return started[-1]

    yield start
    for service in started:
        service.close_links()
        service.stop()
