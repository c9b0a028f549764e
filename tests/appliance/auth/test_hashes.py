import shutil
import subprocess

import pytest

from appliance.auth.hashes import MOST_PASSES, Cost, cost, is_argon2id, is_right_of_mosquitto, of_nobody
from appliance.auth.password_file import parse
from appliance.auth.passwords import is_right

ARGON = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
SALT, DIGEST = (
    "QNd2oT5s9lkVXFP7",
    "zZWcVuuYwhw2SxxOrCPvO2fxZbt8uBNXaW4z3nCH+S2h+TevJZUDanN9RdixjZgBDOOj94UxXZs4oQoM3Cwh4A==",
)
LONG_SALT = DIGEST  # of 64 bytes, as Mosquitto 2.1 makes them

COSTS = [
    (ARGON, Cost(8, 1, 1)),
    (ARGON.replace("m=8,t=1,p=1", "m=262144,t=16,p=8"), Cost(262_144, 16, 8)),
    (ARGON.replace("m=8", "m=7"), None),
    (ARGON.replace("m=8", "m=262145"), None),
    (ARGON.replace("t=1", "t=0"), None),
    (ARGON.replace("t=1", "t=17"), None),
    (ARGON.replace("p=1", "p=2"), None),  # too little memory for two lanes
    (ARGON.replace("argon2id", "argon2i"), None),
    (ARGON + "=", None),
    (ARGON[:-1] + "!", None),
    (ARGON[:-1] + "d", None),  # what argon2 cannot read: a letter of bits that are none
    (ARGON.replace("c2FsdA", "c2FsdB"), None),
    (ARGON.replace("m=8", "m=08"), None),
    (f"$6${SALT}${DIGEST}", Cost(0, 1, 1, "6")),
    (f"$6${LONG_SALT}${DIGEST}", Cost(0, 1, 1, "6")),
    (f"$7$101${SALT}${DIGEST}", Cost(0, 101, 1, "7")),
    (f"$7$1${LONG_SALT}${DIGEST}", Cost(0, 1, 1, "7")),
    (f"$7${MOST_PASSES}${SALT}${DIGEST}", Cost(0, MOST_PASSES, 1, "7")),
    (f"$7${MOST_PASSES + 1}${SALT}${DIGEST}", None),
    (f"$7$0${SALT}${DIGEST}", None),
    (f"$7$-1${SALT}${DIGEST}", None),
    (f"$7${SALT}${DIGEST}", None),
    (f"$6$101${SALT}${DIGEST}", None),
    (f"$6${SALT}${DIGEST[:-4]}", None),
    (f"$6${SALT}${DIGEST}$", None),
    (f"$6${DIGEST}", None),
    (f"$5${SALT}${DIGEST}", None),
    (f"$6${SALT[:-1]}${DIGEST}", Cost(0, 1, 1, "6")),  # of 11 bytes
    (f"$6${SALT[:13]}${DIGEST}", None),  # no base64
    ("", None),
    ("secret", None),
]


@pytest.mark.parametrize(("encoded", "expected"), COSTS)
def test_what_a_hash_costs(encoded, expected):
    assert cost(encoded) == expected
    assert is_argon2id(encoded) is (expected is not None and expected.scheme == "argon2id")


@pytest.mark.parametrize("like", [Cost(8, 1, 1), Cost(16, 2, 2), Cost(0, 1, 1, "6"), Cost(0, 101, 1, "7")])
def test_a_hash_of_nobody_costs_as_much_and_has_no_password(like):
    encoded = of_nobody(like)
    assert cost(encoded) == like
    assert encoded != of_nobody(like)
    assert not is_right(encoded, b"")
    assert parse(f"nobody:{encoded}") == {"nobody": encoded}


@pytest.mark.parametrize("encoded", [f"$6${SALT}${DIGEST}"])
def test_the_hash_that_a_mosquitto_of_debian_made(encoded):
    assert is_right_of_mosquitto(encoded, b"right")
    assert not is_right_of_mosquitto(encoded, b"wrong")
    assert not is_right_of_mosquitto(encoded, b"")


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="no mosquitto_passwd here; apt install mosquitto")
@pytest.mark.parametrize("scheme", ["sha512", "sha512-pbkdf2"])
def test_a_file_that_mosquitto_passwd_writes_is_read(tmp_path, scheme):
    path = tmp_path / "passwords"
    people = {"ann": "right", "home/#": "two words", "åsa": "pässwörd", "long": "x" * 300}
    for name, password in people.items():
        make = ["-c"] if not path.exists() else []
        command = ["mosquitto_passwd", "-H", scheme, *make, "-b", str(path), name, password]
        subprocess.run(command, check=True, capture_output=True)
    users = parse(path.read_text())
    assert list(users) == list(people)
    for name, password in people.items():
        assert is_right(users[name], password.encode())
        assert not is_right(users[name], b"wrong")
