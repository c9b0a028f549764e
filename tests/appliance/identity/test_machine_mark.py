"""Which machine made the secrets."""

import pytest

from appliance.identity.machine_mark import UNKNOWN, is_copy, read, this_machine, write

ID = "0123456789abcdef0123456789abcdef\n"
MOUNTS = "22 1 8:1 / / rw - ext4 /dev/root rw\n"


@pytest.fixture
def machine(tmp_path):
    """Give the digest of a machine whose /etc/machine-id holds a text."""

    def digest(text, mounts=MOUNTS):
        path, mounted = tmp_path / "machine-id", tmp_path / "mountinfo"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        mounted.write_text(mounts.replace("ID", str(path)))
        return this_machine(path, mounted)

    return digest


def test_the_id_itself_is_not_told(machine):
    digest = machine(ID)
    assert len(digest) == 64
    assert ID.strip() not in digest
    assert machine(ID) == digest != machine(ID.replace("0", "1"))


@pytest.mark.parametrize("text", [None, "", "uninitialized\n", "01234\n", ID.upper(), "é" * 16])
def test_a_machine_without_an_id_is_unknown(machine, text):
    assert machine(text) == UNKNOWN


def test_an_id_that_holds_until_the_next_boot_is_none(machine):
    assert machine(ID, MOUNTS + "40 22 0:23 /machine-id ID ro - tmpfs tmpfs rw\n") == UNKNOWN


COPIES = [
    (None, "a", False),  # nothing was made yet
    ("a", "a", False),
    ("a", "b", True),
    ("a", UNKNOWN, False),  # the id cannot be read for once
    (UNKNOWN, UNKNOWN, False),
    (UNKNOWN, "a", True),  # made in an image, before its first boot
]


@pytest.mark.parametrize(("made_on", "machine", "copied"), COPIES)
def test_secrets_are_copied_when_another_machine_made_them(made_on, machine, copied):
    assert is_copy(made_on, machine) is copied


def test_the_mark_is_kept(tmp_path):
    assert read(tmp_path / "mark") is None
    write(tmp_path / "mark", "abc")
    assert read(tmp_path / "mark") == "abc"
