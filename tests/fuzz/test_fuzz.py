"""Short runs of each target, and bugs on purpose that the fuzzer must find."""

import re

import pytest

from appliance.mqtt.codec import READERS
from appliance.mqtt.types import PacketType
from tests.fuzz.__main__ import arguments, fuzz, main
from tests.fuzz.corpus import seeds
from tests.fuzz.engines import Finding, with_hypothesis
from tests.fuzz.planted import plant
from tests.fuzz.targets import TARGETS, VERSIONS, play, read, weighed

RUNS = [("stream", 15_000), ("broker", 2_000), ("socket", 2_000)]


@pytest.mark.parametrize(("target", "runs"), RUNS)
def test_a_short_run_finds_nothing(target, runs, capsys):
    """With atheris where there is one, and with hypothesis elsewhere."""
    assert main([target, "--runs", str(runs), "--seed", "1"]) == 0
    said = capsys.readouterr().out
    print(said)
    executions = re.search(rf"^{target}: (\d+) executions in \d+ s with seed 1, no finding$", said, re.MULTILINE)
    assert int(executions[1]) >= runs


@pytest.mark.parametrize("target", TARGETS)
def test_hypothesis_does_the_same(target):
    assert with_hypothesis(TARGETS[target], target, 1_000, 0, 1) >= 1_000


@pytest.fixture
def _planted(monkeypatch):
    monkeypatch.setitem(READERS, PacketType.UNSUBSCRIBE, READERS[PacketType.UNSUBSCRIBE])
    plant()


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("target", TARGETS)
def test_hypothesis_finds_a_bug_that_was_planted(target):
    with pytest.raises(Finding, match="Error: "):
        with_hypothesis(TARGETS[target], target, 2_000, 0, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_finds_it_too(target, _planted):  # noqa: PT019 for hypothesis, where there is no atheris
    with pytest.raises(Finding, match=r"with the bytes [0-9a-f]+$"):
        fuzz(target, arguments(["--runs", "20000", "--seed", "1", "--plant"]))


def two_hundred_times(target):
    for _ in range(200):
        target(b"")


def test_what_is_kept_is_weighed():
    kept = []
    with pytest.raises(AssertionError, match="bytes are kept of 0"):
        two_hundred_times(weighed(lambda _: kept.append(bytes(200_000)), 1 << 20))
    with pytest.raises(AssertionError, match="bytes were taken for 0"):
        two_hundred_times(weighed(lambda _: len(bytes(2 << 20)), 1 << 20))


def test_the_seeds_reach_what_they_are_for():
    """Packets, errors, answers: a target that is handed nothing but nonsense would find nothing."""
    packets = {
        type(packet).__name__ for data in seeds("stream") for packet in read([data[1:]], VERSIONS[data[0] & 3])[0]
    }
    assert len(packets) == 15
    answers = [b"".join(told) for data in seeds("broker") for told in play(data[1:], 1 << 20)]
    assert {answer[0] >> 4 for answer in answers if answer} == {2}
    assert sum(len(answer) > 40 for answer in answers) > 200
