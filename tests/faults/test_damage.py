"""K74: damaged files under the whole service: it serves within ten seconds, nothing corrupt, and says what it lost.

Here they are seconds of the processor, whatever else the machine does; P6 takes the time.
"""

import re
from itertools import islice

import pytest
from processes import eventually
from raw import PINGREQ, PINGRESP, subscribe
from service import CONFIG, Service
from storage.corpus import cases
from storage.home import build, is_proved

from appliance.control import ControlClient
from appliance.places import control_path

STORED = CONFIG.replace("enabled = false", "enabled = true")
COUNT = 20
START_S = 10


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """A good home, another, and the good one some time before."""
    place = tmp_path_factory.mktemp("homes")
    for name, options in (("good", {}), ("other", {"seed": 1}), ("earlier", {"rounds": 2})):
        build(place / name, **options)
    return [place / name for name in ("good", "other", "earlier")]


def retained(service):
    """Give what is retained below home/, by topic."""
    reader = service.client()
    reader.send(subscribe("home/#"), PINGREQ)
    found = {}
    quiet = 0
    while quiet < 3:
        packet = reader.packet()
        if packet == PINGRESP:
            quiet += 1
            reader.send(PINGREQ)
        elif packet[0] >> 4 == 3:
            body = packet[re.match(rb".[\x80-\xff]*[\x00-\x7f]", packet, re.DOTALL).end() :]
            size = int.from_bytes(body[:2], "big")
            found[body[2 : 2 + size].decode()] = body[2 + size :]
    return found


@pytest.mark.parametrize("number", range(COUNT))
def test_the_service_on_damaged_files(homes, tmp_path, number):
    good = homes[0]
    (case,) = islice(cases(*homes, seed=number), 5 + 23 * number, 6 + 23 * number)
    if case.kind.startswith("foreign"):
        pytest.fail("the corpus has moved: choose another place in it")
    scratch = tmp_path / "own"
    scratch.mkdir()
    case.make(good, scratch / "data")
    service = Service(scratch, STORED)
    try:
        assert service.cpu_s() < START_S
        found = retained(service)
        untrue = [topic for topic, payload in found.items() if not is_proved(topic, payload)]
        assert not untrue, case.kind
        if len(found) < 40 and case.kind != "log cut off":
            said = service.log.read_text()
            assert "was damaged" in said or "may be missing" in said, case.kind
        damages = ControlClient(control_path(scratch / "data")).get("/api/status")["store"]["damages"]
        asides = list((scratch / "data").glob("*.corrupt-*Z"))
        damages = [damage for damage in damages if "was damaged" in damage]
        assert len(damages) == len(asides) <= 1
        assert all(str(aside) in damage for aside, damage in zip(asides, damages, strict=True))
        service.check_health()
    finally:
        service.close_links()
        service.stop()


def test_the_owner_is_told_until_the_old_file_is_deleted(homes, tmp_path):
    scratch = tmp_path / "own"
    scratch.mkdir()
    data = scratch / "data"
    for case in cases(*homes):
        if case.kind == "database of zeros":
            case.make(homes[0], data)
            break
    service = Service(scratch, STORED)
    try:
        status = lambda: ControlClient(control_path(data)).get("/api/status")["store"]["damages"]  # noqa: E731
        (damage,) = status()
        assert "the database was damaged" in damage
        for aside in data.glob("*.corrupt-*"):
            aside.unlink()
        eventually(lambda: status() == [])
    finally:
        service.close_links()
        service.stop()
