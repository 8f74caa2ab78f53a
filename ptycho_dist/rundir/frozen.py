"""The frozen code of a run: a copy in its directory that the ranks and the batch script run.

`python RUN_DIR/code MODULE ...` replaces `python -m MODULE ...`. Python puts a directory that it
runs first in `sys.path`: before the working directory and PYTHONPATH, which may hold an edited
checkout, and before installed packages.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import ptycho_dist
from ptycho_dist.errors import RunError, UserError
from ptycho_dist.rundir.files import fsync_directory
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan

MAX_BYTES = 32 * 2**20
"""Largest total size of the copied files; the code has less than 1 MiB."""
START = "__main__.py"
START_TEXT = b'''\
"""`python THIS_DIRECTORY MODULE ...` runs the copy of MODULE that lies here."""

import os
import runpy
import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(1, os.getcwd())  # where `python -m` would have it, but after the copy
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
'''


def code_files(packages: Mapping[str, Path]) -> dict[str, bytes]:
    """Read all files of some packages, sources and data.

    Args:
        packages: name → directory from which the package was imported.

    Returns:
        Path within the copy → content.

    Raises:
        UserError: a package is not a directory, cannot be read, or is larger than MAX_BYTES.
    """
    files, total = {START: START_TEXT}, 0
    for name, folder in packages.items():
        if not folder.is_dir():
            raise UserError(f"{folder}: the package {name} is not a directory and cannot be copied")
        for path in _package_files(folder):
            try:
                total += path.stat().st_size
                if total > MAX_BYTES:
                    raise UserError(
                        f"{folder}: contains more than {MAX_BYTES // 2**20} MiB ({path}); "
                        "move away files that are not code"
                    )
                files[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be copied: {error.strerror}") from None
    return files


def _package_files(folder: Path) -> list[Path]:
    """Files of a package, without caches and hidden files of Python or an editor.

    Folders that a checkout links to (site profiles, examples) are followed, because they belong to
    the installed package too.
    """
    found = (
        Path(parent) / name
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    )
    return sorted(
        path
        for path in found
        if path.suffix not in {".pyc", ".pyo"}
        and not any(
            part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts
        )
        and path.is_file()
    )


def code_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and contents of the files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def write_code(place: Path, files: Mapping[str, bytes]) -> None:
    """Write the copy with read-only files into `place`, which must not exist; raises OSError."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(path.stat().st_mode & 0o444)


def replace_code(run: RunDirectory, files: Mapping[str, bytes]) -> None:
    """Write a copy of the code and replace an older copy, if any; the run must not be active.

    Raises:
        UserError: the run directory cannot be written; the older copy may be gone.
    """
    new = run.path / f".code.{secrets.token_hex(4)}.tmp"
    try:
        write_code(new, files)
        if run.code.is_symlink():  # a member of an array links to the copy of the array
            run.code.unlink()
        elif run.code.exists():
            shutil.rmtree(run.code)
        new.rename(run.code)
        fsync_directory(run.path)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise UserError(f"{run.code}: the code cannot be copied: {error.strerror}") from None


def module_command(run: RunDirectory, plan: RunPlan, interpreter: Sequence[str]) -> list[str]:
    """The words that run a module whose name follows: `python -u -m`, or `python -u RUN_DIR/code`.

    Args:
        run: its directory.
        plan: its plan, which says whether the code is frozen.
        interpreter: the command that starts Python.
    """
    return [*interpreter, "-u", "-m" if plan.code is None else str(run.code)]


def damage_of_code(run: RunDirectory, digest: str) -> str | None:
    """Return what is wrong with the frozen code of a run; None: it is intact."""
    if not run.code.is_dir():
        return f"{run.code}: the frozen code is missing"
    try:
        found = {
            path.relative_to(run.code).as_posix(): path.read_bytes()
            for path in _package_files(run.code)
        }
    except OSError as error:
        return f"{run.code}: the frozen code cannot be read: {error.strerror}"
    if code_digest(found) != digest:
        return f"{run.code}: the frozen code was changed after it was copied (digest differs)"
    return None


def require_frozen_code(run: RunDirectory) -> None:
    """Check on a rank that it runs the frozen code of its run, and that this code is intact.

    Raises:
        RunError: this process runs other code, or the frozen code was changed.
    """
    code = run.plan().code
    if code is None:
        return
    running = Path(ptycho_dist.__file__).resolve().parent
    if running != (run.code / "ptycho_dist").resolve():
        raise RunError(
            f"environment.snapshot: this rank runs {running}, not the frozen code of the run; "
            f"start it by `python {run.code} ptycho_dist.rank {run.path}`, as "
            f"{run.script.name} does"
        )
    damage = damage_of_code(run, code.sha256)
    if damage is not None:
        raise RunError(
            f"environment.snapshot: {damage}; restore it, or continue with the installed code: "
            f"ptycho-launch resume {run.run_id} --set environment.snapshot=false"
        )
