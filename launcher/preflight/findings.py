"""Findings of a check: how grave, about which field, and where that field is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.yaml_text import field_lines

Level = Literal["error", "warning", "note", "ok"]
Check = Literal[
    "partition", "nodes", "walltime", "accounting", "trial", "storage", "environment", "requeue"
]
GRAVEST_FIRST: tuple[Level, ...] = ("error", "warning", "note", "ok")


@dataclass(frozen=True)
class Finding:
    """The result of looking at one thing."""

    level: Level
    """error: the run would be refused, would never start, or would fail at once."""
    check: Check
    field: str
    """Field of run.yaml, as `resources.nodes`; empty if no field is at fault."""
    message: str
    """Printable text; other characters in SLURM's answers could steer a terminal."""

    def __post_init__(self) -> None:
        text = "".join(each if each.isprintable() else "?" for each in self.message)
        object.__setattr__(self, "message", text)

    def to_json(self, places: FieldPlaces) -> dict[str, Any]:
        """Plain data for `check --json`."""
        line = places.line(self.field) if self.field else None
        origin = places.origin(self.field) if self.field else None
        return {**dataclasses.asdict(self), "line": line, "origin": origin}


class FieldPlaces:
    """Where the fields of a config are written."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._lines = field_lines(loaded.text)
        self._origins: Mapping[str, str] = loaded.origins
        self._file = Path(loaded.source).name

    def origin(self, field: str) -> str:
        """`--set`, `run.yaml`, `default` ..."""
        return self._origins.get(field, "default")

    def line(self, field: str) -> int | None:
        """The line in run.yaml; None: the value does not come from that file."""
        return self._lines.get(field) if self.origin(field) == "run.yaml" else None

    def written(self, field: str) -> bool:
        """Whether a person wrote the field, in run.yaml or on the command line."""
        return self.origin(field) not in ("default", "front end")

    def describe(self, field: str) -> str:
        """Where the field is set, in words: `run.yaml:12`, `from --set`, or that it is not set."""
        line = self.line(field)
        if line is not None:
            return f"{self._file}:{line}"
        if self.written(field):
            return f"from {self.origin(field)}"
        return f"not set; add it to {self._file}"

    def of_nodes(self) -> str:
        """The field that sets the number of nodes."""
        return self._first("resources.nodes", "execution.num_nodes")

    def of_tasks(self) -> str:
        """The field that sets the number of ranks per node."""
        return self._first(
            "resources.tasks_per_node", "resources.gpus_per_node", "execution.devices"
        )

    def _first(self, *fields: str) -> str:
        return next((each for each in fields if self.written(each)), fields[0])


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with the gravest first, otherwise in the order in which they were found."""
    return sorted(findings, key=lambda finding: GRAVEST_FIRST.index(finding.level))


def refused(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings is an error."""
    return any(finding.level == "error" for finding in findings)
