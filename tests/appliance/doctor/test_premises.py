from pathlib import Path

import pytest

from appliance.clock import RELEASED_MS
from appliance.doctor.premises import SPARE_BYTES, Premises, premises_findings

GOOD = {
    "data_dir": Path("/var/lib/appliance"),
    "owner": "appliance",
    "user": "root",
    "free_bytes": 10_000_000_000,
    "now_s": RELEASED_MS / 1000,
}


def judged(**facts):
    return [str(finding) for finding in premises_findings(Premises(**GOOD | facts))]


def test_good_premises_need_no_words():
    assert judged() == judged(user="appliance") == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"owner": ""}, "note: data: there is no /var/lib/appliance yet: the first start makes it"),
        (
            {"user": "pi"},
            "wrong: data: /var/lib/appliance belongs to appliance, and pi may not see all of it; ",
        ),
        ({"is_read_only": True, "free_bytes": 0}, "wrong: disk: the file system of /var/lib/appliance is read-only; "),
        ({"free_bytes": SPARE_BYTES + 7, "reserve_bytes": 8}, "wrong: disk: 64 MB are free under /var/lib/appliance"),
        ({"now_s": 0.0}, "wrong: clock: it shows a time before this program was written; "),
        ({"is_synced": False}, "note: clock: nothing keeps it right: readings are dated by it; "),
    ],
)
def test_each_trouble_is_one_line(facts, words):
    (found,) = judged(**facts)
    assert found.startswith(words)
