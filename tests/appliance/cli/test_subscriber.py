"""`sub` against a running broker."""

import json
import signal

import pytest
from accounts import CONFIG as ACCOUNTS
from accounts import password, write_accounts
from processes import PATIENCE_S, appliance, eventually, free_port, running

from appliance.exits import Exit


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def broker(home):
    """Port of a broker that holds retained messages: two of a home, and one to look for behind them."""
    port = free_port()
    with running(home, "run", "--data", home / "d", "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        for topic, value in (("home/kitchen/temperature", "21.4"), ("home/hall/door", "ON"), ("last", "of all")):
            assert appliance(home, "pub", "-p", port, "-t", topic, "-m", value, "-r", "-q", "1").returncode == 0
        yield port


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "5"])
def test_retained_messages_come_at_once(home, broker, version):
    done = appliance(home, "sub", "-p", broker, "-t", "home/#", "-v", "-C", "2", "-V", version)
    assert sorted(done.stdout.splitlines()) == ["home/hall/door ON", "home/kitchen/temperature 21.4"]
    assert (done.returncode, done.stderr) == (0, "")


def test_time_runs_out_with_27(home, broker):
    done = appliance(home, "sub", "-p", broker, "-t", "home/nothing", "-W", "0.3")
    assert (done.returncode, done.stdout, done.stderr) == (Exit.TIMEOUT, "", "")


def test_stale_and_filtered_topics_are_left_out(home, broker):
    done = appliance(home, "sub", "-p", broker, "-t", "home/#", "-t", "last", "-T", "home/hall/+", "-C", "2")
    assert done.stdout == "21.4\nof all\n"
    with running(home, "sub", "-p", broker, "-t", "home/#", "-R", "-C", "1") as subscriber:
        publish = ("pub", "-p", broker, "-t", "home/live", "-m", "x")
        eventually(lambda: appliance(home, *publish).returncode == 0 and subscriber.process.poll() is not None)
        assert subscriber.process.stdout.read() == "x\n"


def test_json_lines(home, broker):
    done = appliance(home, "sub", "-p", broker, "-t", "home/hall/door", "-F", "%j", "-C", "1", "-q", "1")
    line = json.loads(done.stdout)
    assert (line["topic"], line["payload"], line["retain"], line["qos"]) == ("home/hall/door", "ON", 1, 1)


def test_live_messages_until_ctrl_c(home, broker):
    with running(home, "sub", "-p", broker, "-t", "home/live", "-v", "-t", "home/hall/door") as subscriber:
        assert subscriber.line() == "home/hall/door ON\n"  # the subscription stands
        appliance(home, "pub", "-p", broker, "-t", "home/live", "-m", "zwölf")
        assert subscriber.line() == "home/live zwölf\n"
        assert subscriber.stop(signal.SIGINT) == (0, "")


def test_retained_only_ends_at_the_first_live_one(home, broker):
    with running(home, "sub", "-p", broker, "-t", "home/live", "-t", "home/hall/door", "--retained-only") as subscriber:
        assert subscriber.line() == "ON\n"
        appliance(home, "pub", "-p", broker, "-t", "home/live", "-m", "x")
        assert subscriber.line() == ""
        assert subscriber.process.wait(PATIENCE_S) == 0


@pytest.fixture
def heap(home, broker):
    """Three retained messages."""
    for topic in ("old/a", "old/b", "old/c"):
        assert appliance(home, "pub", "-p", broker, "-t", topic, "-m", topic, "-r", "-q", "1").returncode == 0


def left(home, broker):
    """What is retained of the heap."""
    with running(home, "sub", "-p", broker, "-t", "old/#", "-t", "home/hall/door", "-v") as subscriber:
        return {line.split()[0] for line in subscriber.lines_until("home/hall/door")[:-1]}


@pytest.mark.usefixtures("heap")
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "5"])
def test_retained_messages_are_removed_but_for_what_is_left_out(home, broker, version):
    remove = ("sub", "-p", broker, "-t", "old/#", "-V", version, "--remove-retained")
    done = appliance(home, *remove, "-T", "old/b", "-C", "2")
    assert sorted(done.stdout.split()) == ["old/a", "old/c"]
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert left(home, broker) == {"old/b"}
    # The message that deletes comes back as a live one, which ends it, as with Mosquitto's client.
    done = appliance(home, *remove, "--retained-only")
    assert (done.returncode, done.stdout) == (Exit.OK, "old/b\n")
    assert left(home, broker) == set()


@pytest.mark.usefixtures("heap")
def test_retained_messages_are_removed_unseen(home, broker):
    done = appliance(home, "sub", "-p", broker, "-t", "old/#", "-R", "--remove-retained", "-C", "3")
    assert (done.returncode, done.stdout) == (Exit.OK, "\n\n\n")  # as they come back
    assert left(home, broker) == set()


def test_what_may_not_be_removed_is_told(tmp_path):
    rules = '[[rule]]\nuser = "ann"\npublish = ["mine/#"]\nsubscribe = ["#"]\n'
    write_accounts(tmp_path, rules, users=["ann", "admin"])
    (tmp_path / "appliance.toml").write_text(ACCOUNTS)
    port = free_port()
    serve = ("run", "--config", tmp_path / "appliance.toml", "--data", tmp_path / "d", "--mqtt-port", port)
    with running(tmp_path, *serve, "--http-port", 0) as service:
        service.lines_until("appliance runs")

        def ask(user, command, *more):
            return appliance(tmp_path, command, "-p", port, "-u", user, "-P", password(user), "-V", "5", "-q", 1, *more)

        for topic in ("mine/a", "home/a"):
            assert ask("admin", "pub", "-t", topic, "-m", "x", "-r").returncode == 0
        done = ask("ann", "sub", "-t", "+/a", "--remove-retained", "-C", "2")
        assert done.returncode == Exit.UNAVAILABLE
        assert "refused to delete what is retained on home/a (Not authorized)" in done.stderr
        assert "mine/a" not in done.stderr
        assert ask("admin", "sub", "-t", "#", "-C", "1", "-v").stdout == "home/a x\n"


def test_a_kept_session_receives_what_came_meanwhile(home, broker):
    keep = ("sub", "-p", broker, "-i", "keeper", "-c", "-q", "1", "-t", "home/mail")
    appliance(home, "pub", "-p", broker, "-t", "home/bell", "-m", "rings", "-r")
    for version in ("mqttv311", "mqttv5"):
        with running(home, *keep, "-t", "home/bell", "-V", version) as subscriber:
            assert subscriber.line() == "rings\n"  # the subscriptions stand
            assert subscriber.stop() == (0, "")
        appliance(home, "pub", "-p", broker, "-t", "home/mail", "-m", version, "-q", "1")
        assert appliance(home, *keep, "-C", "1", "-V", version).stdout == f"{version}\n"


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_who_takes_one_message_at_a_time_gets_each_once(home, broker, version):
    topic = f"one/{version}"
    keep = ("sub", "-p", broker, "-i", topic, "-c", "-q", "1", "-t", topic, "-V", version)
    appliance(home, "pub", "-p", broker, "-t", "home/bell", "-m", "rings", "-r")
    with running(home, *keep, "-t", "home/bell") as subscriber:
        assert subscriber.line() == "rings\n"  # the subscriptions stand
        assert subscriber.stop() == (0, "")
    for number in range(4):
        appliance(home, "pub", "-p", broker, "-t", topic, "-m", number, "-q", 2)
    assert [appliance(home, *keep, "-C", "1").stdout for _ in range(2)] == ["0\n", "1\n"]
    assert appliance(home, *keep, "-C", "2").stdout == "2\n3\n"


def test_a_reader_that_goes_away_ends_it(home, broker):
    with running(home, "sub", "-p", broker, "-t", "home/hall/door", "-t", "home/news") as subscriber:
        assert subscriber.line() == "ON\n"
        subscriber.process.stdout.close()
        publish = ("pub", "-p", broker, "-t", "home/news", "-m", "x")
        eventually(lambda: appliance(home, *publish).returncode == 0 and subscriber.process.poll() is not None)
        assert subscriber.process.returncode == 0
        assert subscriber.process.stderr.read() == ""


def test_it_comes_back_after_the_broker_did(home, tmp_path):
    port = free_port()
    serve = ("run", "--data", tmp_path, "--mqtt-port", port, "--http-port", "0")
    with running(home, *serve) as first:
        first.line()
        appliance(home, "pub", "-p", port, "-t", "home/x", "-m", "1", "-r", "-q", "1")
        subscriber = running(home, "sub", "-p", port, "-t", "home/x")
        with subscriber as child:
            assert child.line() == "1\n"
            first.stop()
            with running(home, *serve) as second:
                second.line()
                publish = ("pub", "-p", port, "-t", "home/x", "-m", "2", "-r", "-q", "1")
                eventually(lambda: appliance(home, *publish).returncode == 0)
                assert child.lines_until("2")[-1] == "2\n"  # "1" once more where it was back first
                code, complaints = child.stop(signal.SIGINT)
    assert code == 0
    assert f"the connection to localhost:{port} is lost" in complaints


DEEP = "/".join("x" * 70)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("-t", "a/#/b"), Exit.USAGE, "-t: # is not the last level"),
        (("-t", "a", "-T", ""), Exit.USAGE, "-T: the topic filter is empty"),
        (("-t", "a", "-F", "%z"), Exit.USAGE, "-F: %z is unknown"),
        (("-t", "a", "-P", "x"), Exit.USAGE, "-P needs a user name: add -u NAME"),
        (("-t", "a", "-p", "1"), Exit.UNAVAILABLE, "no broker at localhost:1 (Connection refused); start one with"),
        (("-t", "a", "-h", "no-such-host.invalid"), Exit.UNAVAILABLE, "no broker at no-such-host.invalid:1883 ("),
        (("-t", DEEP), Exit.UNAVAILABLE, f"refused the subscription to {DEEP} (not authorized, or not allowed); check"),
        (("-t", DEEP, "-V", "5"), Exit.UNAVAILABLE, f"refused the subscription to {DEEP} (Topic filter invalid); "),
    ],
)
def test_one_line_says_what_is_wrong(home, broker, arguments, code, complaint):
    port = () if "-p" in arguments or "-h" in arguments else ("-p", broker)
    done = appliance(home, "sub", *port, *arguments)
    assert done.returncode == code
    assert complaint in done.stderr
    assert done.stderr.startswith("appliance: ")
    assert done.stderr.count("\n") == 1


def test_a_broker_that_refuses(home):
    """Every client id is too long for some broker."""
    port = free_port()
    with running(home, "run", "--data", home / "d2", "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        for version in ("mqttv311", "mqttv5"):
            done = appliance(home, "sub", "-p", port, "-t", "a", "-i", "x" * 300, "-V", version)
            assert done.returncode == Exit.UNAVAILABLE
            assert f"localhost:{port} refused the connection" in done.stderr
