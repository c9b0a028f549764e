"""When the server's certificate is made anew, and how long it is good for."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from appliance.identity import authority as authorities
from appliance.identity import server_certificate
from appliance.identity.authority import EPOCH, begins, ends, names_in, read_certificate
from appliance.identity.names import names_of
from appliance.identity.server_certificate import AHEAD, WHOLE

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HUB = names_of("hub", [ip_address("192.168.1.5")])
DAY = timedelta(days=1)


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.files = folder / "server.pem", folder / "server.key"
        self.authority = authorities.make(folder / "ca.pem", folder / "ca.key", NOW)

    def due(self, *, names=HUB, at=NOW, is_set=True):
        return server_certificate.due(*self.files, self.authority, names, at, is_set=is_set)

    def make(self, *, names=HUB, at=NOW, is_set=True):
        return server_certificate.make(*self.files, self.authority, names, at, is_set=is_set)

    @property
    def certificate(self):
        return read_certificate(self.files[0])


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_the_first_one(server):
    assert server.due() == "there is no key for it yet"
    assert server.make() == NOW + AHEAD
    assert server.due() == ""
    assert [path.stat().st_mode & 0o777 for path in server.files] == [0o600, 0o600]


def test_browsers_take_it_and_so_do_clocks_that_are_late(server):
    server.make()
    begin, end = begins(server.certificate), ends(server.certificate)
    assert end - begin == WHOLE == timedelta(days=825)
    assert end - NOW == AHEAD <= timedelta(days=397)
    assert NOW - begin > timedelta(days=365)


REASONS = [
    ({"at": NOW + AHEAD * 2 / 3 - DAY}, ""),
    ({"at": NOW + AHEAD * 2 / 3 + DAY}, "it has 131 days left"),
    ({"at": NOW + AHEAD + DAY}, "it has 0 days left"),
    ({"at": NOW - AHEAD}, ""),
    ({"at": NOW - WHOLE}, "it was made by a clock that was ahead"),
    ({"at": NOW - WHOLE, "is_set": False}, ""),  # that clock is wrong, not the certificate
    ({"names": names_of("hub", [])}, ""),  # not on the network yet
    ({"names": names_of("attic", [])}, "it lacks attic, attic.local"),
    ({"names": names_of("hub", [ip_address("192.168.1.6")])}, "it lacks 192.168.1.6"),
]


@pytest.mark.parametrize(("now", "reason"), REASONS)
def test_a_new_one_is_due_by_time_and_by_name(server, now, reason):
    server.make()
    assert server.due(**now) == reason
    if reason:
        server.make(**now)
        assert server.due(**now) == ""


def test_a_computer_that_is_renamed_or_moved_keeps_its_names_and_no_address(server):
    server.make()
    server.make(names=names_of("attic", [ip_address("192.168.1.6")]))
    assert server.due() == "it lacks 192.168.1.5"
    hosts, addresses = names_in(server.certificate)
    assert hosts == ("attic", "attic.local", "localhost", "hub", "hub.local")
    assert [str(one) for one in addresses] == ["127.0.0.1", "::1", "192.168.1.6"]


def test_names_of_another_authority_s_certificate_are_not_kept(server):
    server.make()
    server.authority = authorities.make(server.folder / "other.pem", server.folder / "other.key", NOW)
    server.make(names=names_of("attic", []))
    assert "hub" not in names_in(server.certificate).hosts


def test_a_renewed_one_is_of_the_same_key(server):
    server.make()
    key = server.files[1].read_bytes()
    server.make(at=NOW + AHEAD)
    assert server.files[1].read_bytes() == key


def test_one_made_before_the_clock_was_set_is_good_at_any_time_until_it_is_set(server):
    """The Pi wakes in the past, or a decade ahead; whoever connects may know the time or not."""
    for wrong in (NOW - 9 * AHEAD, NOW + 9 * AHEAD):
        server.make(at=wrong, is_set=False)
        assert begins(server.certificate) == EPOCH
        assert server.due(at=wrong, is_set=False) == ""
        assert server.due(at=NOW) == "it was made before the clock was set"
        server.make(at=NOW)
        assert (server.due(at=NOW), ends(server.certificate)) == ("", NOW + AHEAD)


def test_what_does_not_belong_together_is_made_anew(server):
    server.make()
    server.files[1].write_bytes(authorities.key_pem(authorities.new_key()))
    assert server.due() == "it is not of this key"
    server.make()
    server.authority = authorities.make(server.folder / "other.pem", server.folder / "other.key", NOW)
    assert server.due() == "it is not of this authority"
    server.make()
    assert server.due() == ""


MISSING = ("there is none yet", "there is no key for it yet")
GARBAGE = ("there is none yet", "its key cannot be used")
SPOILED = [(None, MISSING), (b"", GARBAGE), (bytes(range(256)), GARBAGE)]


@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize(("data", "reasons"), SPOILED)
def test_files_that_are_gone_or_garbage_are_made_anew(server, spoiled, data, reasons):
    server.make()
    server.files[spoiled].unlink()
    if data is not None:
        server.files[spoiled].write_bytes(data)
    assert server.due() == reasons[spoiled]
    server.make()
    assert server.due() == ""


def test_it_does_not_outlast_its_authority(server):
    late = ends(server.authority.certificate) - DAY
    assert server.make(at=late) == ends(server.authority.certificate)
