"""When the certificate is looked at while the service runs, and what is done with a new one."""

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest
from sockets import until

from appliance import renewing
from appliance.clock import SYNCED, UNSYNCED
from appliance.hostname import own_name
from appliance.renewing import Renewing, called

RENEW = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('new'); print('made it')"
NOTHING = "pass"
FAIL = "import sys; print('no space', file=sys.stderr); sys.exit(73)"


class House:
    """A computer whose clock and addresses a test moves."""

    def __init__(self, folder):
        self.certificate = folder / "server.pem"
        self.quality = SYNCED
        self.addresses = {"192.168.1.5"}
        self.looks = folder / "looks"
        self.rounds = 0  # in which it was seen whether there is reason to look
        self.reloads = 0

    async def reload(self):
        self.reloads += 1

    @property
    def looked(self):
        return len(self.looks.read_text()) if self.looks.exists() else 0

    def known(self):
        self.rounds += 1
        return set(self.addresses)

    @asynccontextmanager
    async def renewing(self, program=NOTHING, **times):
        noted = f"open({str(self.looks)!r}, 'a').write('x')\n{program}"
        command = [sys.executable, "-S", "-c", noted, str(self.certificate)]
        one = Renewing(
            command,
            self.certificate,
            self.reload,
            **{"settle_s": 0.0, "minute_s": 0.02, **times},
            quality=lambda: self.quality,
            known=self.known,
        )
        one.start()
        try:
            yield one
        finally:
            await one.close()


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def test_once_a_day_and_a_new_one_is_taken_up(house, caplog):
    async def scenario():
        async with house.renewing(RENEW, day_s=0.05):
            await until(lambda: house.reloads)

    asyncio.run(scenario())
    assert "made it" in caplog.text


def test_one_that_cannot_be_taken_up_is_looked_at_again_at_the_next_time(house, caplog):
    async def scenario():
        async def fails():
            house.reloads += 1
            raise RuntimeError("planted")

        house.reload = fails
        again = "import sys, pathlib, time; pathlib.Path(sys.argv[1]).write_text(str(time.time_ns()))"
        async with house.renewing(again, day_s=0.05):
            await until(lambda: house.reloads >= 2)

    asyncio.run(scenario())
    assert "the certificate is new, and could not be taken up" in caplog.text


def test_what_is_not_due_reloads_nothing(house):
    house.certificate.write_text("old")

    async def scenario():
        async with house.renewing(day_s=0.02):
            await until(lambda: house.looked >= 2)
        assert house.reloads == 0

    asyncio.run(scenario())


def test_a_new_address_is_reason_to_look_and_an_old_one_is_not(house):
    async def scenario():
        async with house.renewing() as one:
            await asyncio.sleep(0)
            for addresses_now, looks in (
                ({"192.168.1.5", "2001:db8::5"}, 1),
                ({"192.168.1.5"}, 1),  # gone
                ({"192.168.1.5", "2001:db8::5"}, 1),  # back again
                ({"192.168.1.6"}, 2),
            ):
                house.addresses = addresses_now
                one._moved.set()
                await until(lambda: not one._moved.is_set())
                await until(lambda n=looks: house.looked >= n)
                for _ in range(3):  # the last of them begins when what the others led to is done
                    rounds = house.rounds
                    one._moved.set()
                    await until(lambda n=rounds: house.rounds > n)
                assert house.looked == looks

    asyncio.run(scenario())


def test_a_new_name_of_which_nobody_tells_is_found(house):
    async def scenario():
        async with house.renewing():
            await asyncio.sleep(0)
            house.addresses = {"192.168.1.5", "attic-1a2b.local"}
            await until(lambda: house.looked)

    asyncio.run(scenario())


def test_a_clock_that_is_set_is_reason_to_look(house):
    house.quality = UNSYNCED

    async def scenario():
        async with house.renewing():
            await until(lambda: house.rounds >= 4)  # the first is at the start; one ends before the next begins
            assert house.looked == 0
            house.quality = SYNCED
            await until(lambda: house.looked == 1)

    asyncio.run(scenario())


def test_what_goes_wrong_is_said_and_tried_again(house, caplog):
    async def scenario():
        async with house.renewing(FAIL, day_s=0.02):
            await until(lambda: house.looked >= 2)
        assert house.reloads == 0

    asyncio.run(scenario())
    assert "no space" in caplog.text
    assert "setup ended with exit code 73" in caplog.text


def test_a_program_that_cannot_be_started_or_hangs_is_no_end(house, caplog, monkeypatch):
    monkeypatch.setattr(renewing, "LONGEST_S", 0.2)

    async def scenario():
        for command in (["/no/such/program"], [sys.executable, "-S", "-c", "import time; time.sleep(60)"]):
            one = Renewing(command, house.certificate, house.reload)
            await one.look()

    asyncio.run(scenario())
    assert caplog.text.count("the certificate could not be looked at") == 2
    assert "not done within 0.2 s" in caplog.text


def test_the_end_does_not_wait_for_the_program(house):
    async def scenario():
        async with house.renewing("import time; time.sleep(60)", day_s=0.01):
            await until(lambda: house.looked)

    asyncio.run(scenario())


def test_the_kernel_tells_of_addresses(house):
    async def scenario():
        async with house.renewing() as one:
            assert one._changes is not None
            one._hear()
            assert one._moved.is_set()

    asyncio.run(scenario())


def test_who_may_not_hear_of_addresses_looks_once_a_day(house, monkeypatch):
    def refused():
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(renewing, "Changes", refused)
    monkeypatch.setattr(renewing, "look", refused)
    assert called() == {own_name()}

    async def scenario():
        async with house.renewing(day_s=0.02):
            await until(lambda: house.looked)

    asyncio.run(scenario())


def test_this_computers_name_and_addresses():
    assert {"127.0.0.1", own_name()} <= called()
