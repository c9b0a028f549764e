"""The memory of an agent with 20 sensors holds; its processor time is for `python -m tests.benchmarks.agent`."""

import tomllib

from processes import eventually

from . import agent as bench


def test_an_agent_with_20_sensors_is_small(tmp_path):
    with bench.running(tmp_path, interval_s=0.2) as agent:
        outbox = tmp_path / "outbox"
        eventually(lambda: any(outbox.iterdir()))
        before = agent.cpu_s()
        eventually(lambda: agent.cpu_s() > before + 0.5)  # hundreds of readings
        assert agent.rss_bytes() <= bench.MOST_MB * bench.MB


def test_it_has_20_sensors_at_a_house_s_intervals(tmp_path):
    config = tomllib.loads(bench.configuration(1883, tmp_path, None))
    assert len(config["sensor"]) == 20
    assert {sensor["interval_s"] for sensor in config["sensor"] if "interval_s" in sensor} == set(bench.INTERVALS_S)
