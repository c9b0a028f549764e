"""What is made once and kept: below APPLIANCE_MACHINES_CACHE, else ~/.cache/home-sensor-appliance/machines, until it
was not used for long.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

DAY_S = 86_400
UNUSED_S = {
    "root": 7 * DAY_S,
    "wheels": 7 * DAY_S,
}  # what else is there follows from the source


def cache():
    given = os.environ.get("APPLIANCE_MACHINES_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "home-sensor-appliance" / "machines"


def made(kind, recipe, make):
    """Give the folder of this kind and recipe; `make` fills an empty one where there is none yet."""
    place = cache() / f"{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not place.exists():
        cache().mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{place.name}.", dir=cache()))
        try:
            make(beside)
            beside.chmod(0o755)
            if not place.exists():  # another run may have been quicker
                beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    os.utime(place)
    return place


def tidy():
    """Remove what nobody used for long, and what a run that was killed left half made."""
    for old in cache().iterdir():
        kind = old.name.removeprefix(".").partition("-")[0]
        if time.time() - old.stat().st_mtime > UNUSED_S.get(kind, DAY_S):
            shutil.rmtree(old)


def output(*command, **options):
    """Run a command; what it says on standard output. What it says besides is told where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
    return done.stdout
