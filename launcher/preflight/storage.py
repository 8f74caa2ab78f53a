"""Can the run be written where its directory will be, and do its nodes see that place?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.planning.plan import LaunchPlan
from launcher.preflight.findings import Finding
from launcher.text.counted import counted
from ptycho_dist.config.run import RunConfig
from ptycho_dist.rundir.layout import run_paths

_PROBE_BYTES = 1 << 20
_LITTLE_BYTES = 2 << 30
_FEW_FILES = 10_000
_GB = 1 << 30
_LOCAL = frozenset(
    {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs"}
)
"""File systems of one machine. Any other kind is taken for one that the nodes share."""
_OF_THE_SYSTEM = ("/usr", "/opt", "/bin", "/lib")
"""A node has its own copy of these."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What is known of the place of the run directory, and of other files of the run."""

    root: Path
    """Where run directories go."""
    free_bytes: int
    free_files: int | None
    """None: the file system does not say."""
    fault: str
    """Why nothing can be written there; empty: it can."""
    checkpoint_bytes: int | None
    """Of the newest earlier run of this name."""
    local: Mapping[Path, str]
    """Those of the run's paths that lie in a file system of this machine alone → its kind."""
    python_exists: bool


def look_at_storage(plan: LaunchPlan, config: RunConfig, root: Path) -> Storage:
    """Look at the places of a run; what is written for it has no name and is gone afterwards."""
    root = Path(os.path.abspath(root))  # noqa: PTH100 - keeps symlinks
    there = next(path for path in (root, *root.parents) if path.exists())
    free_bytes, free_files, fault = 0, None, ""
    try:
        space = os.statvfs(there)
        free_bytes = space.f_bavail * space.f_frsize
        free_files = space.f_favail if space.f_files else None
        with tempfile.TemporaryFile(dir=there) as probe:  # quotas show in writing alone
            probe.write(b"\0" * _PROBE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        fault = f"{there}: {error.strerror or error}"
    data = config.data
    paths = [root, plan.python, data.train_data_file, data.test_data_file]
    kinds = {path: _local_kind(path) for path in paths if path is not None}
    return Storage(
        root=root,
        free_bytes=free_bytes,
        free_files=free_files,
        fault=fault,
        checkpoint_bytes=_newest_checkpoint_bytes(root, plan.name),
        local={path: kind for path, kind in kinds.items() if kind is not None},
        python_exists=plan.python.exists(),
    )


def storage_findings(
    storage: Storage, plan: LaunchPlan, config: RunConfig, elsewhere: bool
) -> Iterator[Finding]:
    """What follows for the run. Pure.

    Args:
        storage: what was found.
        plan: the run.
        config: its config.
        elsewhere: the nodes are other machines than this one.
    """
    root = storage.root
    needed = _needed_bytes(storage, config)
    free = f"{storage.free_bytes / _GB:.1f} GB free"
    if storage.fault:
        yield Finding(
            "error",
            "storage",
            "",
            f"nothing can be written where the run directory would be: {storage.fault}; choose "
            "another with --runs-dir",
        )
    elif needed is not None and storage.free_bytes < needed:
        yield Finding(
            "warning",
            "storage",
            "execution.checkpoint_keep_last",
            f"{root}: {free}, and the checkpoints that stay take about {needed / _GB:.1f} GB (by "
            "the last run of this name); keep fewer, make room, or choose another --runs-dir",
        )
    elif storage.free_bytes < _LITTLE_BYTES:
        yield Finding(
            "warning",
            "storage",
            "",
            f"{root}: only {free}; make room, or choose another --runs-dir",
        )
    elif storage.free_files is not None and storage.free_files < _FEW_FILES:
        files = counted(storage.free_files, "file")
        yield Finding(
            "warning", "storage", "", f"{root}: room for only {files} more (inodes); remove some"
        )
    else:
        yield Finding("ok", "storage", "", f"{root}: writable, {free}")
    if elsewhere:
        yield from _unseen(storage, plan, config)
    if not storage.python_exists:
        yield Finding(
            "warning" if plan.modules or plan.setup else "error",
            "environment",
            "environment.venv",
            f"{plan.python}, the Python of the ranks, is not here; set the venv that has "
            "ptycho-dist",
        )
    else:
        yield Finding("ok", "environment", "environment.venv", f"the ranks use {plan.python}")


def _unseen(storage: Storage, plan: LaunchPlan, config: RunConfig) -> Iterator[Finding]:
    """Paths that the nodes may not see, as they lie on a disk of this machine."""
    data = config.data
    for field, path, what, remedy in (
        ("", storage.root, "run directories", "choose a shared one with --runs-dir"),
        ("environment.venv", plan.python, "the Python of the ranks", "use a shared one"),
        ("data.train_data_file", data.train_data_file, "the training file", "copy it"),
        ("data.test_data_file", data.test_data_file, "the validation file", "copy it"),
    ):
        kind = None if path is None else storage.local.get(path)
        if kind is not None and not (field == "environment.venv" and _of_the_system(path)):
            yield Finding(
                "warning",
                "environment" if field == "environment.venv" else "storage",
                field,
                f"{path} ({what}) lies on a disk of this machine ({kind}), which the nodes may not "
                f"see; {remedy}" + (" to a shared file system" if remedy == "copy it" else ""),
            )


def _of_the_system(path: Path | None) -> bool:
    return path is not None and str(path).startswith(_OF_THE_SYSTEM)


def _needed_bytes(storage: Storage, config: RunConfig) -> int | None:
    """Of the checkpoints that stay at once, one more being written."""
    if storage.checkpoint_bytes is None:
        return None
    execution, epochs = config.execution, config.training.nepochs
    best = epochs if execution.checkpoint_save_top_k < 0 else execution.checkpoint_save_top_k
    every = execution.checkpoint_keep_every_n_epochs
    kept = execution.checkpoint_keep_last + best + (epochs // every if every else 0) + 1
    return storage.checkpoint_bytes * min(kept, epochs + 1)


def _newest_checkpoint_bytes(root: Path, name: str) -> int | None:
    try:
        for run in reversed(run_paths(root)):
            if not run.name.startswith(f"{name}-"):
                continue
            for checkpoint in sorted((run / "checkpoints").glob("step-*"), reverse=True):
                return sum(file.stat().st_size for file in checkpoint.iterdir())
    except OSError:  # a run that is removed while it is looked at
        pass
    return None


def _local_kind(path: Path) -> str | None:
    """The kind of the file system that holds a path, where it is one of this machine alone."""
    real = Path(os.path.realpath(path))
    best, kind = -1, None
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", errors="replace")
    except OSError:
        return None
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = Path(words[1].replace("\\040", " "))
        if len(point.parts) >= best and (real == point or point in real.parents):
            best, kind = len(point.parts), words[2]
    return kind if kind in _LOCAL else None
