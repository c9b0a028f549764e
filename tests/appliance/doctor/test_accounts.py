from appliance.auth.passwords import hashed
from appliance.doctor.accounts import People, people_findings

WEAK = "$argon2id$v=19$m=4096,t=1,p=1$" + "A" * 22 + "$" + "A" * 43
MOSQUITTO = "$7$101$" + "A" * 16 + "$" + "A" * 86 + "=="


def judged(**people):
    known = {"written": {}, "managed": {}, "agents": {}, **people}
    return [str(finding) for finding in people_findings(People(**known))]


def test_our_own_hashes_are_strong():
    assert judged(managed={"ann": hashed(b"secret")}) == []


def test_weak_hashes_are_told_with_their_users():
    (found,) = judged(written={"bob": WEAK, "ann": MOSQUITTO}, managed={"good": hashed(b"x")})
    assert "guesses fast those of ann, bob; give them new ones with `appliance passwd`" in found
    (found,) = judged(written={f"u{number}": WEAK for number in range(9)})
    assert "u0, u1, u2, u3, u4 and 4 more" in found


def test_who_may_do_everything_is_told():
    (found,) = judged(written={"ann": hashed(b"x")}, has_rules=False)
    assert found.startswith("note: accounts: without accounts.rules_file ann may publish and read everything; ")


def test_devices_that_never_came_are_told_while_a_service_runs():
    agents = {"attic": "attic", "esp": "house"}
    assert judged(agents=agents) == []
    (found,) = judged(agents=agents, seen=frozenset({"attic"}))
    assert found == (
        "note: accounts: esp has an account, and its agent house was never here; "
        "`appliance devices remove esp`, if it will not come"
    )
