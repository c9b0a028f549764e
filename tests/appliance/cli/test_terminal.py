"""Lines for people."""

import pytest

from appliance.cli import terminal
from appliance.cli.terminal import Colour, coloured, complain, line_columns, printable, say


class Screen:
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "\x1b[32mon\x1b[0m"),
        ({"NO_COLOR": "1"}, "on"),
        ({"NO_COLOR": ""}, "\x1b[32mon\x1b[0m"),  # empty counts as unset, no-color.org
        ({"TERM": "dumb"}, "on"),
    ],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, environment, expected):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(terminal.sys, "stdout", Screen())
    assert coloured("on", Colour.GREEN) == expected


def test_files_get_no_colours(capsys):
    say(coloured("on", Colour.GREEN))
    assert capsys.readouterr().out == "on\n"


def test_a_complaint_is_one_line(capsys):
    complain("a\nb\r\nc")
    assert capsys.readouterr().err == "appliance: a b c\n"


@pytest.mark.parametrize(
    ("text", "shown"), [("21.4 °C", "21.4 °C"), ("\x1b[2J", "\\x1b[2J"), ("a\nb", "a\\x0ab"), ("\u202ex", "\\x202ex")]
)
def test_a_stranger_does_not_steer_the_terminal(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(("said", "columns"), [("132", 132), ("", 80), ("wide", 80), ("0", 80)])
def test_lines_are_as_long_as_the_terminal_is_wide(monkeypatch, said, columns):
    monkeypatch.setenv("COLUMNS", said)
    monkeypatch.setattr(terminal.sys, "__stdout__", None)
    assert line_columns() == columns
