"""The service's end of the control socket, which is there also while the disk of its data takes no file."""

import errno
import os
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from appliance.exits import CommandError, Exit
from appliance.net.listening import SocketFile, SocketFileError
from appliance.places import spare_control_dir


def open_control(path: Path, parts: AsyncExitStack) -> SocketFile:
    """Open the control socket, where the disk cannot take it in its spare place; CommandError."""
    try:
        return SocketFile(path)
    except OSError as error:
        trouble = str(error) if isinstance(error, SocketFileError) else f"{path} cannot be made ({error.strerror})"
        if error.errno not in {errno.EROFS, errno.ENOSPC}:
            raise CommandError(trouble, Exit.DATA) from None
    folder = spare_control_dir(path.parent, os.geteuid())
    try:
        with suppress(FileExistsError):  # of an earlier start that was killed
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
            raise CommandError(f"{trouble}; {folder} is not this user's own: remove it", Exit.DATA)
        control = SocketFile(folder / path.name)
    except OSError:
        raise CommandError(trouble, Exit.DATA) from None
    parts.callback(folder.rmdir)
    return control
