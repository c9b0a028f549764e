"""The store's own way back: what it loads from a data directory."""

import time
from pathlib import Path

from appliance.broker.image import Image
from appliance.store.sqlite_ledger import open_ledger


def load(database: Path) -> Image:
    """Give what a service would start from; StoreError."""
    now = time.monotonic()
    ledger = open_ledger(database, age_ms=lambda at: round(at * 1000))
    try:
        return ledger.load(now)
    finally:
        ledger.close()
