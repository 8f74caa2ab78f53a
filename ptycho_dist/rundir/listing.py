"""Which runs and arrays lie under a directory; no file of theirs is read."""

from __future__ import annotations

import os
from pathlib import Path

from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory


def is_run(path: Path) -> bool:
    """Whether a run lies in this place."""
    return (path / "run.json").is_file()


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
        elif as_array(path) is not None:
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


def list_arrays(root: Path) -> list[ArrayDirectory]:
    """All arrays under `root`, by name."""
    return [array for path in run_paths(root) if (array := as_array(path)) is not None]


def as_array(path: Path) -> ArrayDirectory | None:
    """The array in this place, if there is one."""
    array = ArrayDirectory(path)
    return array if array.array_json.is_file() else None
