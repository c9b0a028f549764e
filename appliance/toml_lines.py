"""On which line of a TOML text each key stands. `tomllib` gives the values and forgets the places."""

import re

KeyPath = tuple[str | int, ...]
"""Keys and positions in arrays from the top of the file: ("sensor", 0, "interval_s")."""

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(["\\bfnrt]))')
ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
STRINGS = {  # opening quotes -> the whole string; the longer quotes come first
    '"""': re.compile(r'"""(?:\\.|(?!""").)*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:(?!''').)*'{3,5}", re.DOTALL),
    '"': re.compile(r'"(?:\\.|[^"\\])*"'),
    "'": re.compile(r"'[^']*'"),
}
SCALAR = re.compile(r"[^,\]}#\r\n]*")  # numbers, booleans, dates
SPACE = re.compile(r"[ \t]*")
BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def line_of(text: str, key_path: KeyPath) -> int:
    """Line, from 1, of the key in a text that tomllib accepts; of its nearest table where the key itself is absent."""
    lines = key_lines(text)
    while key_path and key_path not in lines:
        key_path = key_path[:-1]
    return lines.get(key_path, 1)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Every key path of a text that tomllib accepts, with the line where it is first written."""
    return _Scan(text).document()


class _Scan:
    """One pass over the text, which is known to be well-formed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self.lengths: dict[KeyPath, int] = {}  # how many [[tables]] an array has so far
        self.counted = 0  # line ends before self.counted_to, so that counting stays linear
        self.counted_to = 0

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.take(BLANK)
        while self.position < len(self.text):
            if self.text[self.position] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.take(BLANK)
        return self.lines

    def header(self) -> KeyPath:
        brackets = 2 if self.text.startswith("[[", self.position) else 1
        self.position += brackets
        keys = self.dotted_key()
        self.position += brackets
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self.newest((*path, key))
        path = (*path, keys[-1])
        if brackets == 2:
            self.note(path)
            self.lengths[path] = self.lengths.get(path, 0) + 1
            path = (*path, self.lengths[path] - 1)
        self.note(path)
        return path

    def newest(self, path: KeyPath) -> KeyPath:
        """Enter a table; of an array of tables that is the last one."""
        self.note(path)
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def pair(self, table: KeyPath) -> None:
        path = table
        for key in self.dotted_key():
            path = (*path, key)
            self.note(path)
        self.position += 1  # the equals sign
        self.take(SPACE)
        self.value(path)

    def dotted_key(self) -> list[str]:
        keys = []
        while True:
            self.take(SPACE)
            if self.text[self.position] in "\"'":
                raw = self.string()
                keys.append(ESCAPE.sub(_unescape, raw[1:-1]) if raw[0] == '"' else raw[1:-1])
            else:
                keys.append(self.take(BARE_KEY))
            self.take(SPACE)
            if self.text[self.position] != ".":
                return keys
            self.position += 1

    def value(self, path: KeyPath) -> None:
        match self.text[self.position]:
            case '"' | "'":
                self.string()
            case "[":
                self.array(path)
            case "{":
                self.inline_table(path)
            case _:
                self.take(SCALAR)

    def array(self, path: KeyPath) -> None:
        self.position += 1
        index = 0
        while self.next_item("]"):
            self.note((*path, index))
            self.value((*path, index))
            index += 1

    def inline_table(self, path: KeyPath) -> None:
        self.position += 1
        while self.next_item("}"):
            self.pair(path)

    def next_item(self, closing: str) -> bool:
        """Step over blanks and a comma to the next item, or past the closing bracket."""
        self.take(BLANK)
        if self.text[self.position] == ",":
            self.position += 1
            self.take(BLANK)
        if self.text[self.position] == closing:
            self.position += 1
            return False
        return True

    def string(self) -> str:
        return next(self.take(form) for quotes, form in STRINGS.items() if self.text.startswith(quotes, self.position))

    def take(self, form: re.Pattern[str]) -> str:
        found = form.match(self.text, self.position)
        if found is None:
            raise ValueError(f"not TOML at character {self.position}")
        self.position = found.end()
        return found[0]

    def note(self, path: KeyPath) -> None:
        if path not in self.lines:
            self.counted += self.text.count("\n", self.counted_to, self.position)
            self.counted_to = self.position
            self.lines[path] = self.counted + 1


def _unescape(escape: re.Match[str]) -> str:
    short, long, letter = escape.groups()
    return ESCAPED[letter] if letter else chr(int(short or long, 16))
