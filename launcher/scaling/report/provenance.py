"""The provenance of a study's figures: code, config, packages, nodes, SLURM, NCCL.

Run directories are untrusted. What they do not record is left out and nothing is guessed; where the
ranks recorded no versions, those of the launcher are shown and labelled as such.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from launcher.provenance.code_states import CodeState, code_states
from launcher.provenance.joined import joined_of
from launcher.provenance.texts import LONGEST, text_of
from launcher.scaling.analysis.results import Collected
from launcher.slurm.ask_cluster import slurm_version
from launcher.text.redact import Redactor
from ptycho_dist.attempts.record import attempt_numbers
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.checked_json import read_object
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import rank_writer

_READ_BYTES = 64 * 1024
"""Bytes of a ledger that are read; `joined` is the first event of a rank."""
_PACKAGES = ("ptycho-dist", "torch", "lightning", "numpy", "scipy", "pydantic")


@dataclass(frozen=True)
class StudyProvenance:
    """Where the figures of a study come from."""

    study: str
    directory: str
    config_sha256: str
    code: tuple[CodeState, ...]
    """States of the code; more than one where it changed during the study."""
    versions: dict[str, str]
    """Package → version, or versions separated by commas."""
    versions_of: Literal["ranks", "launcher"]
    nodes: tuple[str, ...]
    machines: int
    """The largest number of different operating systems that one run used."""
    devices: tuple[str, ...]
    backends: tuple[str, ...]
    """Backends of torch.distributed."""
    cluster: str
    """`slurm` or `local`."""
    slurm_cluster: tuple[str, ...]
    partitions: tuple[str, ...]
    slurm_version: str | None
    """SLURM's version on the machine that makes the report; None: there is no SLURM."""
    variables: dict[str, str]
    """NCCL_* and GLOO_* of rank 0."""
    command: str
    """The command that repeats the study, without anything that looks like a secret."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def provenance_of(study_dir: Path, collected: Collected) -> StudyProvenance:
    """Read the provenance from the directories of a study and of its runs."""
    array = ArrayDirectory(study_dir)
    runs = [
        RunDirectory(study_dir / "members" / each.run_id)
        for each in collected.measured
        if "/" not in each.run_id
    ]
    joined = [joined_of(event) for run in runs if (event := _joined(run)) is not None]
    versions = _gathered([each.versions for each in joined])
    variables = _gathered([each.variables for each in joined])
    study = collected.study
    return StudyProvenance(
        study=study.name,
        directory=study_dir.name,
        config_sha256=study.config_sha256,
        code=_code(array, runs),
        versions=versions or _own_versions(),
        versions_of="ranks" if versions else "launcher",
        nodes=tuple(sorted({node for each in collected.measured for node in each.nodes})),
        machines=max((each.machines for each in collected.measured), default=0),
        devices=_different(
            [each.device_name or each.device for each in joined]
            or [each.device for each in collected.measured]
        ),
        backends=_different([each.backend for each in joined]),
        cluster=study.cluster,
        slurm_cluster=_different([variables.get("SLURM_CLUSTER_NAME", "")]),
        partitions=_different(
            [variables.get("SLURM_JOB_PARTITION", "") or _planned_partition(runs)]
        ),
        slurm_version=(slurm_version()[:LONGEST] or None) if study.cluster == "slurm" else None,
        variables={k: v for k, v in variables.items() if not k.startswith("SLURM_")},
        command=Redactor(os.environ).text(shlex.join(study.command)),
    )


def _joined(run: RunDirectory) -> Mapping[str, Any] | None:
    """The event `joined` of rank 0 in the latest attempt that has one."""
    with suppress(UserError):
        for number in reversed(attempt_numbers(run)):
            path = run.ledger / f"{number:03d}-{rank_writer(0)}.jsonl"
            with suppress(OSError), path.open("rb") as file:
                for line in file.read(_READ_BYTES).split(b"\n"):
                    with suppress(ValueError, RecursionError):
                        event = json.loads(line)
                        if isinstance(event, dict) and event.get("event") == "joined":
                            return event
    return None


def _code(array: ArrayDirectory, runs: Sequence[RunDirectory]) -> tuple[CodeState, ...]:
    """The different states of the code, of the study and of the runs that have their own record."""
    found: dict[str, CodeState] = {}
    paths = [array.code_json, *(run.code_json for run in runs if not run.code_json.is_symlink())]
    for path in paths:
        with suppress(UserError, FileNotFoundError):
            for state in code_states(read_object(str(path))):
                found.setdefault(state.sha256, state)
    return tuple(found.values())


def _own_versions() -> dict[str, str]:
    versions = {"python": python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _planned_partition(runs: Sequence[RunDirectory]) -> str:
    for run in runs:
        with suppress(UserError):
            return text_of(run.plan().resources.get("partition"))
    return ""


def _gathered(records: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Name → its different values over all records, separated by commas."""
    names = sorted({name for record in records for name in record})
    return {
        name: ", ".join(dict.fromkeys(record[name] for record in records if name in record))
        for name in names
    }


def _different(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
