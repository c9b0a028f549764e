"""MQTT 3.1.1 and 5: bytes to packets and back, names and filters. Pure: no I/O, no clock."""
