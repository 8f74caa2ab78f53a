"""Where everything stands in a run directory, and how one comes to be."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.config.load import LoadedConfig, decode_run_config, json_digest
from ptycho_dist.config.load import run_config_to_json as config_to_json
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import (
    fsync_directory,
    json_bytes,
    read_json,
    write_bytes_atomic,
    write_json_atomic,
)
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
NEEDED_AT_ONCE = ("checkpoints", "ledger", "logs")
"""What a run must have before its first attempt begins: there a missing folder of checkpoints is
damage, `cancel` writes a ledger, and SLURM opens a log."""
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


def new_run_path(root: Path, name: str) -> Path:
    """A path under `root` for a new run: unique by date, time and two random bytes."""
    return root / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def prepare_run(
    path: Path,
    loaded: LoadedConfig,
    plan: RunPlan,
    script: str | None,
    add: Callable[[RunDirectory], None] = lambda run: None,
) -> RunDirectory:
    """Make a run directory, private (mode 0700), whole or not at all.

    It is built under a hidden name beside `path` and renamed when complete.

    Args:
        path: where it shall be, absolute; nothing may be there.
        loaded: the checked config with its text and origins.
        plan: for plan.json.
        script: the batch script, where there is one.
        add: writes what else belongs into it, before it appears under its name.

    Raises:
        UserError: the place cannot be written, or is taken.
    """
    with building(path) as hidden:
        fill_run(hidden, path.name, loaded, plan, script, write_bytes_atomic)
        add(RunDirectory(hidden))
    return RunDirectory(path)


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """A hidden, private directory beside `path`, which takes its place at the end, whole.

    Raises:
        UserError: the place cannot be written, or is taken.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir(mode=0o700)
        yield hidden
        if path.exists() and any(path.iterdir()):
            raise UserError(f"{path}: exists and is not empty")
        hidden.rename(path)
        fsync_directory(path.parent)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise UserError(
            f"the run directory cannot be made: {error.strerror}: {error.filename or path}"
        ) from None
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def fill_run(
    directory: Path,
    run_id: str,
    loaded: LoadedConfig,
    plan: RunPlan,
    script: str | None,
    write: Callable[[Path, bytes], object],
    encode: Callable[[Any], bytes] | None = None,
    subdirectories: Sequence[str] = SUBDIRECTORIES,
) -> None:
    """Make what a run begins with in an empty directory that is still hidden.

    Args:
        directory: where.
        run_id: the name that it will have.
        loaded, plan, script: as in `prepare_run`.
        write: writes one file.
        encode: gives the bytes of a record, where that is not `json_bytes`.
        subdirectories: to make now; the others are made when an attempt begins.
    """
    for name in subdirectories:
        (directory / name).mkdir(mode=0o700)
    run, encode = RunDirectory(directory), encode or json_bytes
    config = config_to_json(loaded.config)
    record = {
        "format": FORMAT,
        "run_id": run_id,
        "created_at": time.time(),
        "config": config,
        "config_sha256": json_digest(config),
        "origins": dict(loaded.origins),
    }
    write(directory / "run.yaml", loaded.text.encode())
    write(run.run_json, encode(record))
    write(run.plan_json, encode(plan.to_json()))
    if script is not None:
        write(run.script, script.encode())


def is_run(path: Path) -> bool:
    """Whether a run lies in this place."""
    return (path / "run.json").is_file()


def _is_array(path: Path) -> bool:
    return (path / "array.json").is_file()


def member_paths(array: Path) -> list[Path]:
    """Directories of the members of an array, by index, absolute; array.json is not read."""
    folder = absolute(array) / "members"
    if not folder.is_dir():
        return []
    names = sorted(os.listdir(folder), key=lambda name: (len(name), name))  # noqa: PTH208 - bare names
    return [folder / name for name in names if name.rpartition(".")[2].isdecimal()]


def list_runs(root: Path) -> list[RunDirectory]:
    """All runs under `root`, by name, members of arrays among them; none where there is no such
    directory."""
    runs = []
    for path in run_paths(root):
        if is_run(path):
            runs.append(RunDirectory(path))
        elif _is_array(path):
            runs += [RunDirectory(member) for member in member_paths(path) if is_run(member)]
    return runs


def run_paths(root: Path) -> list[Path]:
    """What may be runs under `root`, by name, absolute; nothing in them is looked at."""
    if not root.is_dir():
        return []
    return [path for path in sorted(absolute(root).iterdir()) if not path.name.startswith(".")]


def absolute(path: Path) -> Path:
    """Seen from the working directory, with its symlinks."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps symlinks
