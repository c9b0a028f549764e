"""Tries in a machine what a sandbox may forbid; prints for each name that it is given what came of it, as JSON.

Run by the machine's own Python, so it imports nothing of ours.
"""

# One call a probe, that of the system.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH110, PTH115, PTH116, PTH118, PTH123, PTH208, SIM115

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x1000_0000
ADDR_NO_RANDOMIZE = 0x004_0000


def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "")


def write(path):
    with open(path, "a") as file:
        file.write("0")


def own(name):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


def set_id():
    with tempfile.NamedTemporaryFile(dir=os.environ.get("STATE_DIRECTORY", "/run")) as file:
        os.chmod(file.name, stat.S_ISUID | 0o700)


def mode_of_a_file():
    path = os.path.join(os.environ.get("STATE_DIRECTORY", "/run"), "probe")
    if os.path.exists(path):
        os.unlink(path)
    with open(path, "w"):
        return oct(os.stat(path).st_mode & 0o777)


def child():
    return subprocess.run(
        [sys.executable, "-c", "print('ran')"], capture_output=True, text=True, check=True
    ).stdout.strip()


def dht_child():
    """Start the program that holds a DHT sensor's pin; it answers in one line, here that something is not there."""
    python = "/opt/home-sensor-appliance/current/bin/python"
    with subprocess.Popen(
        [python, "-c", "import sensors.hw.dht_child as it; print(it.__file__)"], stdout=subprocess.PIPE, text=True
    ) as found:
        program = found.stdout.read().strip()
    words = [python, program, "DHT22", "4", "auto"]
    done = subprocess.run(words, stdin=subprocess.PIPE, capture_output=True, text=True, check=False, timeout=20)
    return json.loads(done.stdout.splitlines()[0])["error"]


PROBES = {
    "write-etc": lambda: write("/etc/probe"),
    "write-opt": lambda: write("/opt/probe"),
    "write-var": lambda: write("/var/lib/probe"),
    "write-state": lambda: write(os.environ["STATE_DIRECTORY"] + "/probe"),
    "write-runtime": lambda: write(os.environ["RUNTIME_DIRECTORY"] + "/probe"),
    "write-tmp": lambda: write("/tmp/probe"),
    "home": lambda: " ".join(os.listdir("/home")) or "empty",
    "root": lambda: " ".join(os.listdir("/root")) or "empty",
    "tmp": lambda: "shared" if os.path.exists("/tmp/outside") else "private",
    "device": lambda: os.close(os.open("/srv/device", os.O_RDWR)),
    "devices": lambda: "all" if os.path.exists("/dev/outside") else "few",
    "pins": lambda: os.close(os.open("/srv/gpiochip", os.O_RDWR)),
    "bus": lambda: os.close(os.open("/srv/i2c", os.O_RDWR)),
    "null": lambda: write("/dev/null"),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "netlink": lambda: " ".join(name for _, name in socket.if_nameindex()),
    "hostname": lambda: socket.sethostname("probe"),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "mounts": lambda: "shared" if os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt") else "private",
    "unshare": lambda: call("unshare", CLONE_NEWUSER),
    "write-execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
    "personality": lambda: call("personality", ADDR_NO_RANDOMIZE),
    "realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "set-id": set_id,
    "priority": lambda: os.nice(1) and None,
    "clock": lambda: call("adjtimex", ctypes.create_string_buffer(512)),
    "set-clock": lambda: call("settimeofday", ctypes.create_string_buffer(bytes(8)), None),
    "tunables": lambda: write("/proc/sys/net/ipv4/ip_forward"),
    "proc-sys": lambda: "there" if os.path.exists("/proc/sys") else "hidden",
    "processes": lambda: "all" if os.path.exists("/proc/1/status") else "own",
    "modules": lambda: " ".join(os.listdir("/usr/lib/modules")) or "empty",
    "cgroups": lambda: os.mkdir("/sys/fs/cgroup/probe") or os.rmdir("/sys/fs/cgroup/probe"),
    "users": lambda: "all" if open("/proc/self/uid_map").read().split()[2] == "4294967295" else "own",
    "capabilities": lambda: own("CapBnd"),
    "no-new-privileges": lambda: own("NoNewPrivs"),
    "umask": mode_of_a_file,
    "core": lambda: str(resource.getrlimit(resource.RLIMIT_CORE)[1]),
    "files": lambda: str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    "child": child,
    "dht-child": dht_child,
    "boot": lambda: os.environ.get("APPLIANCE_BOOT_ID", ""),
    "credential": lambda: open(os.environ["CREDENTIALS_DIRECTORY"] + "/sensors.password").read(),
    "password-file": lambda: open("/etc/appliance/sensors.password").read(),
    "group-file": lambda: open("/srv/of-gpio").read(),
    "loadavg": lambda: "there" if os.path.exists("/proc/loadavg") else "hidden",
}


def outcome(name):
    try:
        found = PROBES[name]()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return found if isinstance(found, str) else "allowed"


print(json.dumps({name: outcome(name) for name in sys.argv[1:]}))
