"""appliance sub --at: what was retained at a moment of the past."""

import time

import pytest
from keeper import Keeper, number, retained
from processes import appliance, eventually, free_port, running

from appliance.exits import Exit
from appliance.store.retaining import begin


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    keeper = Keeper(folder / "appliance.db", at=time.time() - 7200)
    keeper.write(retained("20.50", "home/a/t"), retained("ON", "home/hall/door"), number("7", "home/never/t"))
    keeper.advance(3600)
    keeper.write(retained("21", "home/a/t"), number("22", "home/a/t"), retained("OFF", "home/hall/door"))
    keeper.move()  # or a service would find rows that it has not staged
    keeper.stop()
    return folder


def sub(home, data_dir, *arguments):
    return appliance(home, "sub", "--data", data_dir, *arguments)


def test_the_state_of_a_moment_from_the_file(tmp_path, data_dir):
    done = sub(tmp_path, data_dir, "--at", "90m", "home/#", "-v")
    assert done.stdout == "home/a/t 20.50\nhome/hall/door ON\n"
    assert "this is from" in done.stderr
    assert done.returncode == Exit.OK
    assert sub(tmp_path, data_dir, "--at", "now", "-t", "home/+/t", "-t", "none/#").stdout == "21\n"
    assert sub(tmp_path, data_dir, "--at", "90m").stdout == "20.50\nON\n"  # no filter: everything
    formatted = sub(tmp_path, data_dir, "--at", "90m", "-t", "#", "-F", "%t=%p %r", "-T", "home/hall/#")
    assert formatted.stdout == "home/a/t=20.50 1\n"
    assert sub(tmp_path, data_dir, "--at", "90m", "-v", "#", "-C", "1", "-N").stdout == "home/a/t 20.50"


def test_a_running_service_says_the_same(tmp_path, data_dir):
    port = free_port()
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        done = sub(tmp_path, data_dir, "--at", "90m", "home/#", "-v")
        assert (done.stdout, done.stderr) == ("home/a/t 20.50\nhome/hall/door ON\n", "")
        for arguments in (("-r", "-m", "23"), ("-m", "24")):
            appliance(tmp_path, "pub", "-p", port, "-t", "home/a/t", "-q", "1", *arguments)
        eventually(lambda: sub(tmp_path, data_dir, "--at", "now", "home/a/t", "home/hall/+").stdout == "23\nOFF\n")
        appliance(tmp_path, "pub", "-p", port, "-t", "home/a/t", "-r", "-n", "-q", "1")
        assert sub(tmp_path, data_dir, "--at", "now", "home/#").stdout == "OFF\n"
        service.stop()


def test_nothing_known(tmp_path, data_dir):
    done = sub(tmp_path, data_dir, "--at", "3h", "home/#")
    assert (done.stdout, done.returncode) == ("", Exit.NOTHING)
    assert "nothing is known of home/# at " in done.stderr
    assert "the history may begin later" in done.stderr


def test_what_is_not_certain_and_what_is_missing_is_said(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", at=time.time() - 7200)
    keeper.write(
        number("1", "home/old/t"), *(retained("2", f"home/{n}/t") for n in range(8)), retained("3", "home/b/t")
    )
    keeper.move()
    keeper.ask("DELETE FROM readings WHERE value = 2000")
    begin(keeper.database.connection)
    keeper.restart(off_s=1)
    keeper.write(retained("unavailable", "home/b/t"))
    keeper.stop()
    done = sub(tmp_path, tmp_path, "--at", "90m", "-T", "home/7/t")
    assert done.stdout == "1\n"
    _, unsure, lost, unrecorded = done.stderr.splitlines()
    assert unsure.startswith("appliance: 1 value may not have been retained: where that was not recorded yet")
    assert lost.endswith(
        "as their readings are not kept any more: " + ", ".join(f"home/{n}/t" for n in range(5)) + " and 2 others"
    )
    assert unrecorded.endswith("not shown is what these held, as it was no reading: home/b/t")
    quiet = sub(tmp_path, tmp_path, "--at", "90m", "home/0/t")
    assert quiet.returncode == Exit.NOTHING


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--at", "soon", "#"), "--at: 'soon' is not a time"),
        (("--at", "1h", "a/#/b"), "FILTER: # is not the last level"),
        (("--at", "1h", "#", "-T", ""), "-T: the topic filter is empty"),
        (("--at", "9999-01-01", "#"), "is still to come; give a time that has passed"),
        (("--at", "1h", "#", "-h", "otherhost"), "-h does not go with --at"),
        (("--at", "1h", "-L", "mqtt://localhost/a"), "-L does not go with --at"),
        (("--at", "1h", "#", "-R"), "-R does not go with --at"),
        (("--at", "1h", "#", "-c"), "-c does not go with --at"),
        (("--at", "1h", "#", "-q", "1"), "-q does not go with --at"),
        (("--at", "1h", "#", "--cafile", "ca.pem"), "--cafile does not go with --at"),
        (("--at", "1h", "#", "-F", "%z"), "-F: %z is unknown"),
    ],
)
def test_what_cannot_be_asked(tmp_path, data_dir, arguments, complaint):
    done = sub(tmp_path, data_dir, *arguments)
    assert done.returncode == Exit.USAGE
    assert complaint in done.stderr


def test_nobody_there_and_no_database(tmp_path):
    assert sub(tmp_path, tmp_path / "none", "--at", "1h", "#").returncode == Exit.UNAVAILABLE
    (tmp_path / "appliance.db").write_bytes(b"no database" * 100)
    assert sub(tmp_path, tmp_path, "--at", "1h", "#").returncode == Exit.DATA
