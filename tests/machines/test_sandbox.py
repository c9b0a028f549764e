"""What the units forbid: every line that restricts does so by itself, and all of them together."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
PROBE = Path(__file__).with_name("probe.py")
# Line of a unit -> the probe that shows it, what comes of that without the line (None: it depends), and with it.
SHOWN = {
    "CapabilityBoundingSet=": ("capabilities", None, "0000000000000000"),
    "DevicePolicy=closed": ("device", "allowed", "EPERM"),
    "LimitCORE=0": ("core", None, "0"),
    "LimitNOFILE=16384": ("files", "1024", "16384"),
    "LockPersonality=yes": ("personality", "allowed", "EPERM"),
    "MemoryDenyWriteExecute=yes": ("write-execute", "allowed", "EPERM"),
    "NoNewPrivileges=yes": ("no-new-privileges", "0", "1"),
    "PrivateDevices=yes": ("devices", "all", "few"),
    "PrivateMounts=yes": ("mounts", "shared", "private"),
    "PrivateTmp=yes": ("tmp", "shared", "private"),
    "PrivateUsers=yes": ("users", "all", "own"),
    "ProcSubset=pid": ("proc-sys", "there", "hidden"),
    "ProtectControlGroups=yes": ("cgroups", "allowed", "EROFS"),
    "ProtectHome=yes": ("home", "someone", "EACCES"),
    "ProtectKernelModules=yes": ("modules", "6.1", "EACCES"),
    "ProtectKernelTunables=yes": ("tunables", "allowed", "EROFS"),
    "ProtectProc=invisible": ("processes", "all", "own"),
    "ProtectSystem=strict": ("write-opt", "allowed", "EROFS"),
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK": ("packet", "allowed", "EAFNOSUPPORT"),
    "RestrictNamespaces=yes": ("unshare", "allowed", "EPERM"),
    "RestrictRealtime=yes": ("realtime", "allowed", "EPERM"),
    "RestrictSUIDSGID=yes": ("set-id", "allowed", "EPERM"),
    "SystemCallFilter=@system-service": ("mount", "allowed", "EPERM"),
    "SystemCallFilter=~@privileged @resources": ("priority", "allowed", "EPERM"),
    "UMask=0077": ("umask", "0o644", "0o600"),
}
AS_USER = {"ProtectHome=yes", "ProtectKernelModules=yes", "ProtectProc=invisible"}  # root may look all the same
# Line of a unit -> why nothing here shows it.
EXPLAINED = {
    "KeyringMode=private": "nothing of ours has a key there; what comes in by a library stays with the service",
    "MemoryMax=50%": "not enforced where the cgroups of the computer are those of version 1",
    "OOMPolicy=continue": "as above",
    "ProtectKernelLogs=yes": "a container has no log of the kernel to read",
    "RemoveIPC=yes": "the queues of a DHT library that was killed; nothing else makes any",
    "SystemCallArchitectures=native": "programs of a foreign architecture pass by the filter; there are none here",
    "SystemCallErrorNumber=EPERM": "a library that asks for too much hears an error instead of being killed",
    "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64": "allows: see what a service needs",
    "TasksMax=128": "as MemoryMax=",
    "TasksMax=256": "as MemoryMax=",
}
NETWORK_TUNNEL = os.makedev(10, 200)  # a device that everybody may open
REFUSED = {"EACCES", "EAFNOSUPPORT", "ENOENT", "EPERM", "EROFS"}
# What comes of a device that may be opened, where there is no such hardware behind its number.
ADMITTED = {"ENODEV", "ENXIO"}
CLASSES = {"pins": "DeviceAllow=char-gpiochip rw", "bus": "DeviceAllow=char-i2c rw"}
NOT_OF_THE_SANDBOX = re.compile(
    "Type|NotifyAccess|Exec|Restart$|RestartSec|Watchdog|Timeout|User|Group|SupplementaryGroups|.*Directory|LoadCred|SetCred"
    "|Environment|DeviceAllow"
)


@pytest.fixture(scope="module")
def machine(machines):
    made = machines("sandbox", lan=False)
    made.sh("""
        mkdir -p /home/someone /usr/lib/modules/6.1 && touch /tmp/outside /dev/outside
        install -m 640 -g gpio /dev/stdin /srv/of-gpio <<< held
    """)
    os.mknod(made.root / "srv/device", stat.S_IFCHR, NETWORK_TUNNEL)
    (made.root / "srv/device").chmod(0o666)
    made.copy(PROBE, "/srv/probe.py")
    return made


def lines(unit):
    text = (UNITS / unit).read_text().partition("[Service]")[2].partition("[Install]")[0]
    return [line for line in text.splitlines() if "=" in line and not line.startswith("#")]


def restricting(unit):
    return [line for line in lines(unit) if not NOT_OF_THE_SANDBOX.match(line.partition("=")[0])]


def probed(machine, probes, *properties):
    """What comes of probes in a service that has these lines and no others."""
    options = [f"--property={line}" for line in properties]
    words = ("systemd-run", "--quiet", "--pipe", "--wait", *options, "/usr/bin/python3", "/srv/probe.py", *probes)
    return json.loads(machine.run(*words))


def within(machine, unit, *probes):
    """What comes of probes in place of the service itself."""
    text = (UNITS / unit).read_text()
    text = re.sub("(?m)^(Type|NotifyAccess|Restart|RestartSec|Watchdog.*|ExecReload|ExecStartPre)=.*\n", "", text)
    text = re.sub(
        "(?m)^ExecStart=.*$", f"Type=oneshot\nExecStart=/usr/bin/python3 /srv/probe.py {' '.join(probes)}", text
    )
    machine.write(
        "/run/systemd/system/probed.service",
        text.replace("[Install]", "[Service]\nStandardOutput=truncate:/run/probed\n[Install]"),
    )
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "probed.service")
    return json.loads(machine.read("/run/probed"))


@pytest.mark.parametrize("unit", ["appliance.service", "sensors.service"])
def test_every_line_that_restricts_is_shown_or_explained(unit):
    assert not [line for line in restricting(unit) if line not in SHOWN and line not in EXPLAINED]


def test_no_line_is_shown_or_explained_that_no_unit_has():
    had = {*restricting("appliance.service"), *restricting("sensors.service")}
    assert not {*SHOWN, *EXPLAINED} - had


@pytest.mark.parametrize("line", SHOWN)
def test_a_line_restricts(machine, line):
    probe, without, restricted = SHOWN[line]
    others = ["User=sensors"] if line in AS_USER else []
    if line.startswith("SystemCallFilter="):
        others.append("SystemCallErrorNumber=EPERM")  # instead of the end of the process
    if without is not None:
        assert probed(machine, [probe], *others) == {probe: without}
    (found,) = probed(machine, [probe], *others, line).values()
    assert found in REFUSED if restricted in REFUSED else found == restricted


@pytest.mark.parametrize("unit", ["appliance.service", "sensors.service"])
def test_all_lines_together_restrict(machine, unit):
    wanted = {SHOWN[line][0]: SHOWN[line][2] for line in restricting(unit) if line in SHOWN}
    del wanted["mounts"]  # of the first process it may not even ask
    for probe, found in within(machine, unit, *wanted).items():
        if wanted[probe].startswith("E"):
            assert found in REFUSED, f"{probe}: {found}"
        else:
            assert found == wanted[probe], probe


@pytest.mark.parametrize("unit", ["appliance.service", "sensors.service"])
def test_what_a_service_needs_it_has(machine, unit):
    needs = ("write-state", "write-runtime", "write-tmp", "null", "clock", "child", "netlink")
    found = within(machine, unit, *needs)
    assert found == {**dict.fromkeys(needs, "allowed"), "child": "ran", "netlink": "lo"}


@pytest.mark.parametrize("unit", ["appliance.service", "sensors.service"])
def test_nothing_outside_its_state_is_written_and_nobody_s_home_is_seen(machine, unit):
    probes = (
        "write-etc",
        "write-opt",
        "write-var",
        "home",
        "root",
        "device",
        "mount",
        "set-clock",
        "hostname",
        "packet",
    )
    found = within(machine, unit, *probes)
    assert set(found.values()) <= REFUSED, found


@pytest.fixture(scope="module")
def hardware(machine):
    """A machine whose kernel has drivers for pins and I²C, as far as it says so; in `tests/vm` one has."""
    text = Path("/proc/devices").read_text()
    characters = text.partition("Block devices:")[0]
    taken = {line.split()[0] for line in characters.splitlines() if line}
    free = (number for number in range(254, 233, -1) if str(number) not in taken)
    numbers = {"gpiochip": next(free), "i2c": next(free)}
    told = "".join(f"{number} {name}\n" for name, number in numbers.items())
    machine.write("/srv/devices", text.replace("Character devices:\n", f"Character devices:\n{told}"))
    machine.run("mount", "--bind", "/srv/devices", "/proc/devices")
    for name, group in (("gpiochip", "gpio"), ("i2c", "i2c")):
        os.mknod(machine.root / "srv" / name, stat.S_IFCHR, os.makedev(numbers[name], 0))
        machine.sh(f"chgrp {group} /srv/{name} && chmod 660 /srv/{name}")
    return machine


@pytest.mark.parametrize(("probe", "line"), CLASSES.items())
def test_the_hardware_of_a_line_may_be_opened_and_no_other(hardware, probe, line):
    found = probed(hardware, [*CLASSES, "device"], "DevicePolicy=closed", line)
    assert found.pop(probe) in ADMITTED
    assert set(found.values()) == {"EPERM"}
    assert line in lines("sensors.service")


def test_the_agent_opens_pins_and_buses_and_the_hub_neither(hardware):
    found = within(hardware, "sensors.service", *CLASSES, "device")
    assert found.pop("device") == "EPERM"
    assert set(found.values()) <= ADMITTED
    assert set(within(hardware, "appliance.service", *CLASSES).values()) <= REFUSED


def test_the_hub_knows_the_boot_that_its_sandbox_hides(machine):
    found = within(machine, "appliance.service", "boot", "proc-sys")
    assert found == {
        "boot": machine.read("/proc/sys/kernel/random/boot_id").strip().replace("-", ""),
        "proc-sys": "hidden",
    }


def test_the_agent_reads_the_computer_and_what_its_groups_may(machine):
    assert within(machine, "sensors.service", "loadavg", "group-file") == {"loadavg": "there", "group-file": "held\n"}
    assert within(machine, "appliance.service", "loadavg", "group-file") == {
        "loadavg": "hidden",
        "group-file": "EACCES",
    }


def test_the_agent_s_own_programs_run(machine):
    """That of a DHT sensor, which says by its own way that there is no library here."""
    assert within(machine, "sensors.service", "dht-child") == {"dht-child": "ModuleNotFoundError"}


def test_the_agent_is_handed_a_password_that_it_could_not_read(machine):
    assert within(machine, "sensors.service", "credential") == {"credential": "\n"}
    machine.write("/etc/appliance/sensors.password", "secret\n", mode="600")
    assert within(machine, "sensors.service", "credential", "password-file") == {
        "credential": "secret\n",
        "password-file": "EACCES",
    }
    machine.run("rm", "/etc/appliance/sensors.password")
