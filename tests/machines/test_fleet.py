"""Three hubs with five agents each, from one inventory: at once and one after the other, with hosts that fail.

`python -m tests.machines fleet -m soak -s`; with `-s` it says what it is at, how long each run takes, and what a
computer needs.

At first all are blank, and made at once; those that are left then are made one after the other, from a blank card or
from what a power cut left, among others that are to stay as they are.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import pytest
from machines.machine import wait_for

pytestmark = pytest.mark.soak

SITES = ("north", "south", "west")
AGENTS = 5
CONFIG = "/etc/appliance/sensors.toml"
HOME = "opt/home-sensor-appliance"
TRIAL = f"{HOME}/trial.json"
AT_ONCE = ("--forks", "18")
IN_TURN = ("--forks", "1")
PLAY_S = 3600.0
READY_S = 60  # as the roles have it
MEMORY_MB = 256  # half of what the smallest Pi has, the most that the units allow
TOLD = ("PLAY", "TASK", "RUNNING HANDLER", "fatal:", "failed:")


def sensors(agent, interval_s=2):
    return [{"name": "air", "kind": "simulated", "room": f"hall-{agent}", "interval_s": interval_s}]


class Fleet:
    """The machines by name, and what the control machine does with them."""

    def __init__(self, control, machines):
        self._control = control
        self._machines = machines
        self.all = {}
        self.hubs = [f"{site}-hub" for site in SITES]
        self.agents = [f"{site}-{number}" for site in SITES for number in range(1, AGENTS + 1)]
        began = time.monotonic()
        for name in (*self.hubs, *self.agents):
            self._take(name)
        print(f"\n{len(self.all)} blank machines: {time.monotonic() - began:.0f} s", flush=True)

    def _take(self, name):
        machine = self.all[name] = self._machines(name, blank=True)
        self._control.admit(machine)
        site = name.partition("-")[0]
        if name in self.hubs:
            self._control.add("hubs", machine, appliance_site=site)
        else:
            said = {"sensors_hub": f"{site}-hub", "sensors_list": sensors(name), "release_extras": []}
            self._control.add("agents", machine, **said)

    def say(self, name, **variables):
        """Let the inventory say something else of a computer."""
        group = "hubs" if name in self.hubs else "agents"
        self._control.inventory["all"]["children"][group]["hosts"][name].update(variables)

    def play(self, *words, good=True, playbook="site.yml", **variables):
        """Run the playbook; says which task it is at."""
        began = time.monotonic()

        def hear(line):
            if line.startswith(TOLD):
                print(f"{time.monotonic() - began:6.0f} s  {line.rstrip('* ')}", flush=True)

        print(f"\n{playbook} {' '.join(words)} {variables or ''}", flush=True)
        played = self._control.play(playbook, *words, good=good, hear=hear, limit_s=PLAY_S, **variables)
        counts = played.counts.values()
        done = {name: sum(count[name] for count in counts) for name in ("ok", "changed", "failed", "unreachable")}
        print(f"{playbook} {' '.join(words)}: {time.monotonic() - began:.0f} s, {done}", flush=True)
        return played

    def online(self, sites=SITES):
        """Agents that the hubs of these sites call online."""
        names = []
        for site in sites:
            status = json.loads(self.all[f"{site}-hub"].run("appliance", "status", "--json"))
            names += [name for name, state in status["agents"].items() if state == "online"]
        return sorted(names)

    def come(self, names, sites=SITES):
        """Wait until these agents are online and no others."""
        told = sorted(names)
        wait_for(lambda: self.online(sites) == told, f"{told} are online", 60, lambda: str(self.online(sites)))

    def interval_s(self, name):
        """What an agent's configuration says."""
        return int(self.all[name].read(CONFIG).partition("interval_s = ")[2].partition("\n")[0])

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


WITHOUT_POWER = {  # each loses it as soon as such a file is on its disk
    "south-3": "var/lib/dpkg/updates/[0-9]*",  # among the packages
    "north-2": f"{HOME}/releases/*/bin/pip",  # while the release is installed
    "west-hub": "var/lib/appliance/appliance.db",  # while its service is on trial
}
WRONG = "south-1"
LEFT = sorted(["north-2", "south-1", "south-3", *(f"west-{number}" for number in range(1, AGENTS + 1))])


def test_hosts_that_fail_in_the_middle_leave_the_others_right_and_agents_wait_for_their_hub(fleet):
    fleet.say(WRONG, sensors_list=[{"name": "air", "kind": "simulatd", "room": "hall"}])
    with ExitStack() as cuts:
        for name, sign in WITHOUT_POWER.items():
            cuts.enter_context(power_cut(fleet.all[name], sign))
        played = fleet.play(*AT_ONCE, good=False)
    assert played.code != 0
    assert failed(played) == sorted([*LEFT, "west-hub"])
    said = " ".join(played.said.split())
    assert f'{WRONG}: sensor[1].kind of "air":' in said
    assert "west-5 waits for its hub west-hub, which failed in this run; it is as it was" in said
    fleet.come(set(fleet.agents) - set(LEFT), sites=("north", "south"))


def test_one_after_the_other_they_are_mended_and_one_that_fails_now_leaves_them_right(fleet):
    fleet.say(WRONG, sensors_list=sensors(WRONG))
    for pip in fleet.all["north-2"].root.glob(f"{HOME}/releases/*/bin/pip"):
        pip.write_bytes(b"")  # what a card keeps of a file that was being written
    for name in WITHOUT_POWER:
        fleet.all[name].boot()
    fleet.say("south-5", sensors_list=sensors("south-5", interval_s=3))
    with power_cut(fleet.all["south-5"], TRIAL):
        played = fleet.play(*IN_TURN, good=False)
    assert failed(played) == ["south-5"]
    assert set(changed(played)) - {"west-hub"} == {*LEFT, "south-5"}
    fleet.come(set(fleet.agents) - {"south-5"})
    fleet.all["south-5"].boot()  # what was on trial is judged by the computer itself
    assert fleet.interval_s("south-5") == 3
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
    for name in fleet.hubs:
        fleet.say(name, appliance_settings={"history": {"raw_days": 30}})
    fleet.all["south-hub"].power_cut()
    played = fleet.play(good=False, at_once=1)
    assert failed(played) == ["south-hub"]
    fleet.all["south-hub"].boot()
    days = [fleet.all[name].read("/etc/appliance/appliance.toml").count("raw_days = 30") for name in fleet.hubs]
    assert days == [1, 0, 0]
    assert played.counts["west-hub"]["changed"] == 0  # only what the inventory says of it was looked at
    fleet.come(fleet.agents)


def test_a_later_run_mends_the_rest_and_one_more_changes_nothing(fleet):
    assert set(changed(fleet.play(*AT_ONCE))) - {"south-5"} == {"south-hub", "west-hub"}
    fleet.come(fleet.agents)
    assert fleet.play(*AT_ONCE).changed == 0
    fleet.play(*AT_ONCE, playbook="verify.yml")


def test_what_a_computer_needs(fleet):
    """Of a service that has read and written for a while: the seconds to READY, the memory with all that it shares."""
    for kind, unit in (("hub", "appliance.service"), ("agent", "sensors.service")):
        machines = [fleet.all[name] for name in (fleet.hubs if kind == "hub" else fleet.agents)]
        ready_s = max(started_in_s(machine, unit) for machine in machines)
        resident, own = (max(memory_mb(machine, unit, line) for machine in machines) for line in ("VmRSS", "RssAnon"))
        print(
            f"\n{unit}, at most of {len(machines)}: READY after {ready_s:.1f} s, {resident:.1f} MB, {own:.1f} its own"
        )
        assert 0 < ready_s < READY_S
        assert 0 < resident < MEMORY_MB


def started_in_s(machine, unit):
    began, ready = (int(machine.shown(unit, f"{state}TimestampMonotonic")) for state in ("InactiveExit", "ActiveEnter"))
    return (ready - began) / 1e6


def memory_mb(machine, unit, line):
    status = machine.read(f"/proc/{machine.shown(unit, 'MainPID')}/status")
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024
