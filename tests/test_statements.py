"""The table of normative statements is whole, and every test that it names is there and runs.

tests/statements/mqtt-3.1.1.toml and mqtt-5.0.toml say for each statement whom it binds and which tests fail when we
break it.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "tests/statements").glob("mqtt-*.toml"))
}
BINDS = {"server", "client", "both"}
KEYS = {"binds", "demands", "test", "why"}
RUNS = "not skip and not skipif and not xfail and not hardware and not soak"  # what a run of the whole suite runs

each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def named_in(table):
    """Give (statement or choice, test) for every test that the table names."""
    rows = [*table["statement"].items(), *((row["clause"], row) for row in table["choice"])]
    return [(name, test) for name, row in rows for test in row.get("test", [])]


@pytest.fixture(scope="module")
def running():
    """Node ids of the tests that run in the whole suite, with and without their parameters, of the files named."""
    files = {test.partition("::")[0] for table in TABLES.values() for _, test in named_in(table)}
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-m", RUNS]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *sorted(files)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = {line for line in done.stdout.splitlines() if "::" in line}
    return ids | {node.partition("[")[0] for node in ids}


def test_there_is_a_table_for_each_version():
    assert {version: table["count"] for version, table in TABLES.items()} == {"mqtt-3.1.1": 141, "mqtt-5.0": 251}


@each_table
def test_every_statement_has_its_row_and_no_other_has_one(table):
    ids = table["ids"].split()
    assert len(ids) == len(set(ids)) == table["count"]
    assert list(table["statement"]) == ids  # and in the specification's order
    assert set(table) == {"count", "ids", "choice", "statement"}


@each_table
def test_every_row_says_whom_it_binds_and_what_it_demands(table):
    for name, row in table["statement"].items():
        assert row["binds"] in BINDS, name
        assert set(row) <= KEYS, name
        assert row["demands"].endswith("."), name


@each_table
def test_a_test_is_named_for_every_statement_that_binds_the_server_and_for_no_other(table):
    bare = {name for name, row in table["statement"].items() if not row.get("test")}
    assert bare == {name for name, row in table["statement"].items() if row["binds"] == "client"}


@each_table
def test_a_choice_that_is_left_open_is_made_and_says_why(table):
    for row in table["choice"]:
        assert set(row) == {"clause", "chosen", "why", "test"}
        assert row["test"]


@each_table
def test_every_test_that_is_named_is_there_and_runs(running, table):
    assert [(name, test) for name, test in named_in(table) if test not in running] == []
