"""The root file systems that machines boot: Debian as on a fresh card, and the same with the project installed."""

import os
import shutil
from pathlib import Path

from .cache import made, output

NOW = (  # what a fresh Raspberry Pi OS Lite has of what we need
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "iproute2", "sudo", "openssh-server"),
    *("python3", "python3-venv", "python3-apt", "ca-certificates", "procps"),
)
INSTALLED = ("python3-systemd",)  # what our roles add, for machines that have the project already
LATER = (  # in the cache of apt, to be installed without a network
    *("python3-systemd", "python3-packaging", "mosquitto-clients", "chrony", "unattended-upgrades", "cloud-init"),
    *("avahi-daemon", "i2c-tools", "python3-gpiozero", "python3-cryptography", "python3-smbus2", "python3-lgpio"),
)
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
UNREAD = ("doc", "man", "locale")
HOME = "/opt/home-sensor-appliance"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Debian calls them, and as the kernel does
HERE = next(name for name, kernel in ARCHITECTURES.items() if kernel == os.uname().machine)


def sources(suite):
    """Lines of a sources.list for that release, from wherever this computer's apt finds its own."""
    here = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    origin = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = output("apt-get", "indextargets", "--format", origin, "Created-By: Packages", "Origin: Debian")
    return "".join(sorted({f"{line.replace(f' {here}', f' {suite}')}\n" for line in lines.splitlines() if line}))


def blank(suite, architecture=HERE):
    """Give the folder of a blank machine's root file system."""

    def make(place):
        apt = "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG"
        words = "\\n".join(LATER)  # python3-lgpio is Raspberry Pi OS's own on Bookworm: what there is not is left out
        wanted = f"$({apt} apt-cache --generate pkgnames | grep -Fx \"$(printf '{words}')\")"
        fetch = f"{apt} apt-get -q -y --no-install-recommends --download-only install {wanted}"
        output(
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=directory"),
            f"--architectures={architecture}",
            f"--include={','.join(NOW)}",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD),
            "--aptopt=APT::Install-Recommends false",
            *("--skip=cleanup/apt/cache,cleanup/apt/lists", f"--customize-hook={fetch}"),
            *(suite, place / "root", "-"),
            input=sources(suite),
        )
        (place / "root" / "etc" / "machine-id").write_text("")

    recipe = " ".join((Path(__file__).read_text(), suite, architecture, *NOW, "later", *LATER))
    return made(f"root-{suite}", recipe, make) / "root"


def installed(suite, root, wheels):
    """Give the folder to lay over a blank root: python3-systemd and the project in a virtual environment, as a role
    would have them.
    """

    def make(place):
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
        script = f"""
            set -eu
            mount -t overlay -o lowerdir={root},upperdir={place}/upper,workdir={place}/work overlay {place}/root
            mount -t proc proc {place}/root/proc
            mount --bind /dev {place}/root/dev
            mkdir {place}/root/srv/wheels
            mount --bind {wheels} {place}/root/srv/wheels
            chroot {place}/root sh -euc '
                DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-download install {" ".join(INSTALLED)}
                python3 -m venv --system-site-packages {HOME}/releases/tested
                {HOME}/releases/tested/bin/pip install -q --no-index --find-links /srv/wheels home-sensor-appliance
                ln -s releases/tested {HOME}/current
                ln -s {HOME}/current/bin/appliance {HOME}/current/bin/sensors /usr/local/bin/
            '
            umount {place}/root/srv/wheels
            rmdir {place}/root/srv/wheels
            umount -R {place}/root
        """
        output("unshare", "--mount", "--propagation", "private", "bash", "-c", script)
        shutil.rmtree(place / "work", ignore_errors=True)
        (place / "root").rmdir()

    names = sorted(wheel.name for wheel in wheels.iterdir())
    recipe = " ".join((Path(__file__).read_text(), suite, str(root), wheels.name, *names))
    return made(f"installed-{suite}", recipe, make) / "upper"
