"""Everything an MQTT server decides. Pure: bytes and `now` come in, bytes for links and records go out."""
