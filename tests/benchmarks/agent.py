"""What an agent with 20 sensors costs: `python -m tests.benchmarks.agent`.

The real `sensors run` and the real service, each a process of its own; memory and processor time of the agent are the
kernel's counts. The sensors are simulated: drivers, filters, outbox and link are those of a house, the hardware is not.
The first seconds, in which Python loads what it needs, do not count for the processor's time.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from .brokers import BrokerProcess, free_port

MB = 1_000_000
MODELS = ("room",) * 16 + ("motion",) * 2 + ("relay",) * 2
INTERVALS_S = (10.0, 15.0, 30.0, 60.0)  # of thermometers and their like
WARM_UP_S = 10.0
MOST_MB = 40.0
MOST_CPU = 0.01  # of one core


def configuration(port: int, scratch: Path, interval_s: float | None) -> str:
    """Give a house of 20 sensors, 16 of them asked in turn."""
    sensors = []
    for number, model in enumerate(MODELS):
        every_s = interval_s or INTERVALS_S[number % len(INTERVALS_S)]
        asked = f"interval_s = {every_s}\n" if model == "room" else ""
        sensors.append(
            f'[[sensor]]\nname = "s{number}"\nroom = "r{number}"\nkind = "simulated"\nmodel = "{model}"\n{asked}'
        )
    return f'agent = "bench"\ndata_dir = "{scratch}/outbox"\n[broker]\nport = {port}\n{"".join(sensors)}'


@contextmanager
def running(scratch: Path, interval_s: float | None = None):
    """Run the service, and an agent that is connected to it; gives the agent's process."""
    port, env = free_port(), dict(os.environ)
    command = ["run", "--data", str(scratch / "data"), "--mqtt-port", str(port), "--http-port", "0"]
    service = BrokerProcess("appliance", [sys.executable, "-m", "appliance", *command], port, scratch, env)
    try:
        config = scratch / "sensors.toml"
        config.write_text(configuration(port, scratch, interval_s))
        command = [sys.executable, "-m", "sensors", "run", "--config", str(config)]
        agent = BrokerProcess("sensors", command, port, scratch, env)
        try:
            while "connected to" not in agent.last_words():
                agent.check()
                time.sleep(0.05)
            yield agent
        finally:
            agent.stop()
    finally:
        service.stop()


def main(argv: list[str]) -> int:
    """Measure and print; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.agent", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look (60)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="appliance-agent-") as scratch, running(Path(scratch)) as agent:
        time.sleep(WARM_UP_S)
        began, used_s = time.monotonic(), agent.cpu_s()
        time.sleep(options.seconds)
        share = (agent.cpu_s() - used_s) / (time.monotonic() - began)
        megabytes = agent.rss_bytes() / MB
    print(f"{len(MODELS)} sensors: {megabytes:.1f} MB resident (at most {MOST_MB:g}),", end=" ")
    print(f"{share:.2%} of a core over {options.seconds:g} s (at most {MOST_CPU:.0%})")
    return int(megabytes > MOST_MB or share > MOST_CPU)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
