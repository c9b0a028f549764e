import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sensors import cli, output

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


@pytest.fixture
def written(monkeypatch):
    """An output of a given encoding; gives what was written to it."""

    def make(encoding):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        output.prepare()
        return raw

    return make


@pytest.mark.parametrize(("encoding", "text"), [("utf-8", "21 °C\n"), ("latin1", "21 °C\n"), ("ascii", "21 ?C\n")])
def test_what_the_output_cannot_spell_becomes_a_question_mark(written, encoding, text):
    raw = written(encoding)
    output.say("21 °C")
    assert raw.getvalue().decode(encoding) == text


@pytest.mark.parametrize("encoding", ["utf-8", "latin1", "ascii"])
def test_json_is_whole_whatever_the_output_can_spell(written, encoding):
    raw = written(encoding)
    output.say_json({"unit": "°C", "title": "Küche 4.7 kΩ"})
    assert json.loads(raw.getvalue().decode(encoding)) == {"unit": "°C", "title": "Küche 4.7 kΩ"}


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("list", "--kinds"), ("list", "--kinds", "--json"), ("check", "--json")])
def test_an_output_without_room_is_one_line(tmp_path, arguments):
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sensors", *arguments, "--config", tmp_path / "none.toml"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == cli.NO_OUTPUT
    assert done.stderr == (
        "the output cannot be written (No space left on device); free some space, or send it elsewhere\n"
    )


def test_outputs_that_are_closed_are_no_matter():
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m sensors list --kinds >&- 2>&-'], cwd=ROOT, check=False
    )
    assert done.returncode == cli.OK


def test_a_reader_who_has_seen_enough_is_no_failure():
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "sensors", "list", "--kinds"],
            cwd=ROOT,
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (cli.OK, "")


@pytest.mark.parametrize(("columns", "shown"), [(10, "0 of 1 co"), (0, "0 of 1 connected"), (80, "0 of 1 connected")])
def test_a_line_that_is_written_over_fits_the_terminal(monkeypatch, columns, shown):
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((columns, 24)))
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    assert output.cut_to_terminal("0 of 1 connected") == shown


def test_where_there_is_no_terminal_lines_are_whole(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # without a descriptor
    assert output.cut_to_terminal("0 of 1 connected") == "0 of 1 connected"


@pytest.mark.parametrize(("term", "is_terminal"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_cannot_write_over_a_line(monkeypatch, term, is_terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    assert output.is_terminal() is is_terminal
