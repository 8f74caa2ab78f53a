"""Lists the runs and arrays in a directory; none of their files is read."""

from __future__ import annotations

import os
from pathlib import Path

from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory."""
    return (path / "run.json").is_file()


def member_paths(array: Path) -> list[Path]:
    """Absolute paths of the members of an array, by index; array.json is not read."""
    folder = absolute(array) / "members"
    if not folder.is_dir():
        return []
    names = sorted(os.listdir(folder), key=lambda name: (len(name), name))  # noqa: PTH208 - bare names
    return [folder / name for name in names if name.rpartition(".")[2].isdecimal()]


def list_runs(root: Path) -> list[RunDirectory]:
    """List all runs under `root` by name, members of arrays included.

    The list is empty if `root` does not exist.
    """
    runs = []
    for path in run_paths(root):
        if is_run(path):
            runs.append(RunDirectory(path))
        elif as_array(path) is not None:
            runs += [RunDirectory(member) for member in member_paths(path) if is_run(member)]
    return runs


def run_paths(root: Path) -> list[Path]:
    """List the entries of `root` that may be runs or arrays, by name, as absolute paths."""
    if not root.is_dir():
        return []
    return [path for path in sorted(absolute(root).iterdir()) if not path.name.startswith(".")]


def absolute(path: Path) -> Path:
    """Return an absolute path without resolving symlinks."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - keeps symlinks


def list_arrays(root: Path) -> list[ArrayDirectory]:
    """List all arrays under `root` by name."""
    return [array for path in run_paths(root) if (array := as_array(path)) is not None]


def as_array(path: Path) -> ArrayDirectory | None:
    """Return the array whose directory is `path`; None: there is none."""
    array = ArrayDirectory(path)
    return array if array.array_json.is_file() else None
