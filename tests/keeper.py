"""A history that is written as the service does, by groups into `journal` and from there by moves, in a time of its own."""

import json
from pathlib import Path

from appliance.broker.message import Message
from appliance.clock import rfc3339
from appliance.mqtt.properties import Properties, encode_properties
from appliance.store.database import Database
from appliance.store.epochs import load_clock, save_epochs
from appliance.store.group import Group
from appliance.store.history import History
from appliance.store.history_reader import HistoryReader

STAGE = "INSERT INTO journal (kind, series_id, tick, value, seq, late_ms, stretch_id) VALUES (0, ?, ?, ?, ?, ?, ?)"
AT = 1_790_000_000.0
TOPIC = "home/kitchen/temperature"


def said(**properties):
    """User properties as a block."""
    pairs = tuple((name, str(value)) for name, value in properties.items())
    return encode_properties(Properties(user_property=pairs), without_length=True)
