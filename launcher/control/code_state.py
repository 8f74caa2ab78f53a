"""Records the code of each submission: code.json and code.diff in the run directory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import launcher
import ptycho_dist
from launcher.control.git_state import Repository, root_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.files import json_bytes, read_json, write_bytes_atomic
from ptycho_dist.rundir.frozen import code_digest, code_files, damage_of_code
from ptycho_dist.rundir.layout import RunDirectory

DISTRIBUTION = "ptycho-dist"


def package_folders() -> dict[str, Path]:
    """The folders from which the packages of this process were imported."""
    return {
        module.__name__: Path(str(module.__file__)).resolve().parent
        for module in (launcher, ptycho_dist)
    }


class OwnCode:
    """The code of this process, examined once for all runs of a command."""

    def __init__(self) -> None:
        """Read the files of the packages; raises what `code_files` raises."""
        self.files = code_files(package_folders())
        self.digest = code_digest(self.files)
        self._damage: dict[tuple[Path, str], str | None] = {}

    @cached_property
    def _present(self) -> tuple[dict[str, Any], bytes | None]:
        return _present_state(self.digest)

    def record(self, run: RunDirectory | ArrayDirectory) -> None:
        """Add the present state of the code to code.json, and a code.diff of uncommitted changes.

        A member that shares the record of its array gets a record of its own.

        Args:
            run: directory of a run or of an array.

        Raises:
            OSError: the directory cannot be written.
        """
        earlier = _earlier_states(run)
        present, diff = self._present
        kept = None if diff is None else _keep_diff(run, diff, len(earlier) + 1)
        record = {"format": 1, "states": [*earlier, {**present, "diff": kept}]}
        write_bytes_atomic(run.code_json, json_bytes(record))

    def damage(self, run: RunDirectory, digest: str) -> str | None:
        """Like `damage_of_code`, but frozen code that many members share is examined only once."""
        place = run.code.resolve(), digest
        if place not in self._damage:
            self._damage[place] = damage_of_code(run, digest)
        return self._damage[place]


def _earlier_states(run: RunDirectory | ArrayDirectory) -> list[Any]:
    """The recorded states; empty if the record is missing or damaged: no resume depends on it."""
    with suppress(UserError):
        record = read_json(run.code_json)
        states = record.get("states") if isinstance(record, dict) else None
        if isinstance(states, list):
            return states
    return []


def _keep_diff(run: RunDirectory | ArrayDirectory, diff: bytes, number: int) -> str:
    """Keep a diff and return the name of its file, which may be that of an equal earlier diff."""
    for path in sorted(run.path.glob("code*.diff")):
        with suppress(OSError):
            if path.read_bytes() == diff:
                return path.name
    name = "code.diff" if number == 1 else f"code-{number}.diff"
    write_bytes_atomic(run.path / name, diff)
    return name


def _present_state(digest: str) -> tuple[dict[str, Any], bytes | None]:
    """The state of the code, and the diff of the checkout from which the packages are run."""
    folders = package_folders()
    roots = {name: root_of(folder) for name, folder in folders.items()}
    checkouts: dict[str, Any] = {}
    diff: bytes | None = None
    for root in sorted({root for root in roots.values() if root is not None}):
        repository = Repository(root)
        inits = [folders[n] / "__init__.py" for n, found in roots.items() if found == root]
        if not repository.tracked(inits):
            continue  # installed below the checkout of another project
        state = repository.state()
        if state.changed:
            diff, why = repository.diff()
            state.note = why or state.note
        checkouts[str(root)] = state.to_json()
    return {
        "at": time.time(),
        "sha256": digest,
        "packages": {name: str(folder) for name, folder in folders.items()},
        "installed": _installed(folders),
        "checkouts": checkouts,
        "working_directory": _working_directory(checkouts),
    }, diff


def _working_directory(known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        here = Path.cwd()
    except OSError:  # the working directory was removed
        return {"path": None, "checkout": None}
    root = root_of(here)
    found: dict[str, Any] = {"path": str(here), "checkout": None if root is None else str(root)}
    if root is not None and str(root) not in known:
        found |= Repository(root).state().to_json()
    return found


def _installed(folders: Mapping[str, Path]) -> dict[str, Any] | None:
    """Describe the installed distribution; None: there is none."""
    try:
        found = metadata.distribution(DISTRIBUTION)
        record = found.read_text("RECORD")
        own = Path(str(found.locate_file("ptycho_dist"))).resolve() == folders["ptycho_dist"]
    except (metadata.PackageNotFoundError, OSError, UnicodeError):
        return None
    return {
        "version": found.version,
        "holds_the_packages": own,
        "record_sha256": None if record is None else hashlib.sha256(record.encode()).hexdigest(),
    }
