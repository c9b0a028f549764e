"""The store's own way back: what it loads from a data directory."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from appliance.broker.image import Image
from appliance.store.missing import Missing
from appliance.store.opening import open_ledger

logging.getLogger("appliance").addHandler(logging.NullHandler())  # a torn log is told of, and is what we are here for


def load(database: Path, on_missing: Callable[[Missing], None] = lambda _: None) -> Image:
    """Give what a service would start from, and say what it tells of its end; StoreError."""
    now = time.monotonic()
    ledger = open_ledger(database, site="home", max_series=2_000, on_missing=on_missing)
    try:
        image = ledger.load(now)
        for session in image.sessions.values():
            session.settle()
        return image
    finally:
        ledger.close()
