"""status in words."""

from appliance.cli import status, words

STATUS = {
    "version": "1.2.3",
    "site": "home",
    "pid": 7,
    "uptime_s": 3_700.5,
    "data_dir": "/d",
    "mqtt": "127.0.0.1:1883",
    "web": "127.0.0.1:8080",
    "listeners": ["mqtts://192.168.1.5:8883", "mqtt socket /run/mqtt.sock"],
    "mdns": {"announced": ["home on pi-3fa9 (_secure-mqtt._tcp on port 8883)"], "trouble": ""},
    "reload": {"count": 1, "problems": ["accounts.password_file: there is no user in it"]},
    "agents": {"house": "online", "attic\x1b": "offline"},
    "clients_now": 2,
    "sessions_now": 3,
    "retained_now": 9,
    "connections": 5,
    "messages_received": 10,
    "messages_sent": 20,
    "connections_turned_away": {"too many connections": 6},
    "connections_closed": {"keep alive timeout": 2, "session taken over": 3},
    "sessions_ended": {"expired": 8},
    "subscriptions_refused": {"too many levels": 1},
    "messages_dropped": {"queue full": 4},
    "bytes_received": 1,
    "bytes_sent": 1,
    "store": {
        "waits": False,
        "commits": 1,
        "size_bytes": 2_500_000,
        "max_bytes": 4_000_000_000,
        "free_bytes": 9_900_000,
        "written_day_bytes": 300_000_000,
        "device_written_day_bytes": 400_000_000,
        "day_hours": 7.25,
        "budget_day_bytes": 200_000_000,
        "budget_left_bytes": -1_200_000,
        "window_ms": 321.5,
        "waiting_bytes": 3_000_000,
        "dropped": 1,
        "left_out": 2,
        "trouble": "the disk is full",
        "damages": ["the database was damaged (it was overwritten)"],
        "cut": {"since": 1.0, "at": 35.0, "seconds": 34, "text": "not stopped in order: up to 34 s may be missing"},
        "refuses": True,
    },
    "history": {"rows": 6, "duplicates": 0, "beyond_max_series": 2, "not_allowed_to_publish": 3, "of_another_agent": 4},
    "gaps": {
        "day": 3,
        "lasting": 1,
        "clock_unset": True,
        "newest": {
            "since": 1_795_377_951.0,
            "until": None,
            "cause": "agent offline",
            "detail": "",
            "scope": "agent",
            "name": "house",
        },
    },
}

WELL = {
    **STATUS["store"],
    "waits": True,
    "free_bytes": None,
    "written_day_bytes": None,
    "device_written_day_bytes": None,
    "day_hours": 24,
    "budget_left_bytes": 5,
    "waiting_bytes": 400,
    "dropped": 0,
    "left_out": 0,
    "trouble": None,
    "damages": [],
    "cut": None,
    "refuses": False,
}


def test_what_is_in_the_way_of_an_announcement_is_said():
    def line(**mdns):
        lines = status.status_lines({**STATUS, "mdns": mdns})
        return next(line for line in lines if line.startswith("  mDNS"))

    assert line(announced=[], trouble="no interface takes multicast") == "  mDNS      no interface takes multicast"
    assert line(announced=[], trouble="") == "  mDNS      not announced yet"


def test_status_in_words():
    assert list(status.status_lines(STATUS)) == [
        "appliance 1.2.3, running for 1 h 1 min (process 7)",
        "  MQTT      127.0.0.1:1883",
        "  page      http://127.0.0.1:8080/",
        "  also at   mqtts://192.168.1.5:8883",
        "  also at   mqtt socket /run/mqtt.sock",
        "  mDNS      home on pi-3fa9 (_secure-mqtt._tcp on port 8883)",
        "  data      /d",
        "  reload    accounts.password_file: there is no user in it",
        "  agents    house online, attic\\x1b offline",
        "  clients   2 connected, 3 sessions",
        "  messages  10 in, 20 out",
        "  retained  9",
        "  dropped   4 messages (queue full)",
        "  refused   1 subscription (too many levels)",
        "  closed    2 connections (keep alive timeout)",
        "  closed    3 connections (session taken over)",
        "  refused   6 connections (too many connections)",
        "  ended     8 sessions (expired)",
        "  store     2.5 MB of 4000.0 MB, 1 commit since the start; acknowledgements do not wait for it",
        "            9.9 MB free on its disk",
        "            300.0 MB written in the last 7.2 h of 200.0 MB a day",
        "            400.0 MB by all programs to its disk",
        "            1.2 MB over the budget: messages wait 321.5 ms to be written together",
        "            3.0 MB wait to be written",
        "            1 message (QoS 0) found no room to wait",
        "            2 messages could not be written; the log says why",
        "            the disk is full",
        "            the database was damaged (it was overwritten)",
        "            not stopped in order: up to 34 s may be missing",
        "            nothing is acknowledged that would have to be kept",
        "  history   6 rows since the start",
        "            3 values of topics that their agent may not publish to",
        "            4 values said to be of an agent that their device is not, and are recorded without",
        "            not recorded: 2 values of topics beyond history.max_series",
        "            the clock is not set: until it is, nobody knows the times of readings",
        "            3 gaps in the last 24 h, 1 of them lasts",
        f"            the newest since {words.local_time(1_795_377_951.0)}: agent offline house",
    ]


def test_status_of_a_bare_service():
    bare = {
        **STATUS,
        "mqtt": None,
        "web": None,
        "listeners": [],
        "reload": {"count": 0, "problems": [], "waiting": "a.toml was changed"},
        "agents": {},
        **{key: {} for key in status.TROUBLES},
        "store": None,
        "history": None,
        "gaps": None,
    }
    lines = list(status.status_lines(bare))
    assert lines[1:3] == ["  MQTT      no port", "  page      no port"]
    assert "  agents    none yet" in lines
    assert "  restart   a.toml was changed" in lines
    assert lines[-2:] == ["  store     off: everything is gone when the service ends", "  history   off"]


def test_a_day_without_gaps_has_nothing_to_say():
    assert list(status.gap_lines({"day": 0, "lasting": 0, "newest": None, "clock_unset": False})) == []
    over = {**STATUS["gaps"], "day": 1, "lasting": 0, "clock_unset": False}
    assert next(iter(status.gap_lines(over))) == "            1 gap in the last 24 h"
    assert next(iter(status.gap_lines({**over, "lasting": 2}))).endswith(", 2 of them last")


def test_a_gap_of_one_topic_names_it():
    failing = {
        "since": 0.0,
        "cause": "sensor failing",
        "detail": "checksum",
        "scope": "series",
        "name": "home/bath/door",
    }
    *_, newest = status.gap_lines({**STATUS["gaps"], "newest": failing})
    assert (
        newest == f"            the newest of home/bath/door since {words.local_time(0.0)}: sensor failing (checksum)"
    )


def test_a_store_that_is_well_has_little_to_say():
    assert list(status.store_lines(WELL)) == ["  store     2.5 MB of 4000.0 MB, 1 commit since the start"]
    *_, damage = status.store_lines({**WELL, "damages": ["the database was damaged"]})
    assert "the database was damaged" in damage
    written = list(status.store_lines({**WELL, "written_day_bytes": 1_000_000}))
    assert written[1:] == ["            1.0 MB written in the last 24 h of 200.0 MB a day"]
    written = list(status.store_lines({**WELL, "written_day_bytes": 1_000_000, "day_hours": 0.01}))
    assert written[1:] == ["            1.0 MB written in the last 1 min of 200.0 MB a day"]
    *_, lack = status.store_lines({**WELL, "reserve": "the reserve does not fit"})
    assert "the reserve does not fit" in lack
