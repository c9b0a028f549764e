"""A small virtual machine whose kernel simulates GPIO chips: how its parts are made, and how it runs.

Wants Debian 12 on x86-64, root, and the packages that `.ci/run` installs. Making it takes a few minutes once, and
what is made is kept below SENSORS_VM_CACHE, else ~/.cache/home-sensor-appliance/vm.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
LIBRARIES = ("gpiozero>=2.0.1", "lgpio>=0.2", "msgspec>=0.19", "paho-mqtt>=2.1")  # as pyproject.toml has them
TOOLS = ("qemu-system-x86_64", "mmdebstrap", "cpio", "make", "gcc", "xz", "apt-get")
LONGEST_S = 300.0
UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/zoneinfo", "var/lib/apt", "var/cache")


def missing():
    """What this computer lacks; empty when the machine can be made and run here."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if "VERSION_CODENAME=bookworm" not in Path("/etc/os-release").read_text():
        lacking.append("Debian 12")
    if os.uname().machine != "x86_64":
        lacking.append("x86-64")
    if os.geteuid() != 0:
        lacking.append("root")
    return ", ".join(lacking)


def cache():
    given = os.environ.get("SENSORS_VM_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "home-sensor-appliance" / "vm"


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        capture_output=True,
        text=options.pop("text", True),
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"
    return done.stdout


def newest(package, kind):
    """The package of a version that a package of none depends on."""
    for line in run("apt-cache", "depends", package).splitlines():
        what, _, name = line.strip().partition(": ")
        if what.endswith("Depends") and name.startswith(kind):
            return name
    raise AssertionError(f"apt knows no {package}; run apt-get update")


def made():
    """Make the parts of the machine, unless they are there; gives their directory."""
    image = newest("linux-image-amd64", "linux-image-6")
    recipe = " ".join((Path(__file__).read_text(), image, *LIBRARIES))
    place = cache() / f"guest-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not place.exists():
        cache().mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="sensors-vm-") as scratch:
            parts = Path(scratch) / "parts"
            parts.mkdir()
            make_kernel(image, Path(scratch), parts)
            make_simulator(image.removeprefix("linux-image-"), Path(scratch), parts)
            make_system(Path(scratch), parts)
            beside = place.with_suffix(f".{os.getpid()}")
            shutil.move(parts, beside)
            beside.replace(place)
        for old in cache().glob("guest-" + 16 * "[0-9a-f]"):
            if old != place:
                shutil.rmtree(old)
    return place


def make_kernel(image, scratch, parts):
    """Debian's kernel and its module configfs, from a package that is unpacked and not installed."""
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", image, cwd=scratch)
    (package,) = scratch.glob("linux-image-*.deb")
    run("dpkg-deb", "-x", package, scratch / "image")
    (kernel,) = scratch.glob("image/boot/vmlinuz-*")
    shutil.copy(kernel, parts / "vmlinuz")
    (module,) = (scratch / "image").rglob("configfs.ko*")
    shutil.copy(module, parts / module.name)
    if module.suffix == ".xz":
        run("xz", "-d", parts / module.name)


def make_simulator(kernel, scratch, parts):
    """gpio-sim and the irq_sim that it needs, which Debian's kernel lacks, from Debian's source of that kernel."""
    source = newest("linux-source", "linux-source-6")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "install")
    run(*install, f"linux-headers-{kernel}", source, env=environment)
    module = scratch / "module"
    module.mkdir()
    files = ("drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "kernel/irq/irq_sim.c")
    names = [f"{source}/{file}" for file in files]
    run("tar", "-xJf", f"/usr/src/{source}.tar.xz", "-C", scratch, *names)
    for name in names:
        shutil.copy(scratch / name, module)
    irq = module / "irq_sim.c"
    # irq_to_desc is not for modules; this call does the same through what is.
    text = irq.read_text().replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)")
    irq.write_text(text)
    (module / "Kbuild").write_text("obj-m := gpio-simulator.o\ngpio-simulator-y := gpio-sim.o irq_sim.o\n")
    run("make", "-s", "-C", f"/usr/src/linux-headers-{kernel}", f"M={module}", "modules")
    shutil.copy(module / "gpio-simulator.ko", parts)


def make_system(scratch, parts):
    """An initramfs with Python, busybox and our libraries; packages are unpacked, never configured."""
    root = scratch / "root"
    origin = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    sources = scratch / "sources.list"
    lines = run("apt-get", "indextargets", "--format", f"deb {origin}", "Created-By: Packages", "Origin: Debian")
    sources.write_text("".join(f"{line}\n" for line in sorted(set(lines.split("\n"))) if line))
    options = ("--quiet", "--mode=root", "--variant=extract", "--include=python3,busybox-static")
    hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    run("mmdebstrap", *options, hooks, "bookworm", root, sources)
    run(
        *(sys.executable, "-m", "pip", "install", "-qq", "--target", root / "opt" / "python"),
        *("--python-version", "3.11", "--only-binary=:all:"),
        *(f"--platform=manylinux_2_{glibc}_x86_64" for glibc in (34, 28, 17)),
        *LIBRARIES,
    )
    for name in UNREAD:
        shutil.rmtree(root / name, ignore_errors=True)
    pack(root, parts / "base.cpio", without="dev")


def pack(root, archive, *, without=""):
    """Write a folder as an initramfs."""
    inside = (path.relative_to(root) for path in root.rglob("*"))
    names = sorted(path for path in inside if path.parts[0] != without or len(path.parts) == 1)
    with archive.open("wb") as file:
        listing = "".join(f"{name}\0" for name in names).encode()
        done = subprocess.run(
            ["cpio", "-o", "-0", "-H", "newc", "--quiet"],
            cwd=root,
            input=listing,
            stdout=file,
            check=False,
        )
    assert done.returncode == 0


def boot(parts, scratch, checks):
    """Run the checks in the machine; gives what it said on its console."""
    layer = scratch / "layer"
    files = layer / "files"
    (files / "modules").mkdir(parents=True)
    for module in parts.glob("*.ko"):
        shutil.copy(module, files / "modules")
    for package in ("appliance", "sensors"):
        shutil.copytree(ROOT / package, files / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(checks, files / "checks.py")
    shutil.copy(Path(__file__).with_name("init"), layer / "init")
    (layer / "init").chmod(0o755)
    pack(layer, scratch / "layer.cpio")
    initrd = scratch / "initrd"
    with initrd.open("wb") as file:  # a second archive after the first adds to it
        for archive in (parts / "base.cpio", scratch / "layer.cpio"):
            file.write(archive.read_bytes())
    console = scratch / "console"
    machine = ("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1G", "-nodefaults", "-no-reboot")
    wires = ("-display", "none", "-serial", f"file:{console}")
    kernel = ("-kernel", parts / "vmlinuz", "-initrd", initrd)
    line = ("-append", "console=ttyS0 rdinit=/init panic=-1 quiet loglevel=1")
    with subprocess.Popen(
        [str(word) for word in (*machine, *wires, *kernel, *line)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as guest:
        try:
            ends = time.monotonic() + LONGEST_S
            while guest.poll() is None and time.monotonic() < ends:
                if console.exists() and "vm: exit " in console.read_text(errors="replace"):
                    break
                time.sleep(0.1)
        finally:
            guest.kill()
            said = guest.communicate()[1].decode(errors="replace")
    text = console.read_text(errors="replace").replace("\r", "") if console.exists() else ""
    assert "vm: exit " in text, f"the machine did not end: {text[-2000:]} {said[-500:]}"
    return text
