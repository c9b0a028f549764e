"""A TOML file becomes settings; an error is one line that names the file, the line, the key and the cure."""

import math
import re
import tomllib
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from appliance.encoding import to_json
from appliance.toml_lines import KeyPath, line_of

T = TypeVar("T")

MAX_FILE_BYTES = 1_048_576
MISSING = "there is no such file"
SECRET = re.compile("passw|secret|token|credential", re.IGNORECASE)
SYNTAX_CURES = {  # what tomllib says -> what people do about it
    "Invalid value": 'write text in "quotation marks", and on and off as true and false',
    "Invalid statement": "write a setting as key = value and a table as [name]",
    "Expected '=' after a key": "write a setting as key = value and a table as [name]",
    "Expected newline or end of document": "write one setting a line, and text in one pair of quotation marks",
    "Cannot overwrite a value": "the key stands here a second time: keep one of the two",
    "Cannot declare": "the table stands here a second time: put all its keys under the first",
    "Unterminated string": "close the text with a quotation mark",
    "Illegal character": "close the text with a quotation mark on the same line",
    "Unescaped '\\' in a string": "write \\\\ for each backslash, or put the text in 'single quotation marks'",
    "Expected ']'": "close the table's name with ]",
    "Unclosed array": "close the list with ]",
    "Unclosed inline table": "close the table with }",
    "Duplicate inline table key": "the key stands here a second time: keep one of the two",
}


class ConfigError(Exception):
    """A configuration that cannot be used; its text is the one line for people.

    `owner` is the name that the table of a list gives itself; `more` are further mistakes that were found.
    """

    more: "tuple[ConfigError, ...]" = ()

    def __init__(
        self, *, path: Path | None, line: int | None, key: str, problem: str, cure: str, owner: str = ""
    ) -> None:
        super().__init__(path, line, key, problem, cure)
        self.path = path
        self.line = line
        self.key = key
        self.problem = problem
        self.cure = cure
        self.owner = owner

    @property
    def where(self) -> str:
        """Name the key, and whose it is."""
        return f"{self.key} of {self.owner}" if self.owner else self.key

    def __str__(self) -> str:
        place = "" if self.path is None else str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return ": ".join(part for part in (place, self.where, f"{self.problem}; {self.cure}") if part).replace(
            "\n", " "
        )


class SettingError(ConfigError):
    """A setting that cannot be used, told by who does not know in which file it stands."""

    def __init__(self, key_path: KeyPath, problem: str, cure: str) -> None:
        super().__init__(path=None, line=None, key=spelled(key_path), problem=problem, cure=cure)
        self.key_path = key_path


def load(path: Path, kind: type[T]) -> T:
    """Read a whole file as one Struct; ConfigError."""
    return Document.read(path).convert(kind)


def schema(kind: type[msgspec.Struct], title: str) -> str:
    """Give the JSON Schema of a file, for editors that complete and check TOML."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **msgspec.json.schema(kind)}
    return msgspec.json.format(to_json(document), indent=2).decode() + "\n"


def read_text(path: Path) -> str:
    """Read a whole file; ConfigError where there is none, it may not be read or it is not UTF-8."""
    problem, cure = "", ""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            problem, cure = "larger than 1 MiB", "name the configuration, not data"
        text = raw.decode("utf-8-sig")  # editors on Windows put the mark in front
    except FileNotFoundError:
        problem, cure = MISSING, "check the path"
    except IsADirectoryError:
        problem, cure = "this is a directory", "name the file in it"
    except PermissionError:
        problem, cure = "may not be read by this user", "run as its owner, or let this user read it with chmod"
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(path=path, line=line, key="", problem="not UTF-8", cure="save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problem, cure = f"cannot be read ({reason})", "name a text file"
    if problem:
        raise ConfigError(path=path, line=None, key="", problem=problem, cure=cure)
    return text


class Document:
    """The text of one TOML file and its values; converts them table by table."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_error(str(error)) from None
        except RecursionError:
            raise ConfigError(
                path=path, line=None, key="", problem="nested too deep to be read", cure="remove brackets"
            ) from None
        self._refuse_endless(self.data, ())

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Read the file; ConfigError where there is none, it may not be read or it is not TOML in UTF-8."""
        return cls(path, read_text(path))

    def at(self, key_path: KeyPath) -> Any:
        """Give the value there; KeyError or IndexError where there is none."""
        value: Any = self.data
        for key in key_path:
            value = value[key]
        return value

    def convert(
        self,
        kind: type[T],
        key_path: KeyPath = (),
        *,
        beside: type[msgspec.Struct] | None = None,
        apart: Collection[str] = (),
    ) -> T:
        """Turn the value at the key path into the type; ConfigError.

        `beside` is another Struct whose keys stand in the same table: they are left to it, as are the keys `apart`.
        """
        value = self.at(key_path)
        if isinstance(value, dict):
            others = {*apart, *(field_names(beside) - field_names(kind) if beside is not None else ())}
            value = {key: item for key, item in value.items() if key not in others}
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), kind, key_path, beside) from None

    def error(self, key_path: KeyPath, problem: str, cure: str) -> ConfigError:
        """Give the error that names this key, for a rule that no type can express."""
        try:
            line = line_of(self.text, key_path)
        except RecursionError:
            line = 1
        key, owner = spelled(key_path), self._owner(key_path)
        return ConfigError(path=self.path, line=line, key=key, problem=problem, cure=cure, owner=owner)

    def _owner(self, key_path: KeyPath) -> str:
        """Give the name of the table of a list in which a key stands, where that helps to find it."""
        number = next((depth for depth, key in enumerate(key_path) if isinstance(key, int)), None)
        if number is None or key_path[number + 1 :] == ("name",):
            return ""
        table = self.at(key_path[: number + 1])
        name = table.get("name") if isinstance(table, dict) else None
        return shown(name, ()) if isinstance(name, str) else ""

    @contextmanager
    def naming(self) -> Generator[None]:
        """Let errors of settings say in which line of this file they stand."""
        try:
            yield
        except SettingError as error:
            raise self.error(error.key_path, error.problem, error.cure) from None

    def _explained(
        self, message: str, kind: type, key_path: KeyPath, beside: type[msgspec.Struct] | None
    ) -> ConfigError:
        what, _, where = message.partition(" - at `")
        inner = inner_path(where.removesuffix("`"))
        path = key_path + inner
        expected = type_at(inspect.type_info(kind), inner)
        if found := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
            names = struct_names(expected) | (field_names(beside) if beside and not inner else set())
            return self.error((*path, found[1]), "unknown key", suggestion(found[1], names))
        if found := re.fullmatch(r"Object missing required field `(.*)`", what):
            help_text = phrase(type_at(expected, (found[1],)))
            return self.error((*path, found[1]), "is missing", f"add it: {help_text}" if help_text else "add it")
        try:
            value = self.at(path)
            problem = f"{shown(value, path)} will not do"
        except (KeyError, IndexError, TypeError):  # inside a table of free keys msgspec does not say which
            value, problem = None, what
        return self.error(path, problem, list_cure(expected, value, path) or phrase(expected) or what)

    def _syntax_error(self, message: str) -> ConfigError:
        what, line = message, None
        if found := re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL):
            what = found[1]
            line = int(found[2]) if found[2] else max(1, len(self.text.splitlines()))
        cure = next((cure for said, cure in SYNTAX_CURES.items() if said in what), "correct the line")
        return ConfigError(path=self.path, line=line, key="", problem=f"not TOML: {what}", cure=cure)

    def _refuse_endless(self, value: Any, path: KeyPath) -> None:
        """TOML knows inf and nan; no setting does, and nan would pass every comparison."""
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(path, f"{value} will not do", "give a finite number")
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            self._refuse_endless(item, (*path, key))


def spelled(key_path: KeyPath) -> str:
    """Name a key as people write it: sensor[2].interval_s, counted from 1."""
    text = ""
    for key in key_path:
        text += f"[{key + 1}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def inner_path(where: str) -> KeyPath:
    """Read msgspec's path, `$.sensor[0].pin`; what it writes as [...] ends it, as the key is not told."""
    path: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", where):
        if index == "...":
            break
        path.append(name or int(index))
    return tuple(path)


def type_at(expected: inspect.Type | None, path: KeyPath) -> inspect.Type | None:
    """Follow a key path through the types; None where it leads out of what they say."""
    for key in path:
        expected = bare(expected)
        match expected:
            case inspect.StructType(fields=fields):
                expected = next((field.type for field in fields if field.encode_name == key), None)
            case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
                expected = item
            case inspect.TupleType(item_types=items) if isinstance(key, int) and key < len(items):
                expected = items[key]
            case _:
                return None
    return expected


def peeled(expected: inspect.Type | None) -> inspect.Type | None:
    """Take one layer off a type, a description or `| None` (TOML has no null); None where there is none."""
    match expected:
        case inspect.Metadata(type=inner):
            return inner
        case inspect.UnionType(types=types):
            kinds = [kind for kind in types if not isinstance(kind, inspect.NoneType)]
            return kinds[0] if len(kinds) == 1 else None
    return None


def bare(expected: inspect.Type | None) -> inspect.Type | None:
    """Take all layers off a type."""
    while (inner := peeled(expected)) is not None:
        expected = inner
    return expected


def phrase(expected: inspect.Type | None) -> str:
    """Say what a key takes: "give a whole number from 0 to 65535"; empty where the types do not tell."""
    if isinstance(expected, inspect.Metadata) and expected.extra and "cure" in expected.extra:
        return str(expected.extra["cure"])
    if (inner := peeled(expected)) is not None:
        return phrase(inner)
    say = PHRASES.get(type(expected))
    return say(expected) if say else ""


def text_phrase(text: inspect.StrType) -> str:
    """Say which text."""
    limit = f" of at most {text.max_length} characters" if text.max_length is not None else ""
    return f'give {"some " if text.min_length else ""}text in "quotation marks"{limit}'


def choice_phrase(choice: inspect.LiteralType) -> str:
    """Say which words."""
    return "use one of " + ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in choice.values)


def list_cure(expected: inspect.Type | None, value: object, path: KeyPath) -> str:
    """Say how the one thing that stands where a list belongs becomes a list; empty where that is not the mistake."""
    match bare(expected):
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            if isinstance(value, dict) and isinstance(bare(item), inspect.StructType | inspect.DictType):
                return f"head it [[{spelled(path)}]]"
            if isinstance(value, str) and isinstance(bare(item), inspect.StrType):
                return f"write a list: [{shown(value, path)}]"
    return ""


LIST_PHRASE = "give a list in [brackets]; tables of a list are headed [[name]]"
TABLE_PHRASE = "make it a table, headed [name]"
PHRASES: dict[type, Callable[[Any], str]] = {
    inspect.BoolType: lambda _: "write true or false",
    inspect.IntType: lambda number: f"give a whole number{bounds(number)}",
    inspect.FloatType: lambda number: f"give a number{bounds(number)}",
    inspect.StrType: text_phrase,
    inspect.LiteralType: choice_phrase,
    inspect.ListType: lambda _: LIST_PHRASE,
    inspect.VarTupleType: lambda _: LIST_PHRASE,
    inspect.TupleType: lambda _: LIST_PHRASE,
    inspect.StructType: lambda _: TABLE_PHRASE,
    inspect.DictType: lambda _: TABLE_PHRASE,
    inspect.UnionType: lambda union: " or ".join(filter(None, map(phrase, union.types))),
}


def bounds(number: inspect.IntType | inspect.FloatType) -> str:
    """Give the range of a number in words, with a blank in front."""
    words = [
        f"{word} {limit}"
        for word, limit in (("above", number.gt), ("from", number.ge), ("below", number.lt), ("to", number.le))
        if limit is not None
    ]
    return "".join(f" {part}" for part in words)


def suggestion(unknown: str, names: set[str]) -> str:
    """Guess which key was meant."""
    from difflib import get_close_matches  # noqa: PLC0415 for a mistake only

    if close := get_close_matches(unknown.lower().replace("-", "_"), sorted(names), n=1):
        return f'did you mean "{close[0]}"?'
    return "known here: " + ", ".join(sorted(names)) if names else "remove it"


def struct_names(expected: inspect.Type | None) -> set[str]:
    """Keys that a table of this type has."""
    expected = bare(expected)
    return {field.encode_name for field in expected.fields} if isinstance(expected, inspect.StructType) else set()


def field_names(kind: type) -> set[str]:
    """Keys of a Struct."""
    return struct_names(inspect.type_info(kind))


def shown(value: object, path: KeyPath) -> str:
    """Show a value as TOML, shortened; nothing of a value that may be a secret."""
    if any(isinstance(key, str) and SECRET.search(key) for key in path):
        return "this value"
    match value:
        case bool():
            return str(value).lower()
        case str():
            text = '"' + value.replace("\n", "\\n") + '"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
