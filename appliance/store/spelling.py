"""How a publisher writes its values, so that a reading can be shown in the bytes that it came in.

A spelling is one bit. Most payloads fit several, and a publisher keeps to one: `21.5` fits both who writes `21` and who
writes `21.0` for the whole number. So what is noted of a topic seldom changes.
"""

from typing import Final

from appliance.store.reading_rows import Stored, shown

PLAIN: Final = 1 << 1  # a number without needless digits, a text as it is
FLOAT: Final = 1 << 2  # with a point, as Python and JavaScript libraries write a float
FIXED: Final = 3  # the first of the bits for 1 to MAX_DIGITS digits behind the point
MAX_DIGITS: Final = 9
WORDS: Final = FIXED + MAX_DIGITS  # the first of the bits for the pairs of words
OTHER: Final = 1 << 40  # anything else: the value is the same, its bytes are not known
EXACT_DIGITS: Final = 15  # of a number that comes back as it was

PAIRS: Final = tuple(
    (case(off), case(on))
    for off, on in (("off", "on"), ("false", "true"), ("offline", "online"))
    for case in (str.upper, str.lower, str.title)
)
WORD_BITS: Final = {word.encode(): 1 << WORDS + place for place, pair in enumerate(PAIRS) for word in pair}
ON_OFF: Final = WORD_BITS[b"ON"]


def spellings(payload: bytes, value: Stored, *, is_word: bool) -> int:
    """Give all spellings, as bits, in which a value gives this payload; `is_word` of one for on and off."""
    if is_word:
        return WORD_BITS.get(payload, OTHER)
    if isinstance(value, str):
        return PLAIN if payload == value.encode() else OTHER
    number = shown(value) or 0.0
    text = payload.decode()
    digits = len(text) - text.find(".") - 1 if "." in text else 0
    found = PLAIN if f"{number:.{EXACT_DIGITS}g}" == text else 0
    if 0 < digits <= MAX_DIGITS and f"{number:.{digits}f}" == text:
        found |= 1 << FIXED + digits - 1
    if (digits or "e" in text) and repr(number) == text:
        found |= FLOAT
    return found or OTHER


def spelled(spelling: int, value: Stored) -> str | None:
    """Give a value as it was written; None where that is not known."""
    if isinstance(value, str):
        return value
    number = shown(value) or 0.0
    place = spelling.bit_length() - 1
    if spelling == PLAIN:
        return f"{number:.{EXACT_DIGITS}g}"
    if spelling == FLOAT:
        return repr(number)
    if FIXED <= place < WORDS:
        return f"{number:.{place - FIXED + 1}f}"
    if WORDS <= place < WORDS + len(PAIRS):
        return PAIRS[place - WORDS][bool(number)]
    return None


def first(found: int) -> int:
    """Give the plainest of some spellings."""
    return found & -found
