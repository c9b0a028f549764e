"""The mutation driver: what it makes of a function, how a mutant gets in, and that it tells a test that bites from one
that does not.
"""

import ast
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.mutation.__main__ import EQUIVALENT, arguments, chosen, equivalents, report, verdicts
from tests.mutation.mutants import key_of, mutants_of
from tests.mutation.trial import KILLED, REFUSED, SURVIVED, TIMEOUT, verdict_on

ROOT = Path(__file__).parents[2]

SOURCE = '''"""A module."""

LIMIT = 3


def is_small(number):
    """Tell whether it is."""
    return (
        number
        < LIMIT
    )


class Counter:
    """Counts."""

    def __init__(self, start=0):
        self.count = start

    def add(self, amount):
        """Count on."""
        if amount > 0:
            self.count += amount
        return self
'''


def changes(text):
    return [
        (mutant.qualname, mutant.first_line, mutant.last_line, *mutant.change) for mutant in mutants_of("m.py", text)
    ]


def test_a_mutant_knows_its_statement_and_its_line():
    assert changes(SOURCE) == [
        ("is_small", 8, 11, 9, "number\n< LIMIT", "number <= LIMIT"),
        ("Counter.__init__", 17, 18, 17, "def __init__(self, start=0):", "def __init__(self, start=1):"),
        ("Counter.__init__", 18, 18, 18, "self.count = start", "self.count = None"),
        ("Counter.add", 22, 22, 22, "if amount > 0:", "if amount >= 0:"),
        ("Counter.add", 22, 22, 22, "if amount > 0:", "if amount > 1:"),
        ("Counter.add", 23, 23, 23, "self.count += amount", "self.count = amount"),
        ("Counter.add", 23, 23, 23, "self.count += amount", "self.count -= amount"),
    ]


def test_what_stands_outside_functions_is_left_out_and_counted():
    outside = Counter()
    text = f"{SOURCE}\n\nclass Table:\n    size = 2\n"
    assert len(list(mutants_of("m.py", text, outside))) == len(changes(SOURCE))
    assert outside == {"m.py": 4}  # LIMIT and size, as None and as one more


def test_a_key_outlives_what_changes_elsewhere():
    keys = [mutant.key for mutant in mutants_of("m.py", SOURCE)]
    assert len(set(keys)) == len(keys)
    assert [mutant.key for mutant in mutants_of("m.py", f'"""One line more."""\n{SOURCE}')] == keys


@pytest.fixture
def living(tmp_path, monkeypatch):
    """Give SOURCE as a module that can be imported."""
    (tmp_path / "living.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("living")
    del sys.modules["living"]


INSTALLED = [
    (0, lambda living: living.is_small(3), False, True),
    (1, lambda living: living.Counter().count, 0, 1),
    (2, lambda living: living.Counter(5).count, 5, None),
    (6, lambda living: living.Counter(5).add(2).count, 7, 3),
]


@pytest.mark.parametrize(("number", "ask", "before", "after"), INSTALLED)
def test_a_mutant_lives_in_the_function_that_everyone_has(living, number, ask, before, after):
    add, counter = living.Counter.add, living.Counter(1)
    assert ask(living) == before
    list(mutants_of("living.py", SOURCE))[number].install()
    assert ask(living) == after
    assert add(counter, 2).count == (-1 if number == 6 else 3)  # taken before the mutant came


def test_a_mutant_lives_in_what_its_function_has_made_before(tmp_path, monkeypatch):
    text = "def adder(start):\n    def add(number):\n        return start + number\n    return add\n\n"
    text += "plus_two = adder(2)\n"
    (tmp_path / "factory.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    factory = importlib.import_module("factory")
    try:
        assert factory.plus_two(1) == 3
        next(mutant for mutant in mutants_of("factory.py", text) if "start - number" in mutant.source).install()
        assert factory.plus_two(1) == 1
        assert factory.adder(5)(1) == 4
    finally:
        del sys.modules["factory"]


WEAK_TESTS = """
from appliance.mqtt.living import Counter, is_small

def test_counter():
    while Counter(2).add(1).count < 3:
        pass
    assert Counter().count == 0
"""

DRIVE = """
from pathlib import Path
from tests.mutation.mutants import key_of, mutants_of
from tests.mutation.trial import KILLED, REFUSED, SURVIVED, TIMEOUT, verdict_on
from tests.mutation.trial import run

path = "appliance/mqtt/living.py"
run(["test_living.py"], list(mutants_of(path, Path(path).read_text())), Path("results"), 2, print)
"""


def drive(tmp_path, tests, source=SOURCE):
    """Run the whole over a small package and its tests."""
    package = tmp_path / "appliance" / "mqtt"
    package.mkdir(parents=True)
    for init in (package / "__init__.py", package.parent / "__init__.py"):
        init.touch()
    (package / "living.py").write_text(source)
    (tmp_path / "test_living.py").write_text(tests)
    (tmp_path / "pyproject.toml").write_text('[tool.mutmut]\nsource_paths = ["appliance"]\n')
    return subprocess.run(
        [sys.executable, "-c", DRIVE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_the_tests_let_through_is_told(tmp_path):
    """A function that no test calls, changes that a test sees or does not, one that never ends."""
    done = drive(tmp_path, WEAK_TESTS)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    found = {row["describe"].split(" [")[0]: row["verdict"] for row in rows if "describe" in row}
    assert found == {
        "appliance/mqtt/living.py:9 is_small": "not reached",
        "appliance/mqtt/living.py:22 Counter.add": "survived",
    }
    assert {row["test"] for row in rows if row["verdict"] == "killed"} == {"test_living.py::test_counter"}
    assert "timeout" in {row["verdict"] for row in rows}  # it counts down


UNFIT_TESTS = """
import os
from appliance.mqtt.living import Counter, is_small

def test_the_first_time_only():
    Counter().add(1)
    path = "was-here"
    assert not os.path.exists(path)
    open(path, "w").close()
"""


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (UNFIT_TESTS, "test_the_first_time_only (killed in a fork)"),
        ("def test_nothing():\n    assert False\n", "test_living.py::test_nothing"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("", "no test was collected"),
    ],
)
def test_tests_that_fail_without_a_mutant_give_no_verdict(tmp_path, tests, said):
    """Or else everything would count as found."""
    done = drive(tmp_path, tests)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "results").exists() or not (tmp_path / "results").read_text()


def test_a_mutant_that_cannot_be_put_in_is_refused_and_not_counted_as_killed(tmp_path):
    source = "def twice(number):\n    return 2 * number\n\n\ntwice = twice.__call__\n"
    done = drive(
        tmp_path, "from appliance.mqtt.living import twice\n\ndef test_twice():\n    assert twice(2) == 4\n", source
    )
    assert done.returncode == 1
    assert "appliance/mqtt/living.py:2 twice [" in done.stderr
    assert "TypeError" in done.stderr
    assert "is no plain function" in done.stderr
    assert not (tmp_path / "results").read_text()


VERDICTS = [
    (0, "", False, SURVIVED),
    (0, "", True, SURVIVED),  # just in time
    (1, "test.py::test", False, KILLED),
    (-signal.SIGSEGV, "", False, KILLED),
    (-signal.SIGKILL, "", True, TIMEOUT),  # by us
    (3, "", False, TIMEOUT),
    (1, "", False, REFUSED),
    (2, "", False, REFUSED),
    (70, "TypeError()", False, REFUSED),
]


@pytest.mark.parametrize(("code", "told", "late", "verdict"), VERDICTS)
def test_only_a_test_or_a_signal_kills(code, told, late, verdict):
    assert verdict_on(code, told, late=late) == verdict


def test_the_seed_decides_on_each_mutant_by_itself():
    mutants = {mutant.key: mutant for mutant in mutants_of("m.py", SOURCE)}
    some = [mutant.key for mutant in chosen(mutants, arguments(["--sample", "4"]))]
    assert len(some) == 4
    assert some != [mutant.key for mutant in chosen(mutants, arguments(["--sample", "4", "--seed", "1"]))]
    del mutants[some[1]]
    assert [mutant.key for mutant in chosen(mutants, arguments(["--sample", "3"]))] == [some[0], *some[2:]]


def test_a_share_that_is_too_small_fails(capsys):
    mutants = list(mutants_of("m.py", SOURCE))
    known = {mutant.key: {"verdict": "killed"} for mutant in mutants} | {mutants[0].key: {"verdict": "survived"}}
    assert report(mutants, known, 85) == 0
    assert report(mutants, known, 86) == 1
    said = capsys.readouterr().out
    assert f"survived: m.py:9 is_small [{mutants[0].key}]\n  - number\n  - < LIMIT\n  + number <= LIMIT\n" in said
    assert "mutation: 85.7 % killed, at least 86 wanted (6 killed, 1 survived)" in said


def test_a_line_cut_short_is_no_verdict(tmp_path):
    (tmp_path / "results").write_text('{"key": "a", "verdict": "killed"}\n{"key": "b", "verd')
    assert verdicts(tmp_path / "results") == {"a": {"key": "a", "verdict": "killed"}}
    assert verdicts(tmp_path / "none") == {}


def test_every_equivalent_mutant_has_its_reason():
    rows = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    assert len(equivalents()) == len(rows), "a key stands twice"
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{12}", row["key"])
        assert len(row["why"]) > 10, row
        assert (ROOT / row["where"].partition(" ")[0]).exists(), row


def function_alone(text, qualname):
    """Give the module without what stands around a function; keys do not mind."""
    scope, lines = ast.parse(text), text.splitlines(keepends=True)
    *owners, _ = names = qualname.split(".")
    for name in names:
        scope = next(node for node in scope.body if getattr(node, "name", None) == name)
    return "".join((*(f"class {owner}:\n" for owner in owners), *lines[scope.lineno - 1 : scope.end_lineno]))


def test_every_equivalent_mutant_is_one_of_those_that_there_are():
    """To be quick, only those are looked at in whose place a line stands that a key was made of."""
    rows, present = defaultdict(list), set()
    for row in tomllib.loads(EQUIVALENT.read_text())["equivalent"]:
        rows[row["where"]].append(row)
    for where, of_function in rows.items():
        path, _, qualname = where.partition(" ")
        text = function_alone((ROOT / path).read_text(), qualname)
        places = {
            number
            for number, line in enumerate(text.splitlines(), 1)
            if any(key_of(where, line.strip(), row["becomes"]) == row["key"] for row in of_function)
        }
        mutants = mutants_of(path, text)
        present |= {mutant.key for mutant in mutants if places & {*range(mutant.first_line, mutant.last_line + 1)}}
    assert equivalents().keys() - present == set()
