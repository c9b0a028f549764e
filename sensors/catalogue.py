"""The kinds of sensors as people are told of them: what each is, its keys and what they take, and which kind is meant.

All of it is read from the drivers' own classes, so that a new kind is known here by its row in the registry.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import msgspec
from msgspec import inspect

from appliance.config import bounds, peeled
from appliance.settings import described
from sensors.driver import DriverKind
from sensors.registry import KINDS, driver_class

PLAYED = "simulated"  # it plays what others measure: the last that is meant
MOST_MEANT = 9  # kinds to choose from


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table, in words."""

    name: str
    help: str
    required: bool
    default: object  # None: without the key, the thing is not done, or done as the help says
    takes: str  # a whole number from 0 to 27
    choices: tuple[object, ...] = ()  # where it takes nothing else

    @property
    def usual(self) -> str:
        """Say what is without it."""
        if self.required:
            return "required"
        return "optional" if self.default in (None, "", (), []) else f"default {_written(self.default)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of sensor, in words."""

    name: str
    summary: str
    keys: tuple[Key, ...]
    measures: tuple[str, ...]  # as far as the kind alone decides it


def kind_of(name: str) -> Kind:
    """Describe a kind. Raises UnknownKind."""
    driver = driver_class(name)
    return Kind(name=name, summary=summary(driver), keys=keys_of(driver.Options), measures=_measures(driver))


def keys_of(struct: type[msgspec.Struct]) -> tuple[Key, ...]:
    """Describe the keys of a table, in the order of its struct; tables within it are left out."""
    types = {field.encode_name: field.type for field in inspect.type_info(struct).fields}  # type: ignore[attr-defined]
    return tuple(
        Key(
            name=setting.name,
            help=setting.help,
            required=setting.default is msgspec.NODEFAULT,
            default=None if setting.default is msgspec.NODEFAULT else setting.default,
            takes=takes(types[setting.name]),
            choices=choices(types[setting.name]),
        )
        for setting in described(struct)
        if not setting.section
    )


def summary(driver: DriverKind) -> str:
    """Give the first sentence that a driver's class says of itself."""
    return (driver.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def choices(kind: inspect.Type | None) -> tuple[object, ...]:
    """Give the values of which a key takes one; nothing where it takes more than those."""
    while kind is not None and not isinstance(kind, inspect.LiteralType):
        kind = peeled(kind)
    return tuple(kind.values) if isinstance(kind, inspect.LiteralType) else ()


def takes(kind: inspect.Type) -> str:
    """Say what a key takes, in a few words."""
    match kind:
        case inspect.Metadata(extra={"takes": words}):
            return str(words)
        case inspect.Metadata(type=inner):
            return takes(inner)
        case inspect.UnionType(types=types):
            return " or ".join(takes(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return " or ".join(filter(None, (", ".join(map(_choice, values[:-1])), _choice(values[-1]))))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{bounds(kind)}"
        case inspect.FloatType():
            return f"a number{bounds(kind)}"
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return f"a list of {takes(item)}"
    return "text"


def meant(word: str) -> str:
    """Say what to write where there is no kind of this name: `relay` is the `output` of a `gpio_output`."""
    if _plain(word) in KINDS:
        return f'write kind = "{_plain(word)}"'
    kinds = [kind_of(name) for name in KINDS if name != PLAYED]
    values = {
        _plain(value): f'kind = "{kind.name}" and {key.name} = "{value}"'
        for kind in reversed(kinds)  # the first of them counts
        for key in kind.keys
        for value in key.choices
        if key.required and isinstance(value, str)
    }
    for part in (word, *re.split(r"[\s_-]+", word)):  # water-meter
        if found := values.get(_plain(part)):
            return f"write {found}"
    if near := get_close_matches(_plain(word), KINDS, n=1, cutoff=0.75):
        return f'did you mean kind = "{near[0]}"?'
    for texts in (_about, _helps):
        named = [kind.name for kind in kinds if _is_named(word, texts(kind))]
        if 0 < len(named) <= MOST_MEANT:
            written = " or ".join(f'"{name}"' for name in named)
            return f"perhaps you mean kind = {written}; `sensors list --kinds` tells more"
    if near := get_close_matches(_plain(word), values, n=1, cutoff=0.8):
        return f"did you mean {values[near[0]]}?"
    for key in kind_of(PLAYED).keys:
        if _plain(word) in key.choices:
            return f'write kind = "{PLAYED}" and {key.name} = "{_plain(word)}"'
    return f"use one of {', '.join(KINDS)}; `sensors list --kinds` tells more"


def kinds_with(key: str) -> list[str]:
    """Name the kinds that have a key."""
    return [name for name in KINDS if key in {one.name for one in kind_of(name).keys}]


def _measures(driver: DriverKind) -> tuple[str, ...]:
    told = getattr(driver, "measures", ())
    return tuple(told or (channel.measurement for channel in getattr(driver, "channels", ())))


def _choice(value: object) -> str:
    return f"{value:#04x}" if isinstance(value, int) else _written(value)  # addresses are the numbers to choose from


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]", "", word).lower() if word not in KINDS else word


def _about(kind: Kind) -> Iterator[str]:
    yield kind.summary
    yield from kind.measures


def _helps(kind: Kind) -> Iterator[str]:
    return (key.help for key in kind.keys)


def _is_named(word: str, texts: Iterator[str]) -> bool:
    pattern = re.compile(rf"(?<![a-z0-9]){re.escape(word)}s?(?![a-z0-9])", re.IGNORECASE)
    return any(pattern.search(text) for text in texts)
