from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from authority import Authority

from appliance.doctor.certificates import Certificate, certificate_findings, read

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0  # 2027-01-15
GOOD = Certificate(
    path="server.pem",
    names=("localhost", "pi.local"),
    addresses=("127.0.0.1", "192.168.1.5", "fd00::5"),
    begins_s=NOW_S - DAY_S,
    ends_s=NOW_S + 300 * DAY_S,
)


def judged(seen=GOOD, *, host="pi.local", addresses=("192.168.1.5",), is_synced=True):
    setup = "sudo appliance setup"
    found = certificate_findings(seen, now_s=NOW_S, is_synced=is_synced, host=host, addresses=addresses, setup=setup)
    return [str(finding) for finding in found]


def test_a_good_one_is_a_note():
    assert judged(addresses=["192.168.1.5", "fd00::5"]) == [
        "note: server.pem: good until 2027-11-11, for localhost, pi.local, 127.0.0.1, 192.168.1.5, fd00::5"
    ]


@pytest.mark.parametrize(
    ("begins_days", "ends_days", "words"),
    [
        (1, 300, "it is good from 2027-01-16 on, and the clock shows 2027-01-15; set the clock"),
        (-300, -1, "it ended on 2027-01-14: no client connects; renew it"),
        (-300, 20, "it ends in 20 days, on 2027-02-04; renew it"),
    ],
)
def test_one_that_is_not_good_now_is_wrong(begins_days, ends_days, words):
    seen = replace(GOOD, begins_s=NOW_S + begins_days * DAY_S, ends_s=NOW_S + ends_days * DAY_S)
    assert judged(seen)[0].startswith(f"wrong: server.pem: {words}")
    if begins_days < 0:
        assert "; `sudo appliance setup` makes a new one" in judged(replace(seen, is_ours=True))[0]


def test_an_end_that_an_unset_clock_tells_is_doubted():
    assert "if the clock is right" in judged(replace(GOOD, ends_s=NOW_S - DAY_S), is_synced=False)[0]


def test_names_that_clients_use_are_missed():
    (_, wrong) = judged(host="hub.local")
    assert wrong.startswith("wrong: server.pem: it does not name hub.local, which mDNS tells agents")
    assert judged(host="") == judged()
    assert judged(replace(GOOD, names=("*.local",))) == [judged(replace(GOOD, names=("*.local",)))[0]]
    assert len(judged(replace(GOOD, names=("*.local",)), host="a.b.local")) == 2
    (_, note) = judged(addresses=["10.0.0.1", "192.168.1.5"])
    assert note == "note: server.pem: who connects to 10.0.0.1 by address finds it does not name that; use the name"


def test_a_real_one_is_read(tmp_path):
    authority = Authority(tmp_path)
    path, _ = authority.issue("hub", "Pi.local", "192.168.1.5", not_after=datetime.now(UTC) + timedelta(days=9))
    seen = read(path)
    assert (seen.names, seen.addresses, seen.is_ours) == (("pi.local",), ("192.168.1.5",), False)
    assert seen.ends_s - datetime.now(UTC).timestamp() == pytest.approx(9 * DAY_S, abs=3_600)
    (tmp_path / "ca.key").touch()
    assert read(path).is_ours
    with pytest.raises(ValueError, match="PEM"):
        read(tmp_path / "ca.key")


def test_one_without_names_is_read(tmp_path):
    from cryptography.x509 import Name

    path, _ = Authority(tmp_path).request("bare", Name([]))
    assert (read(path).names, read(path).addresses) == ((), ())
