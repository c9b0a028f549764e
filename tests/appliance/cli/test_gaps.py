"""Gaps in words, and among rows."""

import time

from appliance.cli import gaps


def gap(since, until, cause="agent offline", scope="agent", name="house", detail=""):
    return {"since": since, "until": until, "cause": cause, "detail": detail, "scope": scope, "name": name}


def test_gaps_in_words(monkeypatch):
    monkeypatch.setattr(time, "localtime", time.gmtime)
    assert gaps.gap_line(gap(0.0, 3_660.0)) == (
        "1970-01-01 00:00:00  -- nothing until 1970-01-01 01:01:00 (1 h 1 min): agent offline house"
    )
    assert gaps.gap_line(gap(0.0, None, "clock unset", "hub", "")) == (
        "1970-01-01 00:00:00  -- times are not sure until now: clock unset"
    )
    assert gaps.gap_line(gap(0.0, None, "broker down", "hub", "", "stopped\x1b")) == (
        "1970-01-01 00:00:00  -- nothing until now: broker down (stopped\\x1b)"
    )


def test_gaps_stand_between_the_rows():
    found = {"rows": [{"at": 1.0}, {"at": 5.0}], "gaps": [gap(2.0, 4.0), gap(6.0, None)]}
    assert [one.get("cause", one.get("at")) for one in gaps.in_order(found)] == [
        1.0,
        "agent offline",
        5.0,
        "agent offline",
    ]
    assert gaps.gap_object(gap(2.0, 4.0)) == {
        "gap": "agent offline",
        "since": 2.0,
        "until": 4.0,
        "detail": "",
        "scope": "agent",
        "name": "house",
    }
