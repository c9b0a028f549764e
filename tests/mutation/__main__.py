"""How much of the pure parts the tests hold in place: `python -m tests.mutation`.

Works on a copy of the tree. Every verdict is written as it comes; the same command takes up an unfinished run again.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from .mutants import Mutant, mutants_of
from .trial import KILLED, SURVIVED, TIMEOUT, UNREACHED, run

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutation"
COPIED = ("appliance", "sensors", "tests", "pyproject.toml", "README.md")
PARTS = ("appliance/mqtt", "appliance/broker")
TESTS = ("tests/appliance/mqtt", "tests/appliance/broker", "tests/statements", "tests/test_wire.py")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="try N mutants of all")
    parser.add_argument("--seed", default="0", help="another seed is another sample (0)")
    parser.add_argument("--only", default="", metavar="PATH", help="mutants of files whose path begins so")
    parser.add_argument("--key", action="append", help="mutants with these keys")
    parser.add_argument("--least", type=float, default=85.0, metavar="PERCENT", help="fail when fewer are killed (85)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="mutants at a time")
    parser.add_argument("--again", action="store_true", help="forget verdicts of an earlier run")
    parser.add_argument("--in-copy", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def copy_tree(target: Path) -> str:
    """Copy what the tests need; a digest of it all tells whether older verdicts still stand."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc", "node_modules", ".*")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=unwanted)
        else:
            shutil.copy2(ROOT / name, target / name)
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(
        path for part in ("appliance", "tests") for path in (target / part).rglob("*") if path.is_file()
    ):
        digest.update(str(path.relative_to(target)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def all_mutants(outside: Counter[str]) -> dict[str, Mutant]:
    """Every mutant of functions of the pure parts of the current directory by key, each once; count all others."""
    found: dict[str, Mutant] = {}
    for part in PARTS:
        for path in sorted(Path(part).glob("*.py")):
            for mutant in mutants_of(str(path), path.read_text(encoding="utf-8"), outside):
                found.setdefault(mutant.key, mutant)
    return found


def chosen(mutants: dict[str, Mutant], options: argparse.Namespace) -> list[Mutant]:
    """Those to try, in an order that a change elsewhere leaves as it was: the seed decides on each by itself."""
    keys = [
        key
        for key, mutant in mutants.items()
        if mutant.path.startswith(options.only) and (not options.key or key in options.key)
    ]
    keys.sort(key=lambda key: hashlib.sha256(f"{options.seed} {key}".encode()).digest())
    return [mutants[key] for key in keys[: options.sample]]


def equivalents() -> dict[str, str]:
    """Mutants that do what the original does: key -> why."""
    rows = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("equivalent", [])
    return {row["key"]: row["why"] for row in rows}


def verdicts(results: Path) -> dict[str, dict[str, str]]:
    """What is known so far, by key; a line cut short by a power cut is left out."""
    found = {}
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["key"]] = row
    return found


def say(text: str) -> None:
    """Print at once, whoever reads."""
    print(text, flush=True)


def report(wanted: list[Mutant], known: dict[str, dict[str, str]], least: float) -> int:
    """Print survivors and figures; give the exit code."""
    alike = equivalents()
    by_file: dict[str, Counter[str]] = defaultdict(Counter)
    total: Counter[str] = Counter()
    for mutant in sorted(wanted, key=lambda mutant: (mutant.path, mutant.change[0], mutant.key)):
        verdict = known[mutant.key]["verdict"]
        if verdict in {SURVIVED, UNREACHED} and mutant.key in alike:
            verdict = "equivalent"
        elif verdict in {SURVIVED, UNREACHED}:
            say(f"{verdict}: {mutant.describe()}")
        by_file[mutant.path][verdict] += 1
        total[verdict] += 1
    for path, counts in sorted(by_file.items()):
        say(f"{share(counts):6.1f} %  {path}: {written(counts)}")
    say(f"mutation: {share(total):.1f} % killed, at least {least:g} wanted ({written(total)})")
    return int(share(total) < least)


def share(counts: Counter[str]) -> float:
    """Percentage of mutants that were found, of those that can be."""
    return 100.0 * (counts[KILLED] + counts[TIMEOUT]) / max(1, counts.total() - counts["equivalent"])


def written(counts: Counter[str]) -> str:
    """Figures as words."""
    names = (KILLED, TIMEOUT, SURVIVED, UNREACHED, "equivalent")
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name] or name in {KILLED, SURVIVED})


def try_here(options: argparse.Namespace) -> int:
    """Run in the copy: try what is not known yet, then report."""
    started = time.monotonic()
    outside: Counter[str] = Counter()
    mutants = all_mutants(outside)
    wanted = chosen(mutants, options)
    results = Path("..", "results.jsonl")
    todo = [mutant for mutant in wanted if mutant.key not in verdicts(results)]
    say(f"{len(mutants)} mutants, {len(wanted)} wanted, {len(todo)} to try")
    say(f"left out: {outside.total()} outside functions (tables, bodies of classes), of which no figure here tells")
    if todo:
        run([test for test in TESTS if Path(test).exists()], todo, results, options.processes, say)
    for key in equivalents().keys() - mutants.keys():
        say(f"no mutant is named {key} any more; take it out of {EQUIVALENT.name}")
    code = report(wanted, verdicts(results), options.least)
    say(f"in {time.monotonic() - started:.0f} s")
    return code


def main(argv: list[str]) -> int:
    """Copy the tree and start again in the copy, so that nothing changes under a long run."""
    options = arguments(argv)
    if options.in_copy:
        return try_here(options)
    digest = copy_tree(WORK / "tree")
    stamp, results = WORK / "tree.sha256", WORK / "results.jsonl"
    if options.again or not stamp.exists() or stamp.read_text() != digest:
        results.unlink(missing_ok=True)
        stamp.write_text(digest)
    return subprocess.run(
        [sys.executable, "-m", "tests.mutation", "--in-copy", *argv],
        cwd=WORK / "tree",
        env=os.environ | {"PYTHONPATH": str(WORK / "tree"), "PYTHONHASHSEED": "0", "COVERAGE_CORE": "ctrace"},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
