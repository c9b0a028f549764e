import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.auth.hashes import cost
from appliance.auth.password_file import BadPasswordFile, changed, edit, name_problem, parse

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$WEoRIelDxOfk6kFSWl2lNnJuHMOjy9Pf97HdD8mNEGc"
OTHER = HASH.replace("WEoR", "XEoR")


def test_names_and_hashes():
    text = f"# people\nann:{HASH}\n\nhome/+/#:{OTHER}\r\n  \nåsa b:{HASH}"
    assert parse(text) == {"ann": HASH, "home/+/#": OTHER, "åsa b": HASH}
    assert parse("") == {}


BAD = [
    ("ann", 1, "not name:hash"),
    (f"ann:{HASH}\nbob\n", 2, "not name:hash"),
    (f":{HASH}", 1, "empty"),
    (f" ann:{HASH}", 1, "blank in front"),
    (f"a\x07n:{HASH}", 1, "control characters"),
    (f"ann:{HASH}\nann:{OTHER}", 2, "a second time"),
    ("ann:secret", 1, "not a hash such as"),
    ("ann:$6$salt$hash", 1, "not a hash such as"),
    (f"ann:{HASH} ", 1, "not a hash such as"),
    (f"ann:{HASH[:-40]}", 1, "not a hash such as"),  # cut short
    ("\0" * 100, 1, "not name:hash"),
]


@pytest.mark.parametrize(("text", "line", "problem"), BAD)
def test_what_is_no_password_file(text, line, problem):
    with pytest.raises(BadPasswordFile) as caught:
        parse(text)
    assert caught.value.line == line
    assert problem in caught.value.problem
    assert "appliance passwd" in caught.value.cure or "keep one" in caught.value.cure
    assert not {"secret", "hash$", HASH, OTHER} & set(map(str, caught.value.args))


@pytest.mark.parametrize("size", range(len(HASH)))
def test_a_file_cut_anywhere_is_refused_or_a_shorter_list(size):
    text = f"ann:{HASH}\nbob:{HASH}"[: len(HASH) + 5 + size]
    users = {}
    with suppress(BadPasswordFile):
        users = parse(text)
    assert set(users) <= {"ann", "bob"}
    assert "bob" not in users or cost(text.partition("bob:")[2])


COSTS = [
    ("m=8,t=1,p=1", True),
    ("m=262144,t=16,p=8", True),
    ("m=262145,t=1,p=1", False),  # more memory than a Pi can spare
    ("m=8,t=17,p=1", False),
    ("m=8,t=0,p=1", False),
    ("m=64,t=1,p=9", False),
    ("m=8,t=1,p=2", False),  # argon2 wants 8 KiB a lane
    ("m=99999999,t=1,p=1", False),
]


@pytest.mark.parametrize(("costs", "taken"), COSTS)
def test_checking_a_password_has_a_price_limit(costs, taken):
    assert (cost(HASH.replace("m=8,t=1,p=1", costs)) is not None) is taken


@pytest.mark.parametrize("encoded", [HASH.replace("argon2id", "argon2i"), HASH.replace("v=19", "v=16"), HASH + "=", ""])
def test_other_hashes_are_none(encoded):
    assert cost(encoded) is None


@pytest.mark.parametrize("name", ["ann", "a#", "home/+/#", "+", "%u", "a" * 256, "å b", "-x"])
def test_names(name):
    assert name_problem(name) == ""
    assert parse(changed("", name, HASH)) == {name: HASH}


@pytest.mark.parametrize("name", ["", "#", "#ann", "a:b", "a\nb", "a\0b", " a", "a ", "å" * 129, "a\u2028b", "a\ud800"])
def test_what_is_no_name(name):
    assert name_problem(name)


def test_a_change_leaves_all_else_as_it_is():
    text = f"# people\nann:{HASH}\n\nbob:{HASH}\n"
    assert changed(text, "ann", OTHER) == f"# people\nann:{OTHER}\n\nbob:{HASH}\n"
    assert changed(text, "an", OTHER) == f"{text}an:{OTHER}\n"
    assert changed(text, "ann", None) == f"# people\n\nbob:{HASH}\n"
    assert changed(text, "nobody", None) == text
    assert changed(text.removesuffix("\n"), "eve", HASH) == f"{text}eve:{HASH}\n"


def test_without_its_last_user_a_file_says_so():
    assert changed(f"ann:{HASH}\n", "ann", None) == "# nobody\n"
    assert changed(f"# people\nann:{HASH}\n", "ann", None) == "# people\n"
    assert changed("# nobody\n", "ann", HASH) == f"ann:{HASH}\n"


names = st.text("ab#+/%", min_size=1, max_size=4).filter(lambda name: not name.startswith("#"))


@given(st.lists(st.tuples(names, st.sampled_from([HASH, OTHER, None]))))
def test_changes_make_a_dictionary(changes):
    text, expected = "", {}
    for name, encoded in changes:
        text = changed(text, name, encoded)
        if encoded is None:
            expected.pop(name, None)
        else:
            expected[name] = encoded
    assert parse(text) == expected


def test_a_file_is_made_for_its_owner_alone(tmp_path):
    path = tmp_path / "passwords"
    previous = os.umask(0)
    try:
        edit(path, lambda text: text + "x\n")
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600
    edit(path, lambda text: text + "y\n")
    assert path.read_text() == "x\ny\n"
    assert [path.name for path in tmp_path.iterdir()] == ["passwords"]


def test_what_a_power_cut_left_of_a_change_is_in_nobodys_way(tmp_path):
    path = tmp_path / "passwords"
    left = path.with_name(f".passwords.{os.getpid()}.new")  # the boot after it gives the same numbers
    left.write_text("half")
    assert edit(path, lambda _: "whole\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("x\n")
    link = tmp_path / "link"
    link.symlink_to("real")
    edit(link, lambda text: text + "y\n")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "x\ny\n"


@pytest.mark.parametrize("fault", [(os, "fsync"), (os, "replace")])
def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, fault):
    path = tmp_path / "passwords"
    path.write_text("before\n")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*fault, fail)
    with pytest.raises(OSError, match="No space"):
        edit(path, lambda _: "after\n")
    assert path.read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["passwords"]


def test_a_change_that_is_refused_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "passwords"
    path.write_text("before\n")
    with pytest.raises(BadPasswordFile):
        edit(path, lambda text: str(parse(text)))
    assert path.read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["passwords"]


@pytest.mark.parametrize("there", [True, False])
def test_what_root_changes_stays_its_owners(tmp_path, monkeypatch, there):
    given = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: given.append((user, group)))
    path = tmp_path / "passwords"
    if there:
        path.write_text("")
    edit(path, lambda _: "x\n")
    owner = (path if there else tmp_path).stat()
    assert given == [(owner.st_uid, owner.st_gid)]


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o600, 0o600), (0o666, 0o640), (0o604, 0o600)])
def test_whom_its_owner_lets_read_it_in_a_group_still_may(tmp_path, before, after):
    path = tmp_path / "passwords"
    path.write_text("x\n")
    path.chmod(before)
    edit(path, lambda _: "y\n")
    assert path.stat().st_mode & 0o777 == after


def test_another_group_than_before_may_not_read_it(tmp_path, monkeypatch):
    path = tmp_path / "passwords"
    path.write_text("x\n")
    path.chmod(0o640)
    really = os.fstat

    def stat_of(descriptor):  # of another's file in a folder of ours
        found = really(descriptor)
        other = Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".new"
        return os.stat_result([*found[:5], found.st_gid + other, *found[6:10]])

    monkeypatch.setattr(os, "geteuid", lambda: 990)
    monkeypatch.setattr(os, "fstat", stat_of)
    edit(path, lambda _: "y\n")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def others(tmp_path):
    """A folder of somebody else's."""
    if os.geteuid():
        return Path("/")
    (tmp_path / "lib").mkdir()
    os.chown(tmp_path / "lib", 54_321, 54_321)
    return tmp_path / "lib"


@pytest.mark.parametrize("there", [True, False])
def test_what_root_makes_is_for_whom_it_is_made(tmp_path, monkeypatch, others, there):
    given = []
    monkeypatch.setattr(os, "fchown", lambda _file, user, _group: given.append(user))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if there:
        (tmp_path / "passwords").write_text("")
    edit(tmp_path / "passwords", lambda _: "x\n", like=others)
    assert given == [os.getuid() if there else others.stat().st_uid]
