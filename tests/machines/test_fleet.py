"""Three hubs with five agents each, from one inventory: at once and one after the other, with hosts that fail.

`python -m tests.machines fleet -m soak -s`; with `-s` it says how long each run takes.
"""

import json
import time

import pytest
from machines.machine import wait_for
from machines.playbooks import Control

pytestmark = pytest.mark.soak

SITES = ("north", "south", "west")
AGENTS = 5
CONFIG = "/etc/appliance/sensors.toml"
IN_THE_WAY = "/etc/appliance"  # a file where the directory is to be: that host fails in the middle of its play
AT_ONCE = ("--forks", "18")


def sensors(agent, interval_s=2):
    return [{"name": "air", "kind": "simulated", "room": f"hall-{agent}", "interval_s": interval_s}]


class Fleet:
    """The machines by name, and what the control machine does with them."""

    def __init__(self, control, machines):
        self._control = control
        self.all = {}
        for site in SITES:
            self._take("hubs", machines(f"{site}-hub", blank=True), appliance_site=site)
        for site in SITES:
            for number in range(1, AGENTS + 1):
                machine = machines(f"{site}-{number}", blank=True)
                said = {"sensors_hub": f"{site}-hub", "sensors_list": sensors(machine.name), "release_extras": []}
                self._take("agents", machine, **said)
        self.agents = [name for name in self.all if not name.endswith("-hub")]

    def _take(self, group, machine, **variables):
        self._control.admit(machine)
        self._control.add(group, machine, **variables)
        self.all[machine.name] = machine

    def describe(self, name, sensors_list):
        """Let the inventory say something else of an agent's sensors."""
        self._control.inventory["all"]["children"]["agents"]["hosts"][name]["sensors_list"] = sensors_list

    def play(self, *words, good=True, **variables):
        began = time.monotonic()
        played = self._control.play("site.yml", *words, good=good, **variables)
        print(f"\nsite.yml {' '.join(words)} {variables or ''}: {time.monotonic() - began:.0f} s")
        return played

    def online(self):
        """Agents that their hubs call online."""
        names = []
        for site in SITES:
            status = json.loads(self.all[f"{site}-hub"].run("appliance", "status", "--json"))
            names += [name for name, state in status["agents"].items() if state == "online"]
        return sorted(names)

    def interval_s(self, name):
        """What an agent's configuration says."""
        return int(self.all[name].read(CONFIG).partition("interval_s = ")[2].partition("\n")[0])


@pytest.fixture(scope="module")
def fleet(machines, given, tmp_path_factory):
    return Fleet(Control(tmp_path_factory.mktemp("control"), given.wheels), machines)


def failed(played):
    return sorted(host for host, counts in played.counts.items() if counts["failed"] or counts["unreachable"])


def test_hosts_that_fail_leave_the_others_right(fleet):
    fleet.all["north-4"].run("touch", IN_THE_WAY)
    fleet.all["south-3"].power_cut()
    fleet.describe("west-2", [{"name": "air", "kind": "simulatd", "room": "hall"}])
    played = fleet.play(*AT_ONCE, good=False)
    assert played.code != 0
    assert failed(played) == ["north-4", "south-3", "west-2"]
    assert 'west-2: sensor[1].kind of "air":' in " ".join(played.said.split())
    well = sorted(set(fleet.agents) - {"north-4", "south-3", "west-2"})
    wait_for(lambda: fleet.online() == well, f"{well} are online", 60, lambda: str(fleet.online()))


def test_a_second_run_mends_those_that_failed_and_changes_no_others(fleet):
    fleet.all["north-4"].run("rm", IN_THE_WAY)
    fleet.all["south-3"].boot()
    fleet.describe("west-2", sensors("west-2"))
    played = fleet.play(*AT_ONCE)
    changed = sorted(host for host, counts in played.counts.items() if counts["changed"])
    assert changed == ["north-4", "south-3", "west-2"]
    wait_for(lambda: fleet.online() == sorted(fleet.agents), "all are online", 60, lambda: str(fleet.online()))


def test_each_agent_tells_its_own_hub_alone(fleet):
    for site in SITES:
        accounts = json.loads(fleet.all[f"{site}-hub"].run("appliance", "devices", "--json"))
        devices = sorted(
            one["name"] for one in accounts if one.get("by") == "inventory" and one["name"] in fleet.agents
        )
        assert devices == [f"{site}-{number}" for number in range(1, AGENTS + 1)]
    secrets = {fleet.all[name].read("/etc/appliance/sensors.password") for name in fleet.agents}
    assert len(secrets) == len(fleet.agents)


def test_one_after_the_other_stops_at_the_first_that_fails_and_the_rest_runs_on_as_it_was(fleet):
    for name in fleet.agents:
        fleet.describe(name, sensors(name, interval_s=3))
    fleet.all["south-3"].power_cut()
    played = fleet.play(good=False, at_once=1)
    assert failed(played) == ["south-3"]
    position = fleet.agents.index("south-3")
    fleet.all["south-3"].boot()
    assert [fleet.interval_s(name) for name in fleet.agents] == [3] * position + [2] * (len(fleet.agents) - position)
    wait_for(lambda: fleet.online() == sorted(fleet.agents), "all are online", 60, lambda: str(fleet.online()))


def test_one_fork_goes_on_to_the_others(fleet):
    fleet.all["south-4"].power_cut()
    played = fleet.play("--forks", "1", good=False)
    assert failed(played) == ["south-4"]
    fleet.all["south-4"].boot()
    assert [name for name in fleet.agents if fleet.interval_s(name) != 3] == ["south-4"]
    fleet.play("--limit", "south-4")
    assert fleet.play(*AT_ONCE).changed == 0


def test_agents_whose_hub_fails_wait_for_it(fleet):
    for name in fleet.agents:
        fleet.describe(name, sensors(name, interval_s=4))
    fleet.all["west-hub"].power_cut()
    played = fleet.play(*AT_ONCE, good=False)
    waiting = [name for name in fleet.agents if name.startswith("west")]
    assert failed(played) == sorted(["west-hub", *waiting])
    fleet.all["west-hub"].boot()
    assert [name for name in fleet.agents if fleet.interval_s(name) != 4] == waiting
    fleet.play(*AT_ONCE)
    assert fleet.play(*AT_ONCE).changed == 0
