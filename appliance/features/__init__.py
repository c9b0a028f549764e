"""Clients inside the process, each in one file; none imports another."""
