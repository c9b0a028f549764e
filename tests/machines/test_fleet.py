"""Three hubs with five agents each, from one inventory: at once and one after the other, with hosts that fail.

`python -m tests.machines fleet -m soak`.
"""

import json
import time

import pytest
from machines.machine import wait_for
from machines.playbooks import Control

pytestmark = pytest.mark.soak

SITES = ("north", "south", "west")
AGENTS = 5
FORKS = ("--forks", "6")
CONFIG = "/etc/appliance/sensors.toml"


def sensors(interval_s=2):
    return [{"name": "air", "kind": "simulated", "room": "hall", "interval_s": interval_s}]


class Fleet:
    """The machines, by name, and the control machine."""

    def __init__(self, control, machines):
        self.control = control
        self.all = {}
        for site in SITES:
            self._take("hubs", machines(f"{site}-hub", blank=True), appliance_site=site)
        for site in SITES:
            for number in range(1, AGENTS + 1):
                machine = machines(f"{site}-{number}", blank=True)
                self._take("agents", machine, sensors_hub=f"{site}-hub", sensors_list=sensors(), release_extras=[])

    def _take(self, group, machine, **variables):
        self.control.admit(machine)
        self.control.add(group, machine, **variables)
        self.all[machine.name] = machine

    @property
    def agents(self):
        return [name for name in self.all if not name.endswith("-hub")]

    def says(self, name, **variables):
        """Let the inventory say something else of one agent."""
        self.control.inventory["all"]["children"]["agents"]["hosts"][name].update(variables)

    def play(self, *words, good=True, **variables):
        began = time.monotonic()
        played = self.control.play("site.yml", *words, good=good, **variables)
        print(f"{' '.join(words)} {variables or ''}: {time.monotonic() - began:.0f} s, {played.changed} changes")
        return played

    def readings(self, name):
        """How many readings of an agent its hub holds; agents of a site share a room, so each has its own."""
        hub = self.all[f"{name.partition('-')[0]}-hub"]
        told = hub.run("appliance", "status", "--json")
        return json.loads(told)

    def online(self, site):
        """Agents of a site that its hub calls online."""
        told = self.all[f"{site}-hub"].run("appliance", "devices", "--json")
        return json.loads(told)
