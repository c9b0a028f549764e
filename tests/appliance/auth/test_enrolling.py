import pytest

from appliance.auth.enrolling import LETTERS, CannotEnrol, Wanted, enrol, new_secret, with_new_secret
from appliance.auth.managed import Account

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
NEW = HASH.replace("WEoR", "XEoR")
ADMIN = Account(password=HASH, role="admin", made="before", by="setup")
PI = Account(password=HASH, role="device", agent="pi", publish=("home/x",), made="before", by="pairing")
ACCOUNTS = {"admin": ADMIN, "pi": PI}
DEVICE = Wanted(role="device", agent="pi", publish=("home/x",))


def asked(name, wanted, accounts=ACCOUNTS):
    enrolled = enrol(
        accounts,
        name,
        wanted,
        site="home",
        made="now",
        hashed=lambda _: NEW,
        is_right=lambda encoded, secret: encoded == HASH and secret == b"right",
    )
    rest = {other: account for other, account in accounts.items() if other != name}
    assert {other: account for other, account in enrolled.accounts.items() if other != name} == rest
    return enrolled.accounts[name], enrolled.secret


def test_a_new_account_gets_a_secret():
    account, secret = asked("tablet", Wanted(role="reader", by="command"))
    assert account == Account(password=NEW, role="reader", made="now", by="command")
    assert len(secret) == 35


def test_a_secret_that_is_given_is_not_told_again():
    account, secret = asked("attic", Wanted(role="device", secret="given"))
    assert account == Account(password=NEW, role="device", made="now", by="inventory")
    assert secret == ""


@pytest.mark.parametrize("secret", ["", "right"])
def test_what_is_there_already_stays_as_it_is(secret):
    account, told = asked("pi", Wanted(role="device", agent="pi", publish=("home/x",), secret=secret))
    assert account is PI
    assert told == ""


@pytest.mark.parametrize("secret", ["", "right"])
def test_other_topics_leave_the_secret(secret):
    account, told = asked("pi", Wanted(role="device", agent="pi", publish=("home/y",), secret=secret))
    assert account == Account(
        password=HASH, role="device", agent="pi", publish=("home/y",), made="before", by="inventory"
    )
    assert told == ""


def test_another_secret():
    account, told = asked("pi", Wanted(role="device", agent="pi", publish=("home/x",), secret="another"))
    assert (account.password, account.made, told) == (NEW, "now", "")


REFUSED = [
    ("admin", DEVICE, "admin has an account as admin; remove that first"),
    ("a:b", DEVICE, "a user name has no :"),
    ("attic", DEVICE, "pi speaks for the agent pi of home; remove that account first"),
    ("attic", Wanted(role="device", site="home", agent="pi"), "pi speaks for the agent pi of home"),
    ("Attic", Wanted(role="device"), "'Attic' cannot be an agent's name"),
    ("attic", Wanted(role="device", agent="devices"), "'devices' cannot be an agent's name"),
    ("attic", Wanted(role="device", site="Home"), "attic: its site is not a word"),
    ("attic", Wanted(role="device", publish=("a#",)), "attic: publish: a wildcard is not alone"),
    ("tablet", Wanted(role="reader", publish=("a",)), "tablet: a list of topics adds nothing"),
    ("tablet", Wanted(role="reader", secret="x" * 65_536), "a secret has at most 65535 bytes"),
]


@pytest.mark.parametrize(("name", "wanted", "why"), REFUSED)
def test_accounts_that_are_refused(name, wanted, why):
    with pytest.raises(CannotEnrol) as caught:
        asked(name, wanted)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_sites_may_have_an_agent_of_one_name():
    account, _ = asked("barn-pi", Wanted(role="device", site="barn", agent="pi"))
    assert (account.site, account.agent) == ("barn", "pi")


def test_a_new_secret_changes_nothing_else():
    account = with_new_secret(PI, "another", made="now", hashed=lambda _: NEW)
    assert account == Account(password=NEW, role="device", agent="pi", publish=("home/x",), made="now", by="pairing")


def test_secrets_are_long_and_can_be_typed():
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(set(secret) <= {*LETTERS, "-"} and len(secret.replace("-", "")) == 30 for secret in made)
    assert len(LETTERS) == 32  # 5 bits a letter, 150 in all
