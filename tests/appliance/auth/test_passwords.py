import asyncio
import threading

import pytest
from sockets import until

from appliance.auth.hashes import cost
from appliance.auth.password_file import parse
from appliance.auth.passwords import COST, FREE_MISSES, MOST_KNOWN, Passwords, hashed, is_right
from appliance.auth.turns import FREE, WAITING
from appliance.mqtt.types import ReasonCode

CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
DEAR = CHEAP.replace("m=8,t=1", "m=16,t=2")
OLD, OLDER = (  # "right", as mosquitto_passwd of Debian 12 writes it with -H sha512-pbkdf2 and -H sha512
    "$7$101$TfZJ7Yh6lQQYEzf5$dpsDO5+mt4JKEOchI+YLEQumUjzQGZ7nCGV47cZ8US2r0fuvKm81ipMfUeG/Zp+ztzEGT8mpwIOqjb5cOUo4cw==",
    "$6$QNd2oT5s9lkVXFP7$zZWcVuuYwhw2SxxOrCPvO2fxZbt8uBNXaW4z3nCH+S2h+TevJZUDanN9RdixjZgBDOOj94UxXZs4oQoM3Cwh4A==",
)
USERS = {"ann": "hash of ann", "bob": "hash of bob"}
HERE, LAN, EVE = "127.0.0.1:1000", "192.168.1.20:1000", "192.168.1.66:1000"
OK, WRONG, NO = ReasonCode.SUCCESS, ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED


class Checks:
    """Stands for the slow hash: remembers what it was asked, lets a test hold it up, takes its time from a number."""

    def __init__(self):
        self.asked = []
        self.now = 1000.0
        self.at_once = self.most_at_once = 0
        self.held = threading.Event()
        self.held.set()
        self.lock = threading.Lock()

    def clock(self):
        return self.now

    def __call__(self, encoded, password):
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.held.wait(20)
        self.asked.append((encoded, password))
        with self.lock:
            self.at_once -= 1
        if password == b"break":
            raise RuntimeError("planted")
        return encoded in USERS.values() and password == b"right"


@pytest.fixture
def checks():
    return Checks()


def with_passwords(checks, scenario, **options):
    async def run():
        passwords = Passwords(USERS, clock=checks.clock, check=checks, **options)
        try:
            return await scenario(passwords)
        finally:
            checks.held.set()
            await passwords.close()

    return asyncio.run(run())


def answer(checks, username, password, peer=HERE, **options):
    return with_passwords(checks, lambda p: p.authenticate("id", username, password, peer), **options)


ANSWERS = [
    ("ann", b"right", OK),
    ("ann", b"wrong", WRONG),
    ("ann", b"", WRONG),
    ("ann", None, WRONG),
    ("eve", b"right", WRONG),
    ("", b"right", WRONG),
    ("hash of ann", b"right", WRONG),
    (None, None, NO),
    (None, b"right", NO),  # MQTT 5 allows a password without a user name
]


@pytest.mark.parametrize(("username", "password", "reason"), ANSWERS)
def test_answers(checks, username, password, reason):
    assert answer(checks, username, password) is reason


@pytest.mark.parametrize(("peer", "reason"), [(HERE, OK), ("[::1]:5", OK), ("unix", OK), (LAN, NO), ("?", NO)])
def test_anonymous_clients_of_this_computer(checks, peer, reason):
    assert answer(checks, None, None, peer, anonymous=True) is reason
    assert answer(checks, "eve", b"right", peer, anonymous=True) is WRONG  # who says a name must prove it
    assert answer(checks, None, None, peer) is NO


def test_for_an_unknown_user_the_same_work_is_done(checks):
    answer(checks, "eve", b"guess")
    answer(checks, "ann", b"guess")
    assert [password for _, password in checks.asked] == [b"guess", b"guess"]
    assert cost(checks.asked[0][0]) == COST  # the users' own hashes of this test have none


MIXED = {"ann": OLDER, "bob": OLD, "cat": CHEAP, "dan": CHEAP.replace("WEoR", "XEoR"), "eve": DEAR}


@pytest.mark.parametrize("users", [{}, {"ann": CHEAP}, {"ann": OLDER}, MIXED])
def test_the_work_is_the_same_for_every_name_whatever_the_hashes_cost(users):
    """One hash of each cost that stands in the files, in the same order."""

    async def work(name):
        asked = []

        def check(encoded, _password):
            asked.append(encoded)
            return False

        passwords = Passwords(users, check=check)
        assert await passwords.authenticate("id", name, b"guess", HERE) is WRONG
        await passwords.close()
        assert [one for one in asked if one in users.values()] == ([users[name]] if name in users else [])
        return tuple(cost(encoded) for encoded in asked)

    (worked,) = {asyncio.run(work(name)) for name in (*users, "nobody", "")}
    assert set(worked) == ({cost(encoded) for encoded in users.values()} or {COST})
    assert len(worked) == len(set(worked))


@pytest.mark.parametrize("user", MIXED)
def test_everybody_comes_in_with_the_own_password_among_hashes_of_all_kinds(user):
    users = {**MIXED, user: MIXED[user] if user in {"ann", "bob"} else hashed(b"right")}

    async def scenario():
        passwords = Passwords(users)
        assert await passwords.authenticate("id", user, b"right", HERE) is OK
        assert await passwords.authenticate("id", user, b"wrong", HERE) is WRONG
        assert await passwords.authenticate("id", "nobody", b"right", HERE) is WRONG
        await passwords.close()

    asyncio.run(scenario())


def test_the_real_hash():
    encoded = hashed("pässwörd".encode())
    assert parse(f"ann:{encoded}") == {"ann": encoded}
    assert cost(encoded) == COST
    assert encoded != hashed("pässwörd".encode())  # salted
    assert is_right(encoded, "pässwörd".encode())
    assert not is_right(encoded, b"password")


def test_verify_is_the_same_question(checks):
    async def scenario(passwords):
        assert await passwords.verify("ann", "right", LAN) is OK
        assert await passwords.verify("ann", "wrong", LAN) is WRONG
        assert await passwords.verify("eve", "right", LAN) is WRONG
        assert await passwords.verify("ann", "\ud800", LAN) is WRONG

    with_passwords(checks, scenario)


def test_one_hash_at_a_time(checks):
    async def scenario(passwords):
        questions = [passwords.authenticate("id", "ann", b"right", f"10.0.0.{n}:1") for n in range(20)]
        assert await asyncio.gather(*questions) == [OK] * 20

    with_passwords(checks, scenario)
    assert checks.most_at_once == 1


def test_who_was_right_is_known_again_without_a_hash(checks):
    async def scenario(passwords):
        for _ in range(3):
            assert await passwords.authenticate("id", "ann", b"right", LAN) is OK
        assert await passwords.authenticate("id", "ann", b"wrong", LAN) is WRONG
        assert await passwords.authenticate("id", "bob", b"right", LAN) is OK  # each user is known by its own
        assert await passwords.authenticate("id", "ann", b"right", LAN) is OK

    with_passwords(checks, scenario)
    assert [password for _, password in checks.asked] == [b"right", b"wrong", b"right"]


def test_what_is_known_of_a_user_helps_nobody_to_guess(checks):
    """Who was right is known at its own address, and there for a few misses: more guesses wait for their turn."""

    async def scenario(passwords):
        assert await passwords.authenticate("id", "ann", b"right", LAN) is OK
        assert await passwords.authenticate("id", "ann", b"right", EVE) is OK  # elsewhere she has to prove it
        assert len(checks.asked) == 2
        for number in range(FREE_MISSES):
            assert await passwords.authenticate("id", "bob", b"%d" % number, EVE) is WRONG
        assert len(checks.asked) == 2 + FREE_MISSES
        waiting = [
            asyncio.ensure_future(passwords.authenticate("id", "ann", b"%d" % number, EVE)) for number in range(9)
        ]
        for _ in range(50):
            await asyncio.sleep(0)
        right = asyncio.ensure_future(passwords.authenticate("id", "ann", b"right", EVE))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not right.done()  # though it is right, it waits as any other guess from there
        assert await passwords.authenticate("id", "ann", b"right", LAN) is OK  # and at home she is known as ever
        assert len(checks.asked) == 2 + FREE_MISSES
        for one in (*waiting, right):
            one.cancel()
        await asyncio.gather(*waiting, right, return_exceptions=True)

    with_passwords(checks, scenario)


def test_ten_thousand_guesses_are_as_much_work_as_a_handful(checks):
    async def scenario(passwords):
        assert await passwords.authenticate("id", "ann", b"right", LAN) is OK
        checks.asked.clear()
        guesses = [
            asyncio.ensure_future(passwords.authenticate("id", f"user {n % 7}", b"%d" % n, EVE)) for n in range(10_000)
        ]
        await until(lambda: len(checks.asked) == FREE)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(checks.asked) == FREE
        assert len(passwords._known) == 1
        assert sum(not guess.done() for guess in guesses) <= WAITING
        for guess in guesses:
            guess.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)

    with_passwords(checks, scenario)


def test_how_many_are_known_has_a_bound(checks):
    async def scenario(passwords):
        for number in range(MOST_KNOWN + 10):
            peer = f"10.0.{number // 250}.{number % 250}:1"
            assert await passwords.authenticate("id", "ann", b"right", peer) is OK
        assert len(passwords._known) == MOST_KNOWN
        before = len(checks.asked)
        assert await passwords.authenticate("id", "ann", b"right", peer) is OK
        assert len(checks.asked) == before

    with_passwords(checks, scenario)


def test_who_asks_ten_times_at_once_is_hashed_for_once(checks):
    async def scenario(passwords):
        questions = [passwords.authenticate("id", "ann", b"right", LAN) for _ in range(10)]
        assert await asyncio.gather(*questions) == [OK] * 10

    with_passwords(checks, scenario)
    assert len(checks.asked) == 1


def test_new_hashes_count_from_now_on(checks):
    async def scenario(passwords):
        for user in ("ann", "bob"):
            assert await passwords.authenticate("id", user, b"right", LAN) is OK
        passwords.renew({"ann": "another", "bob": "hash of bob"})
        assert await passwords.authenticate("id", "ann", b"right", LAN) is WRONG
        assert await passwords.authenticate("id", "bob", b"right", LAN) is OK
        assert len(checks.asked) == 3  # bob is still known
        passwords.renew({})
        assert await passwords.authenticate("id", "bob", b"right", LAN) is WRONG
        for _ in range(FREE - 2):
            assert await passwords.authenticate("id", "bob", b"right", LAN) is WRONG
        passwords.renew(USERS)
        late = asyncio.ensure_future(passwords.authenticate("id", "bob", b"right", LAN))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not late.done()  # who has guessed is remembered
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)

    with_passwords(checks, scenario)


@pytest.mark.parametrize("users", [{}, {"ann": "another"}])
def test_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(checks, users):
    async def scenario(passwords):
        checks.held.clear()
        asked = asyncio.ensure_future(passwords.authenticate("id", "ann", b"right", LAN))
        await until(lambda: checks.at_once)
        passwords.renew(users)
        checks.held.set()
        assert await asked is WRONG
        assert not passwords._known

    with_passwords(checks, scenario)


@pytest.mark.parametrize(
    ("eve", "honest_peer"),
    [(EVE, LAN), ("[fe80::66%eth0]:1", "[fe80::20%eth0]:1"), ("[2001:db8::66]:1", "[2001:db8::20]:1")],
)
def test_a_thousand_guesses_cost_the_guesser_and_nobody_else(checks, eve, honest_peer):
    """However many guess from elsewhere: who knows the password is in after one hash of theirs at most."""

    async def scenario(passwords):
        checks.held.clear()
        guesses = [
            asyncio.ensure_future(passwords.authenticate("id", "ann", b"guess %d" % n, eve)) for n in range(1_000)
        ]
        await until(lambda: checks.at_once)
        honest = asyncio.ensure_future(passwords.authenticate("id", "bob", b"right", honest_peer))
        await asyncio.sleep(0)
        checks.held.set()
        assert await honest is OK
        assert [encoded for encoded, _ in checks.asked].index("hash of bob") <= 2  # the one at work, one more, then it
        await until(lambda: len(checks.asked) >= FREE + 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(checks.asked) == FREE + 1  # the time stands still, and the guesser waits
        assert await passwords.authenticate("id", "ann", b"right", honest_peer) is OK  # one more hash
        refused = [guess for guess in guesses if guess.done() and guess.result() is ReasonCode.SERVER_BUSY]
        assert len(refused) == 1_000 - WAITING
        checks.now += 0.25
        passwords._joined.set()
        await until(lambda: len(checks.asked) == FREE + 3)
        for guess in guesses:
            guess.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)
        assert passwords._turns.due() is None

    with_passwords(checks, scenario)
    assert checks.most_at_once == 1


def test_who_left_is_not_hashed_for(checks):
    async def scenario(passwords):
        checks.held.clear()
        first, second, third = (
            asyncio.ensure_future(passwords.authenticate("id", "ann", b"%d" % n, EVE)) for n in range(3)
        )
        await until(lambda: checks.at_once)
        first.cancel()  # in the middle of it
        second.cancel()
        await asyncio.sleep(0)
        checks.held.set()
        assert await third is WRONG

    with_passwords(checks, scenario)
    assert [password for _, password in checks.asked] == [b"0", b"2"]


def test_a_hash_that_breaks_is_the_asker_s_answer_and_the_next_goes_on(checks):
    async def scenario(passwords):
        with pytest.raises(RuntimeError, match="planted"):
            await passwords.authenticate("id", "ann", b"break", LAN)
        assert await passwords.authenticate("id", "ann", b"right", LAN) is OK

    with_passwords(checks, scenario)


def test_closing_while_somebody_waits(checks):
    async def scenario(passwords):
        checks.held.clear()
        waiting = asyncio.ensure_future(passwords.authenticate("id", "ann", b"right", LAN))
        await until(lambda: checks.at_once)
        checks.held.set()
        await passwords.close()
        await passwords.close()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    with_passwords(checks, scenario)


# --- accounts that change meanwhile ---


def test_only_who_has_another_password_is_asked_again(checks):
    async def scenario(passwords):
        for user in USERS:
            assert await passwords.authenticate("c", user, b"right", HERE) is OK
        passwords.renew(USERS | {"ann": "another hash"})
        checks.asked.clear()
        assert await passwords.authenticate("c", "bob", b"right", HERE) is OK
        assert checks.asked == []
        assert await passwords.authenticate("c", "ann", b"right", HERE) is WRONG
        assert checks.asked == [("another hash", b"right")]

    with_passwords(checks, scenario)


@pytest.mark.parametrize("users", [{}, {"ann": "another hash"}], ids=["gone", "changed"])
def test_a_password_that_was_right_when_it_was_asked_about_lets_nobody_in_after_a_change(checks, users):
    async def scenario(passwords):
        checks.held.clear()
        asked = asyncio.create_task(passwords.authenticate("c", "ann", b"right", HERE))
        await until(lambda: checks.at_once == 1)
        passwords.renew(users)
        checks.held.set()
        assert await asked is WRONG
        assert not passwords._known
        assert not passwords._turns._wrong  # and nobody has guessed

    with_passwords(checks, scenario)


def test_nor_after_a_change_between_the_answer_and_who_waits_for_it(checks):
    async def scenario(passwords):
        answer = passwords._answer

        async def answer_and_change(*taken):
            await answer(*taken)
            passwords.renew({})

        passwords._answer = answer_and_change
        assert await passwords.authenticate("c", "ann", b"right", HERE) is WRONG

    with_passwords(checks, scenario)


def test_guesses_are_remembered_whatever_changes(checks):
    async def scenario(passwords):
        for _ in range(FREE):
            await passwords.authenticate("c", "ann", b"guess", EVE)
        passwords.renew(dict(USERS))
        assert passwords._turns._wrong["192.168.1.66"][0] == FREE

    with_passwords(checks, scenario)
