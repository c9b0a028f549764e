import json
import os
import threading
from contextlib import suppress

import pytest
from msgspec.structs import replace

from appliance import config
from appliance.auth.managed import (
    MAX_FILE_BYTES,
    Account,
    BadManagedFile,
    account_problem,
    edit,
    grants,
    parse,
    serialize,
    speakers,
)
from appliance.auth.roles import of_role

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
ADMIN = Account(password=HASH, role="admin", made="2026-11-26T03:00:00Z", by="setup")
PI = Account(password=HASH, role="device", site="barn", agent="pi", publish=("barn/x",), subscribe=("sun/#",))
ACCOUNTS = {"admin": ADMIN, "home/#": PI}


def test_there_and_back():
    text = serialize(ACCOUNTS)
    assert parse(text) == ACCOUNTS
    assert json.loads(text)["accounts"]["admin"] == {
        "password": HASH,
        "role": "admin",
        "made": "2026-11-26T03:00:00Z",
        "by": "setup",
    }
    assert serialize(dict(reversed(ACCOUNTS.items()))) == text
    assert parse(serialize({})) == {}


BAD = [
    ("", "it is empty"),
    (" \n", "it is empty"),
    ("{", "not JSON"),
    ("\0" * 100, "not JSON"),
    ('{"accounts":' + "[" * 100_000, "not "),
    ("[]", "not as `appliance devices` writes it (Expected `object`, got `array`)"),
    ("{}", "missing required field `accounts`"),
    ('{"version": 2, "accounts": {}}', "$.version"),
    ('{"accounts": {}, "more": 1}', "unknown field `more`"),
    ('{"accounts": {"ann": {"role": "admin"}}}', "missing required field `password`"),
    ('{"accounts": {"ann": {"role": "king", "password": "secret"}}}', "Invalid enum value 'king'"),
    (
        '{"accounts": {"ann": {"role": "admin", "password": "secret"}}}',
        "account 'ann': its password is not an argon2id",
    ),
    ('{"accounts": {"": {"role": "admin", "password": "secret"}}}', "account '': the user name is empty"),
]


@pytest.mark.parametrize(("text", "problem"), BAD)
def test_what_is_no_file_of_accounts(text, problem):
    with pytest.raises(BadManagedFile) as caught:
        parse(text)
    assert problem in caught.value.problem
    assert caught.value.cure
    assert "secret" not in str(caught.value)
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("size", range(0, len(serialize(ACCOUNTS)) - 2, 3))
def test_a_file_cut_anywhere_is_refused(size):
    with pytest.raises(BadManagedFile):
        parse(serialize(ACCOUNTS)[:size])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"password": "$6$c2FsdA==$aGFzaA=="}, "not an argon2id hash"),
        ({"password": HASH.replace("m=8,", "m=9999999,")}, "not an argon2id hash"),  # would cost too much
        ({"site": "Home"}, "its site is not a word"),
        ({"agent": "a/b"}, "its agent is not a word"),
        ({"agent": "devices"}, "its agent is not a word"),
        ({"agent": "x" * 65}, "its agent is not a word"),
        ({"agent": "x\n"}, "its agent is not a word"),
        ({"role": "reader"}, "an agent is a device, and its role is reader"),
        ({"role": "reader", "agent": ""}, "a list of topics adds nothing to the role reader"),
        ({"publish": ("a", "b#")}, "publish: a wildcard"),
        ({"publish": ("$SYS/x",)}, "publish: nobody may publish to $ topics"),
        ({"subscribe": ("$share/g/a",)}, "subscribe: a shared subscription"),
        ({"subscribe": ("a/%ux",)}, "subscribe: %u and %c stand for a whole level"),
        ({}, ""),
        ({"role": "integration", "agent": ""}, ""),
        ({"subscribe": ("$SYS/#",)}, "subscribe: only an admin reads $ topics"),
    ],
)
def test_accounts_that_cannot_be(change, problem):
    account = replace(PI, **change)
    found = account_problem(account)
    assert problem in found
    assert bool(problem) is bool(found)
    if problem:
        with pytest.raises(BadManagedFile, match="account 'pi': "):
            serialize({"pi": account})


def test_grants_are_of_the_accounts_own_site_or_the_services():
    assert grants(PI, "home") == of_role("device", "barn", "pi", PI.publish, PI.subscribe)
    assert grants(replace(PI, site="", agent=""), "house").publish == ("house/devices/%u/#", "barn/x")
    assert grants(ADMIN).subscribe == ("#", "$SYS/#")


def test_who_speaks_for_an_agent():
    attic = replace(PI, site="", agent="")
    accounts = {"admin": ADMIN, "pi": PI, "attic": attic, "spare": replace(PI, site="house", agent="attic")}
    assert speakers(accounts, "attic", "house", own_site="house") == ["attic", "spare"]
    assert speakers(accounts, "attic", "house", own_site="barn") == ["spare"]
    assert speakers(accounts, "pi", "barn", own_site="house") == ["pi"]
    assert speakers(accounts, "admin", "house", own_site="house") == []


def test_a_file_is_made_changed_and_left_alone(tmp_path):
    path = tmp_path / "accounts.json"
    assert edit(path, lambda accounts: {**accounts, "admin": ADMIN})
    assert path.stat().st_mode & 0o777 == 0o600
    inode = path.stat().st_ino
    assert not edit(path, lambda accounts: accounts)
    assert path.stat().st_ino == inode  # not written again
    assert edit(path, lambda accounts: {**accounts, "pi": PI})
    assert list(parse(path.read_text())) == ["admin", "pi"]
    path.write_text("")
    assert edit(path, lambda accounts: {**accounts, "pi": PI})
    assert list(parse(path.read_text())) == ["pi"]
    assert [one.name for one in tmp_path.iterdir()] == ["accounts.json"]


def test_a_damaged_file_is_not_written_over(tmp_path):
    path = tmp_path / "accounts.json"
    path.write_text('{"accounts')
    with pytest.raises(BadManagedFile, match="not JSON"):
        edit(path, lambda _: ACCOUNTS)
    assert path.read_text() == '{"accounts'


@pytest.mark.parametrize("fault", [(os, "fsync"), (os, "replace")])
def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, fault):
    path = tmp_path / "accounts.json"
    edit(path, lambda _: ACCOUNTS)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*fault, fail)
    with pytest.raises(OSError, match="No space"):
        edit(path, lambda _: {})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["accounts.json"]


def test_who_edits_at_the_same_time_loses_nothing(tmp_path):
    path = tmp_path / "accounts.json"

    def add(name):
        edit(path, lambda accounts: {**accounts, name: PI})

    threads = [threading.Thread(target=add, args=(f"pi-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(parse(path.read_text())) == [f"pi-{number}" for number in range(8)]


def test_more_than_the_service_reads_is_not_written(tmp_path):
    assert MAX_FILE_BYTES == config.MAX_FILE_BYTES
    path = tmp_path / "accounts.json"
    topics = tuple(f"barn/{number}/{'x' * 200}" for number in range(5_000))
    with pytest.raises(BadManagedFile, match="more than 1 MiB"):
        edit(path, lambda _: {"pi": replace(PI, publish=topics)})
    with suppress(FileNotFoundError):
        assert not path.read_text()
