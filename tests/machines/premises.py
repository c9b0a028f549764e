"""Where machines stand: namespaces of mounts, processes and networks of their own, which vanish with the last process.

There the cgroup hierarchy is the unified one, /run is empty, and the only network is the bridge `lan`, on which this
computer is 10.77.0.1: nothing reaches the outside, and nothing outside is touched.
"""

import os
import subprocess
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from .cache import output

BRIDGE = "lan"
HERE = IPv4Interface("10.77.0.1/24")
PLACE = Path("/run/machines")  # in memory
GROUPS = Path("/sys/fs/cgroup")
WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHES_WANTED = 1024  # a machine takes six of root's; the usual 128 of the whole computer are too few for a fleet
ENTER = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


@contextmanager
def watches():
    """Let there be enough watches of files, which no namespace has of its own; puts back what there was."""
    before = WATCHES.read_text()
    if int(before) >= WATCHES_WANTED:
        yield
        return
    WATCHES.write_text(f"{WATCHES_WANTED}\n")
    try:
        yield
    finally:
        WATCHES.write_text(before)


def furnish(group):
    """Make ready what machines need, in namespaces that ENTER has made; their cgroups are below `group`."""
    script = f"""
        set -eu
        mount -t tmpfs -o mode=755,size=75% tmpfs /run
        mkdir {PLACE} /run/lock /run/cgroup
        mount -t cgroup2 cgroup2 /run/cgroup
        mkdir /run/cgroup/{group}
        umount -l /sys/fs/cgroup
        mount --move /run/cgroup /sys/fs/cgroup
        ip link set lo up
        ip link add {BRIDGE} type bridge mcast_snooping 0
        ip address add {HERE} dev {BRIDGE}
        ip link set {BRIDGE} up
    """
    output("bash", "-c", script)


def clear(group):
    """Remove the cgroups that are left of a run that has ended, from wherever the unified hierarchy is not in sight."""
    script = """
        mount -t tmpfs tmpfs /mnt && mkdir /mnt/cgroup && mount -t cgroup2 cgroup2 /mnt/cgroup
        cd /mnt/cgroup && [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +
    """
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", group)
    subprocess.run(words, check=False, stderr=subprocess.DEVNULL, env=dict(os.environ))
