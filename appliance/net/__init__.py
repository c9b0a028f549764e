"""Sockets: bytes to the core and from it."""
