"""A line on a terminal, and none elsewhere."""

import io

import pytest

from appliance.cli import progress as module
from appliance.cli.progress import Progress


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "said"), [(Screen(), "\rhalf\x1b[K\rall\x1b[K\r\x1b[K"), (io.StringIO(), "")])
def test_a_line(monkeypatch, stream, said):
    monkeypatch.setattr(module, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(module.sys, "stderr", stream)
    progress = Progress()
    progress.tell("half")
    progress.tell("all")
    progress.end()
    assert stream.getvalue() == said


def test_a_short_command_says_nothing(monkeypatch):
    monkeypatch.setattr(module.sys, "stderr", Screen())
    progress = Progress()
    progress.tell("half")
    progress.end()
    assert module.sys.stderr.getvalue() == ""
