"""P9: every normative statement has a test that it names, and random steps never diverge from the model."""

import sys
import tomllib
from pathlib import Path

from tests.promises.finding import Finding

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS))  # as pytest has it

from model.test_flaws import NoDup  # noqa: E402 found below the path above
from model.walk import walk  # noqa: E402

VERSIONS = {"3.1.1": 141, "5.0": 251}
SEED = 9


def run(*, steps: int, planted: bool) -> list[Finding]:
    """Count the statements and those that bind a server and name a test; walk the model."""
    findings = []
    for version, count in VERSIONS.items():
        table = tomllib.loads((TESTS / "statements" / f"mqtt-{version}.toml").read_text(encoding="utf-8"))
        rows = list(table["statement"].values())
        binding = [row for row in rows if row["binds"] != "client"]
        findings += [
            Finding(f"statements of MQTT {version}", len(rows), least=count, most=count),
            Finding("of them that bind a server and name no test", sum(not row.get("test") for row in binding), most=0),
        ]
    trace = walk(SEED, steps, flaw=NoDup() if planted else None)
    return [*findings, Finding(f"divergences from the model in {steps:,} steps", int(trace is not None), most=0)]
