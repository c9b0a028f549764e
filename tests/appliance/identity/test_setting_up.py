"""First boot and every one after: what is made, when it is made anew, and that no power cut spoils it."""

import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from appliance.auth.managed import BadManagedFile, parse
from appliance.auth.passwords import is_right
from appliance.clock import RELEASED_MS, SYNCED, UNSYNCED
from appliance.identity import first_secret, machine_mark, setting_up
from appliance.identity.authority import begins, ends, read_certificate
from appliance.identity.machine_mark import UNKNOWN
from appliance.identity.names import names_of
from appliance.identity.setting_up import Clock, files_in, set_up

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HUB = names_of("hub", [ip_address("192.168.1.5")])
SECRETS = ("tls/ca.key", "tls/server.key", "admin-secret", "accounts.json")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Hash once: the hash itself is tested with the passwords."""
    made = {}

    def hashed(password):
        return made.setdefault(password, real(password))

    real = setting_up.hashed
    monkeypatch.setattr(setting_up, "hashed", hashed)
    return made


class Computer:
    def __init__(self, data_dir, machine="a"):
        self.data_dir = data_dir
        self.files = files_in(data_dir)
        self.accounts = data_dir / "accounts.json"
        self.machine = machine

    def set_up(self, *, at=NOW, is_set=True, names=HUB, managed=True):
        return set_up(
            self.files,
            names=names,
            managed_file=self.accounts if managed else None,
            admin=lambda: "admin",
            machine=self.machine,
            clock=Clock(at, is_set=is_set),
        )

    def secrets(self):
        return {name: (self.data_dir / name).read_bytes() for name in SECRETS}

    def check(self):
        """Assert that all of it can be used, as the service and its clients would."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.certificate, self.files.key)
        ours, client = ssl.MemoryBIO(), ssl.MemoryBIO()
        trust = ssl.create_default_context(cafile=str(self.files.ca))
        shaken = trust.wrap_bio(client, ours, server_hostname="hub.local")
        serving = context.wrap_bio(ours, client, server_side=True)
        for _ in range(4):
            for side in (shaken, serving):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert shaken.getpeercert()["subject"] == ((("commonName", "hub"),),)
        account = parse(self.accounts.read_text())["admin"]
        assert (account.role, account.by) == ("admin", "setup")
        assert is_right(account.password, first_secret.kept(self.files.admin_secret).encode())
        assert machine_mark.read(self.files.mark) == self.machine
        for name in (*SECRETS, "machine-id", "setup.lock"):
            assert (self.data_dir / name).stat().st_mode & 0o777 == 0o600, name
        assert not list(self.data_dir.rglob("*.new"))


@pytest.fixture
def computer(tmp_path):
    return Computer(tmp_path / "data")


def test_the_first_boot_makes_everything_and_the_second_nothing(computer):
    said = computer.set_up()
    assert len(said) == 3
    secret = first_secret.kept(computer.files.admin_secret)
    assert secret not in "".join(said)
    computer.check()
    before = computer.secrets()
    assert computer.set_up() == []
    assert computer.secrets() == before


def test_only_what_is_asked_for_is_made(computer):
    assert computer.set_up(names=None, managed=False) == []
    assert sorted(path.name for path in computer.data_dir.iterdir()) == ["machine-id", "setup.lock"]


def test_two_computers_share_no_secret(tmp_path):
    one, other = Computer(tmp_path / "one", "a"), Computer(tmp_path / "other", "b")
    for computer in (one, other):
        computer.set_up()
    for name in SECRETS:
        assert one.secrets()[name] != other.secrets()[name]


def test_a_copied_card_has_nothing_of_the_original_left(computer):
    computer.set_up()
    before = computer.secrets()
    ca = computer.files.ca.read_bytes()
    computer.machine = "b"
    (said, *_) = computer.set_up()
    assert said.startswith("this is another machine than before")
    computer.check()
    for name, data in before.items():
        assert computer.secrets()[name] != data
    assert computer.files.ca.read_bytes() != ca
    assert computer.set_up() == []


def test_a_machine_that_cannot_be_told_for_once_is_no_other(computer):
    computer.set_up()
    before = computer.secrets()
    computer.machine = UNKNOWN
    assert computer.set_up() == []
    assert computer.secrets() == before


def test_what_was_made_in_an_image_is_made_anew_by_each_computer(computer):
    computer.machine = UNKNOWN
    computer.set_up()
    before = computer.secrets()
    computer.machine = "a"
    assert len(computer.set_up()) == 4
    computer.check()
    assert all(computer.secrets()[name] != data for name, data in before.items())


def test_accounts_that_were_changed_stay_as_they_are(computer):
    computer.set_up()
    first_secret.forget(computer.files.admin_secret)
    setting_up.edit(computer.accounts, lambda _: {})
    assert computer.set_up() == []
    assert parse(computer.accounts.read_text()) == {}


def test_accounts_that_are_garbage_are_nobodys_to_replace(computer):
    computer.set_up()
    computer.accounts.write_text("garbage")
    computer.set_up()
    assert computer.accounts.read_text() == "garbage"
    with pytest.raises(BadManagedFile):
        parse(computer.accounts.read_text())


@pytest.mark.parametrize("name", ["tls/ca.pem", "tls/ca.key", "tls/server.pem", "tls/server.key", "machine-id"])
@pytest.mark.parametrize("data", [None, b"", bytes(range(256))])
def test_files_that_are_gone_or_garbage_are_healed(computer, name, data):
    computer.set_up()
    path = computer.data_dir / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    said = computer.set_up()
    assert bool(said) is (name != "machine-id" or data is not None)
    computer.check()
    assert computer.set_up() == []


def test_a_clock_that_wakes_in_the_past_or_ahead_costs_nothing(computer):
    """Set later, it makes a certificate as of that time; the authority stays, or every agent would be lost."""
    for at in (0.0, RELEASED_MS / 1000 + 10 * 365 * 86_400):
        wrong = Clock.of(at, UNSYNCED)
        assert wrong.at.timestamp() >= RELEASED_MS / 1000
        computer.set_up(at=wrong.at, is_set=False)
        ca = computer.files.ca.read_bytes()
        assert begins(read_certificate(computer.files.certificate)).year == 1970
        assert len(computer.set_up()) == 1
        assert ends(read_certificate(computer.files.certificate)) == NOW + timedelta(days=397)
        assert computer.files.ca.read_bytes() == ca
    far = NOW + timedelta(days=30 * 365)
    assert "authority" not in "".join(computer.set_up(at=far, is_set=False))
    assert computer.files.ca.read_bytes() == ca
    assert Clock.of(NOW.timestamp(), SYNCED) == Clock(NOW, is_set=True)


class PowerCut(BaseException):
    """Nothing after it happens."""


CHANGES = ("open", "replace", "unlink", "mkdir", "fchmod", "fchown", "fsync")


def cut_at(monkeypatch, number):
    """Let the power go at the nth change of the file system; give how many there were."""
    count = [0]

    def counted(real):
        def change(*arguments, **options):
            count[0] += 1
            if count[0] >= number:
                raise PowerCut
            return real(*arguments, **options)

        return change

    for name in CHANGES:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return count


@pytest.mark.parametrize("story", ["first boot", "renewal", "copied card"])
def test_o79_a_power_cut_at_any_moment_is_healed_by_the_next_run(tmp_path, monkeypatch, story):
    original = Computer(tmp_path / "original")
    original.set_up()
    number, finished = 0, False
    while not finished:
        number += 1
        computer = Computer(tmp_path / f"data{number}", "b" if story == "copied card" else "a")
        if story != "first boot":
            copy_tree(original.data_dir, computer.data_dir)
        at = NOW + timedelta(days=390) if story == "renewal" else NOW
        with monkeypatch.context() as patched:
            cut_at(patched, number)
            try:
                computer.set_up(at=at)
                finished = True
            except PowerCut:
                pass
        computer.set_up(at=at)
        computer.check()
        if story == "copied card":
            shared = [name for name, data in computer.secrets().items() if original.secrets()[name] == data]
            assert shared == [], number
        if story == "renewal":
            assert computer.files.ca.read_bytes() == original.files.ca.read_bytes()
            assert computer.files.key.read_bytes() == original.files.key.read_bytes()
        assert computer.set_up(at=at) == []
    assert number > {"first boot": 40, "renewal": 8, "copied card": 50}[story]


def copy_tree(source, target):
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_file():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
            place.chmod(path.stat().st_mode)


def test_two_at_once_make_one_authority(computer):
    together = [threading.Thread(target=computer.set_up) for _ in range(4)]
    for one in together:
        one.start()
    for one in together:
        one.join()
    computer.check()
    assert computer.set_up() == []


def test_the_files_lie_where_the_configuration_names_them():
    files = files_in(Path("/var/lib/appliance"))
    assert [str(path) for path in files[:4]] == [
        f"/var/lib/appliance/tls/{name}" for name in ("ca.pem", "ca.key", "server.pem", "server.key")
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to somebody")
def test_root_gives_nothing_away_that_a_link_leads_to(tmp_path):
    data, victim = tmp_path / "data", tmp_path / "victim"
    data.mkdir()
    victim.write_text("root's own")
    os.chown(data, 65_534, 65_534)
    (data / "setup.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        Computer(data).set_up()
    assert victim.stat().st_uid == 0
