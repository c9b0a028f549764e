"""A booted machine: real systemd as PID 1, in a container with a network address of its own, and the ways into it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from .cache import output
from .premises import BRIDGE, GROUPS, HERE, PLACE

BOOT_S = 90.0
WAIT_S = 60.0
# Runs the machine whenever it is to be on. 133 is what nspawn ends with where the machine wants to boot anew.
KEEPER = """
set -u
place=$1 group=$2; shift 2
exec < /dev/null >> "$place/console" 2>&1
trap 'rm "$place/keeper"' EXIT
echo $$ > "$group/cgroup.procs"
echo $$ > "$place/keeper"
while [ ! -e "$place/stop" ]; do
    if [ ! -e "$place/on" ]; then sleep 0.1; continue; fi
    status=0
    "$@" || status=$?
    [ $status = 133 ] || rm -f "$place/on"
done
"""
LAN = """
[Match]
Name=host0

[Network]
Address={address}/{prefix}
Gateway={gateway}
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
MulticastDNS=no
"""


class Machine:
    """One machine, off until `boot`. What it writes is kept in memory, from one boot to the next, until `close`.

    layers: folders of its root file system, the topmost first. binds: folder in the machine -> folder here, to read.
    number: of its address on the bridge; None: it has loopback only.
    """

    def __init__(self, name, layers, *, number=None, group, binds=None):
        self.name = name
        self.address = None if number is None else IPv4Address(int(HERE.network.network_address) + number)
        self._layers = layers
        self._binds = dict(binds or {})
        self._place = PLACE / name
        self._group = GROUPS / group / name

    # Power

    def open(self):
        """Put it together: its disk, and what keeps it on."""
        self._group.mkdir(exist_ok=True)  # of an earlier machine of this name
        for part in ("upper", "work", "root"):
            (self._place / part).mkdir(parents=True)
        parts = f"upperdir={self._place}/upper,workdir={self._place}/work"
        lower = ":".join(map(str, self._layers))
        output("mount", "-t", "overlay", "-o", f"lowerdir={lower},{parts}", "overlay", self.root)
        network = ["--private-network"]
        if self.address is not None:
            network = [f"--network-bridge={BRIDGE}"]
            words = {"address": self.address, "prefix": HERE.network.prefixlen, "gateway": HERE.ip}
            (self.root / "etc/systemd/network/10-lan.network").write_text(LAN.format_map(words))
            wants = self.root / "etc/systemd/system/multi-user.target.wants"
            online = self.root / "etc/systemd/system/network-online.target.wants"
            for folder, unit in ((wants, "systemd-networkd"), (online, "systemd-networkd-wait-online")):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{unit}.service").symlink_to(f"/lib/systemd/system/{unit}.service")
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {self.name}\n")
        # bpf is what systemd enforces DeviceAllow= and IPAddressDeny= with; without it, it drops them in silence.
        # The others ask the kernel whether the clock is right; to set it they lack the capability.
        command = (
            *("systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}", "--boot"),
            *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            *("--system-call-filter=bpf adjtimex clock_adjtime", "--capability=CAP_BPF", "--console=pipe", *network),
            *(f"--bind-ro={here}:{there}" for there, here in self._binds.items()),
        )
        # No child of ours: a machine may be made in the middle of a test, and outlive it.
        output("setsid", "--fork", "bash", "-c", KEEPER, "keeper", self._place, self._group, *command)
        wait_for(self._is_kept, f"somebody keeps {self.name}")

    def close(self):
        """Pull its plug, and let go of everything; may be called twice."""
        if not self._place.exists():
            return
        if self._is_kept():
            (self._place / "stop").touch()
            self.power_cut()
            wait_for(lambda: not self._is_kept(), f"nobody keeps {self.name}")
        output("umount", self.root)
        shutil.rmtree(self._place)

    def boot(self):
        """Switch it on; returns when everything that was to be started has been."""
        (self._place / "on").touch()
        state = self.settled()
        assert state == "running", f"{self.name} is '{state}':\n{self.run('systemctl', '--failed', '--no-pager')}"

    def settled(self):
        """Wait until a boot is over; gives what systemd thinks of it: running, or degraded."""
        end = time.monotonic() + BOOT_S
        state = ""
        while time.monotonic() < end:
            if self.leader() is not None:
                state = self.result("systemctl", "is-system-running", "--wait", timeout=BOOT_S).stdout.strip()
                if state in {"running", "degraded"}:
                    return state
            assert (self._place / "on").exists(), f"{self.name} went off:\n{self.console()}"
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not come up; it is '{state}':\n{self.console()}")

    def power_cut(self):
        """Pull the plug: nothing in it gets to do anything more, and nobody hears that its connections end."""
        (self._place / "on").unlink(missing_ok=True)
        self._unplug()
        with suppress(OSError):  # nothing runs in it
            # All at once: who outlived systemd for a moment would take its end for a failure, and act on it.
            (self._group / "payload/cgroup.kill").write_text("1")
        if (nspawn := self._nspawn()) is not None:
            with suppress(ProcessLookupError):
                os.kill(nspawn, signal.SIGKILL)
        self._is_off()
        wait_for(self._is_cleared, f"the cgroups of {self.name} are gone")

    def shut_down(self):
        """Switch it off in order."""
        self.result("systemctl", "poweroff")
        self._is_off()

    def reboot(self):
        """Switch it off in order, and on again."""
        before = self.leader()
        self.result("systemctl", "reboot")
        wait_for(lambda: self.leader() not in {before, None}, f"{self.name} boots again", BOOT_S)
        self.settled()

    def _is_off(self):
        wait_for(lambda: self._nspawn() is None, f"{self.name} is off", BOOT_S)
        self._unplug()  # its cable goes with its network, but not at once

    def _is_cleared(self):
        """Remove its cgroups: what is started into one that was killed dies at once (systemd 257 starts so)."""
        for folder, _, _ in os.walk(self._group / "payload", topdown=False):
            with suppress(OSError):  # the last of it are still dying
                Path(folder).rmdir()
        return not (self._group / "payload").exists()

    def _unplug(self):
        if self.address is not None:
            subprocess.run(["ip", "link", "delete", f"vb-{self.name}"], capture_output=True, check=False)

    def _is_kept(self):
        return (self._place / "keeper").exists()

    def _nspawn(self):
        try:
            keeper = (self._place / "keeper").read_text().strip()
        except FileNotFoundError:  # it may go while we look
            return None
        return _child(keeper, "systemd-nspawn")

    def leader(self):
        """The process that is the machine's first, by its number out here; None while there is none."""
        nspawn = self._nspawn()
        return None if nspawn is None else _child(nspawn, "systemd")

    def console(self):
        """The end of what came on its console."""
        return (self._place / "console").read_text(errors="replace")[-4000:]

    # Ways in

    @property
    def root(self):
        """Its disk as seen from out here; links with absolute paths lead astray."""
        return self._place / "root"

    def into(self, *command):
        """Words that run a command in it, as root, for who starts processes by himself."""
        leader = self.leader()
        assert leader is not None, f"{self.name} is off:\n{self.console()}"
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = ("/usr/bin/env", "-i", f"PATH={path}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", *map(str, command))
        return ["nsenter", "--target", str(leader), "--all", *inside]

    def result(self, *command, stdin=None, timeout=WAIT_S):
        """Run a command in it; gives what became of it: returncode, stdout, stderr."""
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        words = self.into(*command)
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout, **given)

    def run(self, *command, stdin=None, timeout=WAIT_S):
        """Run a command in it, which must go well; gives its standard output."""
        done = self.result(*command, stdin=stdin, timeout=timeout)
        said = (done.stdout + done.stderr)[-4000:]
        assert done.returncode == 0, f"{self.name}: {shlex.join(map(str, command))}: exit {done.returncode}\n{said}"
        return done.stdout

    def sh(self, script, *, timeout=WAIT_S):
        """Run a shell script in it, as `run` does."""
        return self.run("bash", "-euc", script, timeout=timeout)

    def python(self, script, *arguments, stdin=None, timeout=WAIT_S):
        """Run a Python script in it, by the interpreter that has the project, as `run` does."""
        interpreter = "/opt/home-sensor-appliance/current/bin/python"
        return self.run(interpreter, "-c", script, *arguments, stdin=stdin, timeout=timeout)

    def write(self, path, text, *, mode="644", owner="root", group="root"):
        """Write a file in it, and make the folders above it."""
        self.run("install", "-D", "-m", mode, "-o", owner, "-g", group, "/dev/stdin", path, stdin=text)

    def read(self, path):
        """Read a file in it."""
        return self.run("cat", path)

    def copy(self, source, target):
        """Copy a file or folder from here to a path in it."""
        source = Path(source)
        with subprocess.Popen(["tar", "-C", source.parent, "-c", source.name], stdout=subprocess.PIPE) as packed:
            script = 'mkdir -p "$1" && tar -x --no-same-owner -C "$1" --transform "s,^$2,$3,"'
            target = Path(target)
            words = self.into("sh", "-euc", script, "sh", target.parent, source.name, target.name)
            subprocess.run(words, stdin=packed.stdout, check=True)
        assert packed.returncode == 0

    # systemd

    def systemctl(self, *words):
        """Run systemctl, which must go well; where it does not, the end of the journal is told."""
        done = self.result("systemctl", *words)
        if done.returncode:
            said = "\n".join(map(str, self.messages()[-20:]))
            raise AssertionError(f"{self.name}: systemctl {shlex.join(words)}: {done.stderr}\n{said}")
        return done.stdout

    def shown(self, unit, name):
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def wait(self, unit, timeout=WAIT_S, **properties):
        """Wait until a unit has these properties, such as ActiveState="active"."""

        def has():
            return all(self.shown(unit, name) == value for name, value in properties.items())

        wait_for(has, f"{self.name}: {unit} has {properties}", timeout, self.status_of, unit)

    def status_of(self, unit):
        """What systemctl and the journal say of a unit, for people."""
        return self.result("systemctl", "status", "--no-pager", "--full", "--lines=40", unit).stdout

    def journal(self, *matches, unit=None):
        """Entries of the journal as dictionaries, the oldest first; matches are such as "SENSOR=air"."""
        of = () if unit is None else ("--unit", unit)
        lines = self.run("journalctl", "--sync") + self.run(
            "journalctl", "--no-pager", "--quiet", "--output=json", "--all", *of, *matches
        )
        return [json.loads(line) for line in lines.splitlines()]

    def messages(self, *matches, unit=None):
        """Only the texts of the journal's entries."""
        return [entry.get("MESSAGE") for entry in self.journal(*matches, unit=unit)]


def _child(parent, name):
    done = subprocess.run(["pgrep", "-P", str(parent), "-x", name], capture_output=True, text=True, check=False)
    found = done.stdout.split()
    return int(found[0]) if found else None


def wait_for(holds, what, timeout=WAIT_S, why=None, *arguments):
    """Wait until something holds; where it does not in time, `why(*arguments)` is told."""
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}\n{why(*arguments) if why else ''}"
        time.sleep(0.05)
