"""What can be wrong with a database, in the few words that its owner is told; what SQLite says of it is for the log."""

from typing import Final

UNREADABLE: Final = "parts of it are unreadable"
CHANGED: Final = "some of its records are not what was written"
OVERWRITTEN: Final = "it was overwritten"
CUT: Final = "it was cut off"
EMPTY: Final = "it was empty"
MISSING: Final = "it was gone"
GONE: Final = "it was gone, only its log was left"
LOG_BROKEN: Final = "its log was broken"
LOG_FOREIGN: Final = "its log was of another database"
HARMS: Final = frozenset({UNREADABLE, CHANGED, OVERWRITTEN, CUT, EMPTY, GONE, MISSING, LOG_BROKEN, LOG_FOREIGN})


def in_words(why: str) -> str:
    """Give what is for people: whatever is not of these words only says that something cannot be read."""
    return why if why in HARMS else UNREADABLE
