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
"""Hidden name of a run directory that is still being built."""


def is_owned(name: str) -> bool:
    """Whether an entry of a run directory was made by the program, not by the user."""
    return name in _OWNED or is_code_diff(name)


def is_code_diff(name: str) -> bool:
    """Whether a file holds the uncommitted changes of the code."""
    return _DIFF.fullmatch(name) is not None


@dataclass(frozen=True)
class RunDirectory:
    """A run directory, by its path; creating the object reads nothing."""

    path: Path

    @property
    def run_id(self) -> str:
        """The name of the directory: `<name>-<date>-<time>-<random>`."""
        return self.path.name

    @property
    def array_id(self) -> str | None:
        """Id of the array to which the run belongs, from its path; None: it is not a member."""
        return self.path.parent.parent.name if self.path.parent.name == "members" else None

    @property
    def run_json(self) -> Path:
        """The resolved config with its digest and the origin of each value."""
        return self.path / "run.json"

    @property
    def plan_json(self) -> Path:
        """The plan: the world-size contract and the request to the scheduler."""
        return self.path / "plan.json"

    @property
    def script(self) -> Path:
        """The batch script."""
        return self.path / "job.sbatch"

    @property
    def code_json(self) -> Path:
        """The code of each submission; only the launcher writes this file."""
        return self.path / "code.json"

    @property
    def code(self) -> Path:
        """The frozen code, if `environment.snapshot` asks for it."""
        return self.path / "code"

    @property
    def submission_json(self) -> Path:
        """The jobs submitted for this run; only the launcher writes this file."""
        return self.path / "submission.json"

    @property
    def result_json(self) -> Path:
        """The result; rank 0 writes it when the run has finished."""
        return self.path / "result.json"

    @property
    def attempts(self) -> Path:
        """One JSON file per attempt."""
        return self.path / "attempts"

    @property
    def ledger(self) -> Path:
        """Append-only files of events, one per attempt and writer."""
        return self.path / "ledger"

    @property
    def heartbeats(self) -> Path:
        """One JSON file per rank with its latest state."""
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
        """Metrics per epoch, and step times."""
        return self.path / "metrics"

    @property
    def reconstruction(self) -> Path:
        """The reconstruction from the training file, made when training is done."""
        return self.path / "reconstruction"

    @property
    def object_file(self) -> Path:
        """The reconstructed object, HDF5."""
        return self.reconstruction / "object.h5"

    @property
    def picture(self) -> Path:
        """Picture of the reconstructed object."""
        return self.reconstruction / "object.png"

    @property
    def reconstruction_metrics(self) -> Path:
        """Scores of the reconstructed object, JSON; written last."""
        return self.reconstruction / "metrics.json"

    def rank_log(self, attempt: int, rank: int) -> Path:
        """The log of one rank in one attempt; the batch script uses the same name."""
        return self.logs / f"attempt-{attempt:03d}-rank-{rank:05d}.log"

    def config(self) -> RunConfig:
        """Read the config from run.json and check it again, since the file is untrusted.

        Raises:
            UserError: the file is missing, has another format, or was changed by hand.
        """
        record = read_json(self.run_json)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise UserError(f"{self.run_json}: not a run of format {FORMAT}")
        stored = record.get("config")
        if json_digest(stored) != record.get("config_sha256"):
            raise UserError(
                f"{self.run_json}: was changed after the run was made (digest differs); restore it"
            )
        return decode_run_config(stored, str(self.run_json))

    def plan(self) -> RunPlan:
        """Read plan.json.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_plan(self.plan_json)

    def write_plan(self, plan: RunPlan) -> None:
        """Replace plan.json atomically."""
        write_json_atomic(self.plan_json, plan.to_json())

    def world(self) -> World:
        """Read the world-size contract from plan.json; raises the errors of `plan`."""
        return self.plan().world
