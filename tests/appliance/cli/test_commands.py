"""What a file of commands adds is a command that says what it is for, and can be called."""

import argparse

import pytest

from appliance.cli import backup, export, history, mqtt, passwd, prove, service, status
from appliance.cli.commands import Commands


@pytest.mark.parametrize("group", [backup, export, history, mqtt, passwd, prove, service, status])
def test_every_command_can_be_called_and_says_what_it_is_for(group):
    commands = argparse.ArgumentParser().add_subparsers()
    assert isinstance(commands, Commands)
    group.add_commands(commands)
    assert commands.choices
    assert all(callable(parser.get_default("command")) for parser in commands.choices.values())
    assert len(commands._choices_actions) == len(commands.choices)
