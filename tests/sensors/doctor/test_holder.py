import subprocess
import sys
from pathlib import Path

from sensors.doctor.holder import holder_of
from sensors.outbox import Outbox

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from sensors.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_nobody_holds_a_file_that_is_not_there(tmp_path):
    assert holder_of(tmp_path / "home-house.outbox") is None


def test_the_process_that_has_an_outbox_open_is_found_and_not_disturbed(tmp_path):
    path = tmp_path / "home-house.outbox"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"held\n"
        assert holder_of(path) == child.pid
        assert holder_of(path) == child.pid
        child.stdin.close()
        child.wait()
    assert holder_of(path) is None
    Outbox(path).close(0.0)  # it is as it was
