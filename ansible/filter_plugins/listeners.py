"""Filters for the tables of `[[listener]]` of a hub: which ports they open, who reaches what, and under which names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

USUAL_PORTS = {("mqtt", False): 1883, ("mqtt", True): 8883, ("web", False): 8080, ("web", True): 8443}
LOOPBACK = re.compile(r"127\.|::1$|localhost$")
EVERY = ("::", "0.0.0.0")  # noqa: S104 compared with, not opened
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")  # as appliance/settings.py has it
NUMBERS = re.compile(r"[0-9.]+")


def listening(listeners: Iterable[Any]) -> list[dict[str, Any]]:
    """Give the listeners that open a port, each with what it has where nothing is set; the check names mistakes."""
    found = []
    for one in listeners:
        if isinstance(one, Mapping) and not one.get("path"):
            serve, certificate = one.get("serve", "mqtt"), one.get("certificate", "")
            table = {
                "serve": serve,
                "address": one.get("address", "127.0.0.1"),
                "port": one.get("port") or USUAL_PORTS.get((serve, bool(certificate))),
                "certificate": certificate,
                "asks_clients": bool(one.get("require_client_certificate")),
            }
            found.append({**table, "is_own": bool(LOOPBACK.match(str(table["address"])))})
    return found


def agents_listener(listeners: Iterable[Any]) -> dict[str, Any]:
    """Give the first one by which agents come in: MQTT with a certificate, and one that wants none of theirs first."""
    fit = [one for one in listening(listeners) if one["serve"] == "mqtt" and one["certificate"] and not one["is_own"]]
    return next(iter(sorted(fit, key=lambda one: one["asks_clients"])), {})


def probed_listener(listeners: Iterable[Any], mqtt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give how the hub's computer tries its broker, with the `host`: as agents do, else without TLS, as it may itself.

    `mqtt` is the table of that name, whose port is the computer's own.
    """
    listeners = list(listeners)
    port = (mqtt or {}).get("port", USUAL_PORTS["mqtt", False])
    others = [one for one in listening(listeners) if one["serve"] == "mqtt" and not one["asks_clients"]]
    found = agents_listener(listeners)
    if not found or found["asks_clients"]:
        found = others[0] if others and not port else {"address": "127.0.0.1", "port": port, "certificate": ""}
    is_here = found["address"] in EVERY or LOOPBACK.match(str(found["address"]))
    return {**found, "host": "localhost" if is_here else found["address"]}


def named(listeners: Iterable[Any], names: Iterable[str], address: str) -> list[Any]:
    """Give listeners of which those that serve the page have the names too, and `address` where that is one.

    The page alone has names; the certificate that the hub makes is for the names of all listeners.
    """
    name = str(address).lower()
    more = [names] if isinstance(names, str) else list(names)
    if HOST_NAME.fullmatch(name) and not NUMBERS.fullmatch(name):
        more.append(name)
    return [_called(one, more) if isinstance(one, Mapping) and one.get("serve") == "web" else one for one in listeners]


def _called(listener: Mapping[str, Any], more: list[str]) -> dict[str, Any]:
    table = dict(listener.items())
    given = table.pop("names", [])
    if not isinstance(given, list):  # the check says so
        return {**table, "names": given}
    names = list(dict.fromkeys([*given, *more]))
    return {**table, "names": names} if names else table


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Any]:
        """Name the filters."""
        filters = (listening, agents_listener, probed_listener, named)
        return {one.__name__: one for one in filters}
