"""Sensor agents: read hardware, publish readings over MQTT."""
