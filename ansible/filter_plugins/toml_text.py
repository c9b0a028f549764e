"""The filter `to_toml`: variables of an inventory as a TOML text. It needs nothing but Python."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Any) -> str:
    """Write a table as TOML 1.0. Raises ValueError, which names the key, for what TOML cannot say."""
    if not isinstance(table, Mapping):
        raise ValueError(f"a TOML file is a table of keys, and this is {_named(table)}")  # noqa: TRY004 one kind for all
    return "".join(f"{line}\n" for line in _table(table, ())).lstrip("\n")


def _table(table: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Give the lines of a table whose header stands already: its own keys come before the tables below it."""
    below: list[tuple[tuple[str, ...], Any]] = []
    for key, value in table.items():
        place = (*path, _checked(key, path))
        if isinstance(value, Mapping) or _is_list_of_tables(value):
            below.append((place, value))
        else:
            yield f"{_key(key)} = {_value(value, place)}"
    for place, value in below:
        name = ".".join(map(_key, place))
        for item in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{name}]" if item is value else f"[[{name}]]"
            yield from _table(item, place)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _checked(key: Any, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        where = f" in {'.'.join(path)}" if path else ""
        raise ValueError(f"the key {key!r}{where} is {_named(key)}; put it in quotation marks")  # noqa: TRY004 YAML: on, 1
    return key


def _key(key: str) -> str:
    return str.__str__(key) if BARE_KEY.fullmatch(key) else _text(key, (key,))


def _value(value: Any, path: tuple[str, ...]) -> str:
    """Write one value in one line. What Ansible hands over are subclasses of Python's own types."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float():
            return float.__repr__(value)
        case str():
            return _text(value, path)
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case Mapping():
            pairs = (f"{_key(_checked(key, path))} = {_value(item, (*path, key))}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(_value(item, path) for item in value)}]"
    where = ".".join(path)
    if value is None:
        raise ValueError(f"{where} has no value; give it one, or remove the key")
    raise ValueError(f"{where} is {_named(value)}, and TOML has nothing like it")


def _text(text: str, path: tuple[str, ...]) -> str:
    """Write a basic string: JSON's, but that TOML wants DEL escaped and knows no halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{'.'.join(path)!a} holds half a character, which is no text") from None
    return json.dumps(str.__str__(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _named(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), f"a {type(value).__name__}")


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Any]:
        """Name the filters."""
        return {"to_toml": to_toml}
