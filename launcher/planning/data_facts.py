"""Facts of a data file, read by a short subprocess: the launcher itself opens no data."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import ptycho_dist
from ptycho_dist.attempts.bounded_command import run_command
from ptycho_dist.config.contradictions import DataFacts
from ptycho_dist.errors import DataError
from ptycho_dist.rundir.files import write_json_atomic

TIMEOUT_S = 120


def read_data_facts(path: Path) -> DataFacts:
    """Read the facts of a data file.

    They are cached by path, size and modification time of the file, and by the age of the reader's
    code.

    Raises:
        DataError: the file does not conform to the data contract, or cannot be read.
    """
    stat = path.stat()
    key = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{_rules()}"
    cached = _cache_directory() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        facts = json.loads(cached.read_text("utf-8"))
        return _facts(facts)
    except (OSError, ValueError, KeyError, TypeError):
        facts = _read_header(path)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(cached, facts)
    except OSError:
        pass  # without a cache the next command is slower, nothing else
    return _facts(facts)


def _facts(header: dict[str, Any]) -> DataFacts:
    return DataFacts(
        int(header["n_patterns"]),
        int(header["N"]),
        bool(header["has_labels"]),
        counts_known=header["unit"] != "unverified",
    )


def _read_header(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "ptycho_dist.data.header", str(path)]
    told = run_command(command, TIMEOUT_S, name="its reader")
    if told.code is None:
        raise DataError(f"{path}: could not be read: {told.trouble}")
    try:
        answer = json.loads(told.text)
    except ValueError:
        last = (told.complaint.strip().splitlines() or ["no output"])[-1]
        raise DataError(f"{path}: its header could not be read: {last}") from None
    if "error" in answer:
        raise DataError(str(answer["error"]))
    facts: dict[str, Any] = answer
    return facts


def _rules() -> int:
    """When the code that checks data files last changed, which invalidates older answers."""
    folder = Path(ptycho_dist.__file__).parent / "data"
    return max(path.stat().st_mtime_ns for path in folder.glob("*.py"))


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ptycho-dist" / "headers"
