"""Three hubs with five agents each, from one inventory: at once and one after the other, with hosts that fail.

`python -m tests.machines fleet -m soak -s`; with `-s` it says what it is at, how long each run takes, and what a
computer needs.

Blank cards are made at once, eighteen of them. One after the other, two that are new (a hub and an agent) go through
the same tasks among sixteen that are there.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest
from machines.machine import wait_for

pytestmark = pytest.mark.soak

SITES = ("north", "south", "west")
AGENTS = 5
CONFIG = "/etc/appliance/sensors.toml"
HOME = "opt/home-sensor-appliance"
IN_THE_WAY = "/etc/appliance"  # a file where the directory is to be: that host fails in the middle of its play
AT_ONCE = ("--forks", "18")
IN_TURN = ("--forks", "1")
TOLD = ("PLAY", "TASK", "RUNNING HANDLER", "fatal:", "failed:")


def sensors(agent, interval_s=2):
    return [{"name": "air", "kind": "simulated", "room": f"hall-{agent}", "interval_s": interval_s}]


class Fleet:
    """The machines by name, and what the control machine does with them."""

    def __init__(self, control, machines):
        self._control = control
        self._machines = machines
        self.all = {}
        self.agents = [f"{site}-{number}" for site in SITES for number in range(1, AGENTS + 1)]
        began = time.monotonic()
        for name in (*(f"{site}-hub" for site in SITES), *self.agents):
            self.card(name)
        print(f"\n{len(self.all)} blank machines: {time.monotonic() - began:.0f} s", flush=True)

    def card(self, name):
        """Give a computer a blank card; what was on the one before is lost."""
        if name in self.all:
            self.all[name].close()
        machine = self.all[name] = self._machines(name, blank=True)
        self._control.admit(machine)
        site = name.partition("-")[0]
        if name.endswith("-hub"):
            self._control.add("hubs", machine, appliance_site=site)
        else:
            said = {"sensors_hub": f"{site}-hub", "sensors_list": sensors(name), "release_extras": []}
            self._control.add("agents", machine, **said)

    def describe(self, interval_s):
        """Let the inventory say of all agents how often they read."""
        for name in self.agents:
            self.say(name, sensors_list=sensors(name, interval_s))

    def say(self, name, **variables):
        """Let the inventory say something else of a computer."""
        group = "hubs" if name.endswith("-hub") else "agents"
        self._control.inventory["all"]["children"][group]["hosts"][name].update(variables)

    def play(self, *words, good=True, playbook="site.yml", **variables):
        """Run the playbook; says which task it is at."""
        began = time.monotonic()

        def hear(line):
            if line.startswith(TOLD):
                print(f"{time.monotonic() - began:6.0f} s  {line.rstrip('* ')}", flush=True)

        print(f"\n{playbook} {' '.join(words)} {variables or ''}", flush=True)
        played = self._control.play(playbook, *words, good=good, hear=hear, **variables)
        counts = played.counts.values()
        done = {name: sum(count[name] for count in counts) for name in ("ok", "changed", "failed", "unreachable")}
        print(f"{playbook} {' '.join(words)}: {time.monotonic() - began:.0f} s, {done}", flush=True)
        return played

    def online(self):
        """Agents that their hubs call online."""
        names = []
        for site in SITES:
            status = json.loads(self.all[f"{site}-hub"].run("appliance", "status", "--json"))
            names += [name for name, state in status["agents"].items() if state == "online"]
        return sorted(names)

    def come(self, names):
        """Wait until these agents are online and no others."""
        wait_for(lambda: self.online() == sorted(names), f"{names} are online", 60, lambda: str(self.online()))

    def intervals_s(self, names):
        """What the configurations of agents say."""
        return [int(self.all[name].read(CONFIG).partition("interval_s = ")[2].partition("\n")[0]) for name in names]

    def site(self, site):
        return [name for name in self.agents if name.startswith(site)]


@pytest.fixture(scope="module")
def fleet(machines, control):
    return Fleet(control, machines)


@contextmanager
def power_cut(machine, sign):
    """Pull a machine's plug as soon as a file of this pattern is on its disk; it must come while this lasts."""
    over = Event()

    def watch():
        while not over.wait(0.02):
            if any(machine.root.glob(sign)):
                machine.power_cut()
                print(f"{machine.name} has no power any more", flush=True)
                return True
        return False

    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(watch)
        try:
            yield
        finally:
            over.set()
        assert cut.result(), f"{machine.name}: {sign} did not come"


def failed(played):
    return sorted(host for host, counts in played.counts.items() if counts["failed"] or counts["unreachable"])


def changed(played):
    return sorted(host for host, counts in played.counts.items() if counts["changed"])


FAIL_AT_FIRST = ["north-2", "north-4", "south-3", "west-2"]


def test_hosts_that_fail_in_the_middle_leave_the_others_right(fleet):
    fleet.all["north-4"].run("touch", IN_THE_WAY)
    fleet.say("west-2", sensors_list=[{"name": "air", "kind": "simulatd", "room": "hall"}])
    packages = power_cut(fleet.all["south-3"], "var/lib/dpkg/updates/[0-9]*")
    release = power_cut(fleet.all["north-2"], f"{HOME}/releases/*/bin/pip")
    with packages, release:
        played = fleet.play(*AT_ONCE, good=False)
    assert played.code != 0
    assert failed(played) == FAIL_AT_FIRST
    assert 'west-2: sensor[1].kind of "air":' in " ".join(played.said.split())
    fleet.come(set(fleet.agents) - set(FAIL_AT_FIRST))


def test_a_second_run_mends_those_that_failed_and_changes_no_others(fleet):
    fleet.all["north-4"].run("rm", IN_THE_WAY)
    fleet.say("west-2", sensors_list=sensors("west-2"))
    for pip in fleet.all["north-2"].root.glob(f"{HOME}/releases/*/bin/pip"):
        pip.write_bytes(b"")  # what a card keeps of a file that was being written
    for name in ("north-2", "south-3"):
        fleet.all[name].boot()
    assert changed(fleet.play(*AT_ONCE)) == FAIL_AT_FIRST
    fleet.come(fleet.agents)


def test_each_agent_tells_its_own_hub_alone(fleet):
    for site in SITES:
        accounts = json.loads(fleet.all[f"{site}-hub"].run("appliance", "devices", "--json"))
        devices = sorted(
            one["name"] for one in accounts if one.get("by") == "inventory" and one["name"] in fleet.agents
        )
        assert devices == fleet.site(site)
    secrets = {fleet.all[name].read("/etc/appliance/sensors.password") for name in fleet.agents}
    assert len(secrets) == len(fleet.agents)


def test_one_after_the_other_stops_at_the_first_that_fails_and_the_rest_runs_on_as_it_was(fleet):
    fleet.describe(3)
    fleet.all["south-3"].power_cut()
    played = fleet.play(good=False, at_once=1)
    assert failed(played) == ["south-3"]
    position = fleet.agents.index("south-3")
    fleet.all["south-3"].boot()
    assert fleet.intervals_s(fleet.agents) == [3] * position + [2] * (len(fleet.agents) - position)
    fleet.come(fleet.agents)


def test_one_fork_goes_on_to_the_others_and_makes_blank_cards_among_them(fleet):
    for name in ("west-hub", "west-4"):
        fleet.card(name)
    fleet.describe(3)
    with power_cut(fleet.all["south-4"], f"{HOME}/trial.json"):
        played = fleet.play(*IN_TURN, good=False)
    assert failed(played) == ["south-4"]
    fleet.come(set(fleet.agents) - {"south-4"})
    fleet.all["south-4"].boot()
    assert set(fleet.intervals_s(fleet.agents)) == {3}  # what was on trial is judged by the computer itself
    fleet.come(fleet.agents)


def test_one_fork_changes_nothing_a_second_time(fleet):
    assert set(changed(fleet.play(*IN_TURN))) <= {"south-4"}
    assert fleet.play(*IN_TURN).changed == 0


def test_agents_whose_hub_fails_in_the_middle_wait_for_it(fleet):
    fleet.describe(4)
    for site in SITES:
        fleet.say(f"{site}-hub", appliance_settings={"history": {"raw_days": 30}})
    with power_cut(fleet.all["west-hub"], f"{HOME}/trial.json"):
        played = fleet.play(*AT_ONCE, good=False)
    waiting = fleet.site("west")
    assert failed(played) == sorted([*waiting, "west-hub"])
    fleet.all["west-hub"].boot()
    assert [name for name in fleet.agents if fleet.intervals_s([name]) != [4]] == waiting
    fleet.come(fleet.agents)


def test_a_later_run_mends_the_hub_and_its_agents_and_changes_no_others(fleet):
    assert set(changed(fleet.play(*AT_ONCE))) - {"west-hub"} == set(fleet.site("west"))
    assert fleet.play(*AT_ONCE).changed == 0
    fleet.play(*AT_ONCE, playbook="verify.yml")


def test_what_a_computer_needs(fleet):
    for kind, unit in (("hub", "appliance.service"), ("agent", "sensors.service")):
        names = fleet.agents if kind == "agent" else [f"{site}-hub" for site in SITES]
        ready_s, memory_mb = [], []
        for machine in (fleet.all[name] for name in names):
            began, ended = (
                int(machine.shown(unit, f"{state}TimestampMonotonic")) for state in ("InactiveExit", "ActiveEnter")
            )
            ready_s.append((ended - began) / 1e6)
            pid = machine.shown(unit, "MainPID")
            memory_mb.append(int(machine.sh(f"grep ^VmRSS /proc/{pid}/status").split()[1]) / 1024)
        print(f"\n{unit}: READY after {max(ready_s):.1f} s, {max(memory_mb):.1f} MB at most of {len(names)}")
        assert 0 < max(ready_s) < 60
        assert max(memory_mb) < 64
