"""Checks whether the run directory can be written, and whether the nodes see it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.doctor.mounts import mount_of
from launcher.planning.plan import LaunchPlan
from launcher.preflight.findings import Finding
from launcher.text.counted import counted
from ptycho_dist.config.run import RunConfig
from ptycho_dist.rundir.listing import run_paths

_PROBE_BYTES = 1 << 20
_LITTLE_BYTES = 2 << 30
_FEW_FILES = 10_000
_GB = 1 << 30
_LOCAL = frozenset(
    {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs"}
)
"""Kinds of file systems of one machine. Any other kind is assumed to be shared by the nodes."""
_OF_THE_SYSTEM = ("/usr", "/opt", "/bin", "/lib")
"""Directories of which each node has its own copy."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What is known about the place of the run directory, and about other files of the run."""

    root: Path
    """Where run directories are made."""
    free_bytes: int
    free_files: int | None
    """Free inodes; None: the file system does not count them."""
    fault: str
    """Why nothing can be written there; empty: it can be written."""
    checkpoint_bytes: int | None
    """Size of a checkpoint of the latest earlier run with this name; None: there is none."""
    local: Mapping[Path, str]
    """Path of the run on a file system of this machine alone → kind of that file system."""
    python_exists: bool


def look_at_storage(plan: LaunchPlan, config: RunConfig, root: Path) -> Storage:
    """Look at the places of a run; the file that is written to try them has no name."""
    root = Path(os.path.abspath(root))  # noqa: PTH100 - keeps symlinks
    there = next(path for path in (root, *root.parents) if path.exists())
    free_bytes, free_files, fault = 0, None, ""
    try:
        space = os.statvfs(there)
        free_bytes = space.f_bavail * space.f_frsize
        free_files = space.f_favail if space.f_files else None
        with tempfile.TemporaryFile(dir=there) as probe:  # an exhausted quota shows only in writing
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
    """Judge what was found. Pure.

    Args:
        storage: what was found.
        plan: plan of the run.
        config: config of the run.
        elsewhere: whether the nodes are other machines than this one.
    """
    root = storage.root
    needed = _needed_bytes(storage, config)
    free = f"{storage.free_bytes / _GB:.1f} GB free"
    if storage.fault:
        yield Finding(
            "error",
            "storage",
            "",
            f"the run directory cannot be written: {storage.fault}; choose another place with "
            "--runs-dir",
        )
    elif needed is not None and storage.free_bytes < needed:
        yield Finding(
            "warning",
            "storage",
            "execution.checkpoint_keep_last",
            f"{root}: {free}, but the checkpoints that are kept take about {needed / _GB:.1f} GB "
            "(as in the last run with this name); keep fewer, free space, or choose another "
            "--runs-dir",
        )
    elif storage.free_bytes < _LITTLE_BYTES:
        yield Finding(
            "warning",
            "storage",
            "",
            f"{root}: only {free}; free space, or choose another --runs-dir",
        )
    elif storage.free_files is not None and storage.free_files < _FEW_FILES:
        files = counted(storage.free_files, "file")
        yield Finding(
            "warning", "storage", "", f"{root}: room for only {files} more (inodes); remove files"
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
            f"{plan.python}, the Python of the ranks, does not exist here; set the venv in which "
            "ptycho-dist is installed",
        )
    else:
        yield Finding("ok", "environment", "environment.venv", f"the ranks use {plan.python}")


def _unseen(storage: Storage, plan: LaunchPlan, config: RunConfig) -> Iterator[Finding]:
    """Warn of paths on a disk of this machine, which the nodes may not see."""
    data, copy = config.data, "copy it to a shared file system"
    for field, path, what, remedy in (
        ("", storage.root, "run directories", "choose a shared file system with --runs-dir"),
        (
            "environment.venv",
            plan.python,
            "the Python of the ranks",
            "use one on a shared file system",
        ),
        ("data.train_data_file", data.train_data_file, "the training file", copy),
        ("data.test_data_file", data.test_data_file, "the validation file", copy),
    ):
        kind = None if path is None else storage.local.get(path)
        if kind is not None and not (field == "environment.venv" and _of_the_system(path)):
            yield Finding(
                "warning",
                "environment" if field == "environment.venv" else "storage",
                field,
                f"{path} ({what}) is on a disk of this machine ({kind}), which the nodes may not "
                f"see; {remedy}",
            )


def _of_the_system(path: Path | None) -> bool:
    return path is not None and str(path).startswith(_OF_THE_SYSTEM)


def _needed_bytes(storage: Storage, config: RunConfig) -> int | None:
    """Bytes of all checkpoints that are kept, and of one more while it is written."""
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
    except OSError:  # a run is being removed
        pass
    return None


def _local_kind(path: Path) -> str | None:
    """Kind of the file system of a path; None: it is not one of this machine alone."""
    mount = mount_of(Path(os.path.realpath(path)))
    return mount.kind if mount is not None and mount.kind in _LOCAL else None
