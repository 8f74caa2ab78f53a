"""The layout of a run directory: where each file lies, and the config and plan in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config.plain_data import decode_run_config, json_digest
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.run_plan import RunPlan, read_plan

FORMAT = 1
SUBDIRECTORIES = (
    "attempts",
    "ledger",
    "heartbeat",
    "checkpoints",
    "logs",
    "metrics",
    "reconstruction",
)
_OWNED = frozenset(
    {
        *SUBDIRECTORIES,
        *("run.yaml", "run.json", "plan.json", "job.sbatch", "submission.json", "result.json"),
        *("submission.lock", "submitit", "code", "code.json", "report.html"),
    }
)
_DIFF = re.compile(r"code(-\d+)?\.diff")
UNFINISHED = re.compile(r"\..+-\d{8}-\d{6}-[0-9a-f]{4}\.[0-9a-f]{8}\.tmp")
"""The hidden name of a run directory that is being built."""


def is_owned(name: str) -> bool:
    """Whether an entry of a run directory is not a person's."""
    return name in _OWNED or is_code_diff(name)


def is_code_diff(name: str) -> bool:
    """Whether a file holds what the code has beyond its commit."""
    return _DIFF.fullmatch(name) is not None


@dataclass(frozen=True)
class RunDirectory:
    """A run directory by its path; opening it reads nothing."""

    path: Path

    @property
    def run_id(self) -> str:
        """`<name>-<date>-<time>-<random>`: the name of the directory."""
        return self.path.name

    @property
    def array_id(self) -> str | None:
        """The array that the run is a member of, by its place; None: it is none."""
        return self.path.parent.parent.name if self.path.parent.name == "members" else None

    @property
    def run_json(self) -> Path:
        """The resolved config, versioned, with its digest and the origin of each value."""
        return self.path / "run.json"

    @property
    def plan_json(self) -> Path:
        """The plan: the world-size contract and what the scheduler is asked for."""
        return self.path / "plan.json"

    @property
    def script(self) -> Path:
        """What is submitted."""
        return self.path / "job.sbatch"

    @property
    def code_json(self) -> Path:
        """Which code each submission was made with; written by the launcher alone."""
        return self.path / "code.json"

    @property
    def code(self) -> Path:
        """The frozen code, where `environment.snapshot` asks for it."""
        return self.path / "code"

    @property
    def submission_json(self) -> Path:
        """The jobs that the launcher has submitted for this run; written by the launcher alone."""
        return self.path / "submission.json"

    @property
    def result_json(self) -> Path:
        """Written by rank 0 when the last epoch is done: the run has finished."""
        return self.path / "result.json"

    @property
    def attempts(self) -> Path:
        """One JSON file per start."""
        return self.path / "attempts"

    @property
    def ledger(self) -> Path:
        """Append-only event files, one per attempt and writer."""
        return self.path / "ledger"

    @property
    def heartbeats(self) -> Path:
        """One JSON file per rank: what it does and when it last said so."""
        return self.path / "heartbeat"

    @property
    def checkpoints(self) -> Path:
        """One directory per committed checkpoint."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Standard output and error, one file per attempt and rank."""
        return self.path / "logs"

    @property
    def metrics(self) -> Path:
        """Figures per epoch."""
        return self.path / "metrics"

    @property
    def reconstruction(self) -> Path:
        """What is made of the training file once the training is done."""
        return self.path / "reconstruction"

    @property
    def object_file(self) -> Path:
        """The reconstructed object, HDF5."""
        return self.reconstruction / "object.h5"

    @property
    def picture(self) -> Path:
        """Its picture."""
        return self.reconstruction / "object.png"

    @property
    def reconstruction_metrics(self) -> Path:
        """Its scores, JSON, written last."""
        return self.reconstruction / "metrics.json"

    def rank_log(self, attempt: int, rank: int) -> Path:
        """The log of one rank in one attempt; the batch script names it the same."""
        return self.logs / f"attempt-{attempt:03d}-rank-{rank:05d}.log"

    def config(self) -> RunConfig:
        """The config of run.json, checked again: the file is untrusted input.

        Raises:
            UserError: the file is missing, of another format, or was changed by hand.
        """
        record = read_json(self.run_json)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise UserError(f"{self.run_json}: not a run of format {FORMAT}")
        stored = record.get("config")
        if json_digest(stored) != record.get("config_sha256"):
            raise UserError(f"{self.run_json}: was changed after the run was made (digest differs)")
        return decode_run_config(stored, str(self.run_json))

    def plan(self) -> RunPlan:
        """The content of plan.json.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_plan(self.plan_json)

    def write_plan(self, plan: RunPlan) -> None:
        """Replace plan.json, as a whole."""
        write_json_atomic(self.plan_json, plan.to_json())

    def world(self) -> World:
        """The world-size contract of plan.json; raises as `plan`."""
        return self.plan().world
