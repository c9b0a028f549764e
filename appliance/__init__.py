"""The home-sensor appliance: MQTT broker, history and page in one service."""

__version__ = "0.1.0"
