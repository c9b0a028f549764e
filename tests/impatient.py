"""`sensors`, but hardly waiting between two attempts to connect: for tests that break many connections."""

import sys

from sensors import link
from sensors.backoff import Backoff
from sensors.cli import main

if __name__ == "__main__":
    link.Backoff = lambda random: Backoff(random, 0.05, 0.3)
    sys.exit(main())
