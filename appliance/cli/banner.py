"""A code in letters so large that they can be read from across a room."""

from typing import Final

ROWS: Final = 5

_FONT: Final = """\
3 ####  ...#  .###  ...#  ####
4 #..#  #..#  ####  ...#  ...#
6 .##.  #...  ###.  #..#  .##.
7 ####  ...#  ..#.  .#..  .#..
9 .##.  #..#  .###  ...#  .##.
A .##.  #..#  ####  #..#  #..#
C .###  #...  #...  #...  .###
D ###.  #..#  #..#  #..#  ###.
E ####  #...  ###.  #...  ####
F ####  #...  ###.  #...  #...
G .###  #...  #.##  #..#  .###
H #..#  #..#  ####  #..#  #..#
J ..##  ...#  ...#  #..#  .##.
K #..#  #.#.  ##..  #.#.  #..#
M #...#  ##.##  #.#.#  #...#  #...#
N #..#  ##.#  #.##  #..#  #..#
P ###.  #..#  ###.  #...  #...
Q .##.  #..#  #..#  #.##  .###
R ###.  #..#  ###.  #.#.  #..#
T #####  ..#..  ..#..  ..#..  ..#..
V #...#  #...#  .#.#.  .#.#.  ..#..
W #...#  #...#  #.#.#  ##.##  #...#
X #...#  .#.#.  ..#..  .#.#.  #...#
Y #...#  .#.#.  ..#..  ..#..  ..#..
- ...  ...  ###  ...  ..."""

GLYPHS: Final = {line[0]: line[2:].split("  ") for line in _FONT.splitlines()}


def banner(text: str, ink: str = "█") -> list[str]:
    """Give the lines; every letter must be one of a code, or the dash between."""
    rows = ["  ".join(GLYPHS[letter][row] for letter in text) for row in range(ROWS)]
    return [row.replace(".", " ").replace("#", ink).rstrip() for row in rows]
