"""The control socket in its place, or in the spare one where the disk takes no file."""

import asyncio
import errno
import os
from contextlib import AsyncExitStack

import pytest

from appliance import control_socket
from appliance.control_socket import open_control
from appliance.exits import CommandError, Exit
from appliance.net.listening import SocketFile
from appliance.places import spare_control_dir


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def failing(data, monkeypatch):
    """Let the folder of the data fail as a disk does: `failing(errno)`."""

    def fail(number):
        def opened(path):
            if path.parent == data:
                raise OSError(number, os.strerror(number))
            return SocketFile(path)

        monkeypatch.setattr(control_socket, "SocketFile", opened)

    return fail


def opened_at(data):
    """Open it, give where it is, and close it."""

    async def scenario():
        async with AsyncExitStack() as parts:
            control = open_control(data / "control.sock", parts)
            parts.callback(control.remove)
            parts.callback(control.socket.close)
            return next(path for path in data.parent.rglob("control.sock") if path.is_socket())

    return asyncio.run(scenario())


def test_it_lies_beside_the_data(data):
    assert opened_at(data) == data / "control.sock"


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_no_file_has_it_in_the_spare_place_which_is_gone_afterwards(data, failing, number):
    failing(number)
    spare = spare_control_dir(data, os.geteuid())
    for _ in range(2):
        assert opened_at(data) == spare / "control.sock"
        assert not spare.exists()
    spare.mkdir(mode=0o700)  # of a start that was killed
    assert opened_at(data) == spare / "control.sock"


def test_a_spare_place_that_others_may_enter_is_not_used(data, failing):
    failing(errno.EROFS)
    spare = spare_control_dir(data, os.geteuid())
    spare.mkdir()
    spare.chmod(0o755)
    with pytest.raises(CommandError, match="is not this user's own: remove it") as refused:
        opened_at(data)
    assert refused.value.exit_code is Exit.DATA


def test_another_failure_is_told(data, failing):
    failing(errno.EACCES)
    with pytest.raises(CommandError, match=r"control\.sock cannot be made \(Permission denied\)") as refused:
        opened_at(data)
    assert refused.value.exit_code is Exit.DATA
    assert [path.name for path in data.parent.iterdir()] == ["data"]
