"""What every file of commands adds its own to."""

import argparse

Commands = argparse._SubParsersAction  # noqa: SLF001 argparse has no public name for it
