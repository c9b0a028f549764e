"""What a small virtual machine boots from whose kernel simulates GPIO chips, and how that is made.

Wants Debian 12 on x86-64, root, and Debian's packages for TOOLS; the package lists of apt must be there and young.
What is made is kept below SENSORS_VM_CACHE, else ~/.cache/home-sensor-appliance/vm, until it was not used for a week.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = ("gpiozero>=2.0.1", "hypothesis>=6.100", "lgpio>=0.2", "msgspec>=0.19", "paho-mqtt>=2.1", "pytest>=9")
TOOLS = ("qemu-system-x86_64", "mmdebstrap", "cpio", "make", "gcc", "xz", "apt-get")
UNUSED_S = 7 * 86_400
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
    os.utime(place)
    for old in cache().glob("guest-*"):  # another checkout's may be in use
        if time.time() - old.stat().st_mtime > UNUSED_S:
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
    # Compiled here, for there it would take long: the machine is emulated.
    run("chroot", root, "python3", "-m", "compileall", "-q", "/usr/lib/python3.11", "/opt/python")
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
