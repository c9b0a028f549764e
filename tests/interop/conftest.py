"""The real service as a process of its own, for clients that we did not write."""

import pytest
from service import Service


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


@pytest.fixture
def service(shared_service):
    """The service; after the test it must be well and have no error of its own."""
    try:
        yield shared_service
        shared_service.check_health()
    finally:
        shared_service.close_links()
