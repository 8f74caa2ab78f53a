"""What attempts/NNN.json of a run hold, as they are on the disk (RD-020, RD-022)."""

from __future__ import annotations

import json
from typing import Any

from ptycho_dist.rundir.layout import RunDirectory


def attempt_files(run: RunDirectory) -> list[dict[str, Any]]:
    """The content of each file, the oldest attempt first."""
    paths = sorted(run.attempts.glob("[0-9]*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text()) for path in paths]
