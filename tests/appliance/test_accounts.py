import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.accounts import load_accounts, load_rules, load_users, read_again
from appliance.auth.managed import Account, serialize
from appliance.auth.passwords import hashed
from appliance.broker.message import Message
from appliance.broker.records import WillKept
from appliance.config import ConfigError
from appliance.mqtt.types import ReasonCode
from appliance.settings import Accounts

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
USERS = {"ann": HASH, "home/#": HASH}


@pytest.fixture
def files(tmp_path):
    def write(passwords, rules=None, **more):
        (tmp_path / "passwords").write_text(passwords)
        settings = {"password_file": str(tmp_path / "passwords")}
        if rules is not None:
            (tmp_path / "rules.toml").write_text(rules)
            settings["rules_file"] = str(tmp_path / "rules.toml")
        return Accounts(**settings, **more)

    return write


def refusal(load):
    with pytest.raises(ConfigError) as caught:
        load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("settings", [Accounts(), Accounts(anonymous=True)])
def test_without_a_password_file_there_are_no_accounts(settings):
    assert load_accounts(settings, "home") is None


def test_a_service_without_accounts_does_not_load_what_hashes_passwords():
    code = "import sys, appliance.app; sys.exit('argon2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            Accounts(rules_file="/x"),
            "accounts.rules_file: rules without passwords would believe any name; set password_file too",
        ),
        (
            Accounts(anonymous=False),
            "accounts.anonymous: false without passwords lets nobody in; set password_file or managed_file too",
        ),
    ],
)
def test_half_a_configuration_is_refused(settings, line):
    assert refusal(lambda: load_accounts(settings, "home")) == line


def test_both_files_together(files):
    accounts = load_accounts(
        files(f"ann:{hashed(b'right')}\nbob:{HASH}\n", '[[rule]]\nuser = "bob"\nsubscribe = ["home/#"]\n'), "home"
    )
    assert accounts.acl.rights("bob", "c").may_read("home/x")
    assert not accounts.acl.rights("bob", "c").may_publish("home/x")
    assert accounts.acl.rights("ann", "c").may_publish("home/x")

    async def scenario():
        passwords = accounts.passwords
        assert await passwords.authenticate("id", "ann", b"right", "127.0.0.1:1") is ReasonCode.SUCCESS
        assert await passwords.authenticate("id", "ann", b"wrong", "127.0.0.1:1") is not ReasonCode.SUCCESS
        return await passwords.authenticate("id", None, None, "127.0.0.1:1")

    assert asyncio.run(scenario()) is ReasonCode.NOT_AUTHORIZED  # closed unless it is asked for


@pytest.mark.parametrize("anonymous", [True, False])
def test_anonymous_clients_beside_accounts(files, anonymous):
    passwords = load_accounts(files(f"ann:{HASH}\n", anonymous=anonymous), "home").passwords
    answer = asyncio.run(passwords.authenticate("id", None, None, "127.0.0.1:1"))
    assert answer is (ReasonCode.SUCCESS if anonymous else ReasonCode.NOT_AUTHORIZED)


PASSWORD_FILES = [
    (b"", "{path}: there is no user in it; add one with `appliance passwd {path} NAME`"),
    (b"# nobody yet\n", "{path}: there is no user in it; add one with `appliance passwd {path} NAME`"),
    (b"ann\n", "{path}:1: not name:hash; make the line with `appliance passwd`, or remove it"),
    (
        f"ann:{HASH}\nbob:{HASH[:50]}".encode(),
        (
            "{path}:2: not a hash such as `appliance passwd` or mosquitto_passwd makes; "
            "make the line with `appliance passwd`, or remove it"
        ),
    ),
    (b"ann:\xff\n", "{path}:1: not UTF-8; save the file as UTF-8"),
    (b"\0" * 2_000_000, "{path}: larger than 1 MiB; name the configuration, not data"),
]


@pytest.mark.parametrize(("content", "line"), PASSWORD_FILES)
def test_a_password_file_that_is_none(tmp_path, content, line):
    path = tmp_path / "passwords"
    path.write_bytes(content)
    assert refusal(lambda: load_users(path)) == line.format(path=path)


def test_a_password_file_that_is_not_there_or_not_ours(tmp_path):
    assert "there is no such file; check the path" in refusal(lambda: load_users(tmp_path / "none"))
    assert "this is a directory" in refusal(lambda: load_users(tmp_path))


def test_a_file_as_a_whole_is_told_of_as_its_setting(tmp_path, files):
    settings = Accounts(password_file=str(tmp_path / "none"))
    line = f"accounts.password_file: {tmp_path}/none: there is no such file; check the path"
    assert refusal(lambda: load_accounts(settings, "home")) == line
    files("# nobody yet\n")
    settings = Accounts(password_file=str(tmp_path / "passwords"))
    assert refusal(lambda: load_accounts(settings, "home")).startswith(
        f"accounts.password_file: {tmp_path}/passwords: there is no user in it; add one with"
    )
    settings = files(f"ann:{HASH}\n", "[[rule]]\n")
    assert refusal(lambda: load_accounts(settings, "home")).startswith(f"{tmp_path}/rules.toml:1: rule[1]: ")


RULES = [
    ('[[rule]]\nuser = "ann"\neverybody = true', "1: rule[1]: whose rule is this; give it one of user, everybody"),
    ("[[rule]]\neverybody = true\nanonymous = true", "1: rule[1]: whose rule is this"),
    ('[[rule]]\nuser = "ann"\nrole = "king"', '3: rule[1].role: "king" will not do; use one of "admin", "device"'),
    (
        '[[rule]]\nuser = "ann"\nrole = "reader"\nagent = "pi"',
        '4: rule[1].agent: only a device is an agent; set role = "device" too',
    ),
    ('[[rule]]\nuser = "ann"\nrole = "device"\nagent = "Pi/x"', '4: rule[1].agent: "Pi/x" will not do'),
    (
        '[[rule]]\nuser = "ann"\npublish = ["home/%u-x"]',
        "3: rule[1].publish[1]: %u and %c stand for a whole level, in 'home/%u-x' for a part of one",
    ),
    (
        '[[rule]]\npublish = ["a"]',
        "1: rule[1]: whose rule is this; give it one of user, everybody = true and anonymous = true",
    ),
    (
        '[[rule]]\nuser = "ann"\nanonymous = true',
        "1: rule[1]: whose rule is this; give it one of user, everybody = true and anonymous = true",
    ),
    (
        '[[rule]]\nuser = "ann"\n[[rule]]\nuser = "anne"\n',
        (
            "4: rule[2].user: there is no such user in the password file; "
            "correct the name, make the account with `appliance passwd`, or remove the rule"
        ),
    ),
    (
        '[[rule]]\nuser = "ann"\npublish = ["a", "b#"]',
        (
            "3: rule[1].publish[2]: a wildcard is not alone in the last level of the topic filter 'b#'; "
            "write a topic filter such as home/kitchen/#"
        ),
    ),
    (
        '[[rule]]\nuser = "ann"\nsubscribe = [""]',
        "3: rule[1].subscribe[1]: the topic filter is empty; write a topic filter such as home/kitchen/#",
    ),
    (
        '[[rule]]\nuser = "ann"\nsubscribe = ["$share/g/a"]',
        "3: rule[1].subscribe[1]: a shared subscription; leave $share/<group>/ away: it is meant too",
    ),
    (
        '[[rule]]\nuser = "ann"\npublish = ["$SYS/#"]',
        "3: rule[1].publish[1]: nobody may publish to $ topics, they are the server's own; write a topic filter",
    ),
    ('[[rule]]\nuser = "ann"\nread = ["a"]', "3: rule[1].read: unknown key"),
    ('[[rule]]\nuser = "ann"\npublish = "a"', '3: rule[1].publish: "a" will not do; write a list: ["a"]'),
    ("[[rules]]", "1: rules: unknown key"),
    ("[[rule", "1: not TOML"),
]


@pytest.mark.parametrize(("text", "line"), RULES)
def test_rules_that_are_refused(tmp_path, text, line):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    assert refusal(lambda: load_rules(path, USERS)).startswith(f"{path}:{line}")


def test_rules_that_are_taken(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nuser = "home/#"\nsubscribe = ["$SYS/#", "home/+/set"]\n'
        '[[rule]]\nuser = "home/#"\npublish = ["a"]\n[[rule]]\nanonymous = true\n'
    )
    rules = load_rules(path, USERS)
    assert [rule.user for rule in rules] == ["home/#", "home/#", None]
    for text in ("", "# none yet\n"):
        path.write_text(text)
        line = f"{path}: there is no rule in it; write one, or leave rules_file out: then everybody may do everything"
        assert refusal(lambda: load_rules(path, USERS)) == line
    assert "there is no such file" in refusal(lambda: load_rules(Path("/no/such/file"), USERS))


# --- read again while the service runs ---


RULES = '[[rule]]\nuser = "ann"\npublish = ["own/#"]\n'
OTHER = HASH.replace("WEoRI", "XEoRI")


def managed_text(**accounts):
    return serialize({name: Account(**{"password": HASH, "role": "device", **one}) for name, one in accounts.items()})


@pytest.fixture
def again(files, tmp_path):
    """Give loaded accounts, and the way to write files and read them again; a rules file names ann alone."""
    settings = files(f"ann:{HASH}\nbob:{HASH}\n", RULES, managed_file=str(tmp_path / "accounts.json"))
    (tmp_path / "accounts.json").write_text(managed_text(esp={"publish": ("home/kitchen/x",)}))
    accounts = load_accounts(settings, "home")

    def write(**texts):
        names = {"passwords": "passwords", "rules": "rules.toml", "managed": "accounts.json"}
        for what, text in texts.items():
            (tmp_path / names[what]).write_text(text)
        fresh, faults = read_again(settings, accounts.files)
        return accounts.renew(fresh), [str(fault) for fault in faults]

    return accounts, write


def rights(accounts, user):
    return accounts.rights(user, "")


def test_the_same_files_change_nothing(again):
    accounts, write = again
    before = accounts.files
    assert write() == (((frozenset(),) * 3), [])
    assert accounts.files == before


def test_what_cannot_be_taken_whole_is_not_taken_at_all_and_comes_with_the_next(again, monkeypatch):
    accounts, write = again
    before = accounts.files

    def fails(_cost):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("appliance.auth.passwords.of_nobody", fails)
        with pytest.raises(MemoryError):
            write(passwords=f"ann:{HASH}\n")
    assert accounts.files == before
    assert rights(accounts, "ann").may_publish("own/x")
    change, _ = write()
    assert change.ousted == {"bob"}


def test_accounts_come_and_go_and_rights_change(again):
    accounts, write = again
    change, faults = write(
        passwords=f"ann:{HASH}\ncid:{HASH}\n",
        rules=RULES.replace("own", "new"),
        managed=managed_text(esp={"publish": ("home/kitchen/y",)}, new={}),
    )
    assert faults == []
    assert (change.ousted, change.changed, change.new) == ({"bob"}, {"ann", "esp"}, {"cid", "new"})
    assert rights(accounts, "ann").may_publish("new/x")
    assert not rights(accounts, "ann").may_publish("own/x")
    assert not rights(accounts, "bob").may_read("x")  # its sessions may still be there
    assert rights(accounts, "esp").may_publish("home/kitchen/y")


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({"password": OTHER}, True),
        ({"site": "cabin"}, True),
        ({"agent": "attic"}, True),
        ({"role": "reader"}, True),  # what was a device's is nobody's own
        ({"publish": ("home/x",)}, False),
        ({"made": "2026-11-26T00:00:00Z", "by": "command"}, False),
    ],
)
def test_an_account_that_is_somebody_elses_by_now(again, changed, is_another):
    _, write = again
    write(managed=managed_text(esp={}))
    assert write(managed=managed_text(esp=changed))[0].ousted == ({"esp"} if is_another else set())


def test_a_password_that_was_changed_is_another_account(again):
    _, write = again
    assert write(passwords=f"ann:{OTHER}\nbob:{HASH}\n")[0].ousted == {"ann"}


BAD = [
    ({"passwords": ""}, "accounts.password_file"),
    ({"passwords": "ann:nonsense"}, "passwords:1"),
    ({"rules": "[[rule]]\nuser = "}, "rules.toml:2"),
    ({"rules": '[[rule]]\nuser = "nobody"\n'}, "rules.toml:2"),
    ({"managed": ""}, "accounts.managed_file"),
    ({"managed": '{"accounts": {"esp"'}, "accounts.managed_file"),
]


@pytest.mark.parametrize(("texts", "named"), BAD)
def test_a_bad_file_leaves_what_it_said_before(again, texts, named):
    accounts, write = again
    before = accounts.files
    change, faults = write(**texts)
    assert not any(change)
    assert accounts.files == before
    assert len(faults) == 1
    assert named in faults[0]


def test_a_bad_file_does_not_keep_the_others_from_acting(again):
    accounts, write = again
    change, faults = write(passwords=f"ann:{HASH}\n", rules="garbage", managed=managed_text())
    assert len(faults) == 1
    assert change.ousted == {"bob", "esp"}
    assert rights(accounts, "ann").may_publish("own/x")
    assert not rights(accounts, "ann").may_publish("x")


def test_a_user_whom_the_last_good_rules_did_not_know_may_do_nothing(again):
    """Without a rule a user may do everything; the rule may stand in the file that cannot be read."""
    accounts, write = again
    write(passwords=f"ann:{HASH}\nbob:{HASH}\nesp2:{HASH}\n", rules=RULES + '[[rule]]\nuser = "esp2"\npublish = [')
    assert not rights(accounts, "esp2").may_publish("home/x")
    assert not rights(accounts, "esp2").may_subscribe("#")
    assert rights(accounts, "bob").may_publish("home/x")
    change, faults = write(rules=RULES)
    assert faults == []
    assert change.changed == {"esp2"}
    assert rights(accounts, "esp2").may_publish("home/x")


def test_a_name_in_both_files_stays_what_it_was_and_a_new_one_is_nobody(again):
    accounts, write = again
    change, faults = write(
        passwords=f"ann:{HASH}\nbob:{HASH}\nesp:{OTHER}\nnew:{HASH}\n",
        managed=managed_text(esp={"publish": ("home/kitchen/x",)}, ann={}, new={}),
    )
    assert len(faults) == 3
    assert not any(change)
    assert not rights(accounts, "new").may_subscribe("#")
    assert "esp" not in accounts.files.users
    assert "ann" not in accounts.files.managed


def test_rules_of_client_ids_change_rights_too(again):
    _, write = again
    for first in ("own", "other"):
        change, faults = write(rules=f'[[rule]]\nuser = "bob"\npublish = ["{first}/%c"]\n')
        assert ("bob" in change.changed, faults) == (True, [])


ATTIC, SHARED = "home/attic/x", "home/shared/x"
TWO = {"esp": {"publish": (ATTIC, SHARED)}, "pi": {"publish": (SHARED,)}, "admin": {"role": "admin"}}
ORPHANS = [
    (TWO, ATTIC, False),  # nothing has changed
    ({**TWO, "esp": {"publish": (SHARED,)}}, ATTIC, True),
    ({"pi": TWO["pi"], "admin": TWO["admin"]}, ATTIC, True),  # the account is gone
    ({"pi": TWO["pi"], "admin": TWO["admin"]}, "home/devices/esp/about", True),
    ({"pi": TWO["pi"], "admin": TWO["admin"]}, SHARED, False),  # it may have been pi's
    ({"esp": {"publish": (ATTIC,)}, "admin": TWO["admin"]}, SHARED, True),
    ({"pi": TWO["pi"], "admin": TWO["admin"]}, "notes/x", False),  # an admin's, by hand
    ({"esp": TWO["esp"], "pi": TWO["pi"]}, "notes/x", True),
    ({"esp": TWO["esp"], "pi": TWO["pi"]}, ATTIC, False),
    ({**TWO, "esp": {**TWO["esp"], "password": OTHER}}, ATTIC, False),  # paired anew
    ({**TWO, "new": {"publish": (ATTIC,)}}, ATTIC, False),
]


@pytest.mark.parametrize(("changed", "topic", "orphaned"), ORPHANS)
def test_what_nobody_may_have_published_who_is_left(tmp_path, changed, topic, orphaned):
    managed = tmp_path / "accounts.json"
    managed.write_text(managed_text(**TWO))
    settings = Accounts(managed_file=str(managed))
    accounts = load_accounts(settings, "home")
    managed.write_text(managed_text(**changed))
    before, (fresh, _) = accounts.acl, read_again(settings, accounts.files)
    change = accounts.renew(fresh)
    assert accounts.orphans(before, change)(Message(topic, b"1", 1, True, client_id="x")) is orphaned


class Asked:
    """Counts how often an Acl is asked."""

    def __init__(self, acl):
        self.acl, self.count = acl, 0

    def rights(self, *whose):
        self.count += 1
        return self.acl.rights(*whose)

    def writers(self, *about):
        return self.acl.writers(*about)


def test_what_nobody_lost_asks_of_no_user_however_many_are_changed(tmp_path):
    users = {f"a{number}": Account(password=HASH, role="device", publish=(f"home/{number}/x",)) for number in range(20)}
    managed = tmp_path / "accounts.json"
    managed.write_text(serialize(users))
    settings = Accounts(managed_file=str(managed))
    accounts = load_accounts(settings, "home")
    managed.write_text(serialize({name: replace(one, publish=("home/y",)) for name, one in users.items()}))
    before, (fresh, _) = Asked(accounts.acl), read_again(settings, accounts.files)
    change = accounts.renew(fresh)
    accounts.acl = Asked(accounts.acl)
    is_orphan = accounts.orphans(before, change)
    found = [is_orphan(Message(f"home/{number}/x", b"1", 1, True, client_id="c")) for number in (3, *range(20, 500))]
    assert found == [True] + [False] * 480
    assert before.count + accounts.acl.count <= 5 * len(users)


def test_the_last_users_of_a_password_file_can_be_deleted(again, files, tmp_path):
    accounts, write = again
    change, faults = write(passwords="# nobody\n", rules='[[rule]]\neverybody = true\npublish = ["own/%u"]\n')
    assert (sorted(change.ousted), faults) == (["ann", "bob"], [])
    assert not accounts.passwords.knows("ann")
    assert rights(accounts, "esp").may_publish("home/kitchen/x")
    assert write(passwords="# nobody\n")[1] == []
    for cut_short in ("", "\n"):
        (fault,) = write(passwords=cut_short)[1]
        assert "there is no user in it" in fault
    settings = files("# nobody\n", managed_file=str(tmp_path / "accounts.json"))
    assert load_accounts(settings, "home").passwords.knows("esp")  # and then it starts again


def test_who_logs_in_is_asked_by_the_new_files(again):
    accounts, write = again

    async def scenario():
        ask = accounts.passwords.authenticate
        secret = b"secret"
        write(passwords=f"ann:{hashed(secret)}\n")
        assert await ask("c", "ann", secret, "127.0.0.1:1") is ReasonCode.SUCCESS
        assert await ask("c", "ann", secret, "127.0.0.1:1") is ReasonCode.SUCCESS  # remembered
        write(passwords=f"ann:{hashed(b'another')}\n")
        assert await ask("c", "ann", secret, "127.0.0.1:1") is ReasonCode.BAD_USER_NAME_OR_PASSWORD

    asyncio.run(scenario())


LAST_WORDS = [
    ("esp", "c", "home/devices/esp/availability", b"offline", True),
    ("esp", "c", "home/devices/esp/availability", b"open", False),
    ("esp", "c", "home/devices/pi/availability", b"offline", False),
    ("esp", "c", "home/attic/availability", b"offline", False),
    ("admin", "sensors-home-hall", "home/devices/hall/availability", b"offline", True),  # an agent without a role
    ("admin", "sensors-home-hall", "home/devices/hall/availability", b"OPEN", False),
    ("admin", "sensors-home-hall", "home/devices/esp/availability", b"offline", False),
    ("admin", "c", "home/devices/admin/availability", b"offline", False),
    ("gone", "c", "home/devices/gone/availability", b"offline", False),
    ("gone", "", "home/devices//availability", b"offline", False),
    (None, "", "home/x", b"offline", False),
]


@pytest.mark.parametrize(("user", "client_id", "topic", "payload", "is_last"), LAST_WORDS)
def test_who_is_ousted_may_still_be_said_to_be_offline(tmp_path, user, client_id, topic, payload, is_last):
    managed = tmp_path / "accounts.json"
    managed.write_text(managed_text(**TWO))
    accounts = load_accounts(Accounts(managed_file=str(managed)), "home")
    will = WillKept(1, client_id, user, topic, payload, 1, True, b"", 0, None)
    assert accounts.is_last_word(will) is is_last


@pytest.mark.parametrize(
    ("topic", "is_anothers"),
    [(ATTIC, True), ("home/devices/pi/about", True), ("notes/x", False), ("$SYS/x", False)],
)
def test_a_message_may_be_anothers_where_one_may_publish_who_may_not_everywhere(tmp_path, topic, is_anothers):
    managed = tmp_path / "accounts.json"
    managed.write_text(managed_text(**TWO))
    accounts = load_accounts(Accounts(managed_file=str(managed)), "home")
    assert accounts.is_anothers(Message(topic, b"1", 1, True, client_id="c")) is is_anothers
