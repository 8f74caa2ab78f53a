"""Every clause of specs/data_contract.md has a test that cites it, and no test cites another."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CLAUSE = re.compile(r"DATA-\d{3}")


def test_clauses_and_tests_agree() -> None:
    clauses = re.findall(
        r"^- \*\*(DATA-\d{3})\*\*", (ROOT / "specs/data_contract.md").read_text(), re.M
    )
    assert len(clauses) == len(set(clauses)) > 40
    cited = {
        clause
        for room in ("data", "physics", "models", "training")
        for path in (ROOT / "tests/unit" / room).glob("test_*.py")
        for clause in CLAUSE.findall(path.read_text())
    }
    assert cited == set(clauses)
