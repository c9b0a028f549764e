"""`python -m sensors`."""

import sys

from sensors.cli import main

sys.exit(main())
