"""The frozen code of a run: a copy in its directory, which ranks and batch script run.

`python RUN_DIR/code MODULE ...` stands in the place of `python -m MODULE ...`. A directory that
is run comes first in `sys.path`, before the working directory and PYTHONPATH, both of which may
hold an edited checkout, and before what is installed, in whatever way.
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
"""Of all files; the code has less than one."""
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
    """Path within the copy -> content, of all that the packages consist of: sources and data.

    Args:
        packages: name -> the directory from which it was imported.

    Raises:
        UserError: a package is no directory, cannot be read, or holds far more than code.
    """
    files, total = {START: START_TEXT}, 0
    for name, folder in packages.items():
        if not folder.is_dir():
            raise UserError(f"{folder}: the package {name} is no directory and cannot be copied")
        for path in _package_files(folder):
            try:
                total += path.stat().st_size
                if total > MAX_BYTES:
                    raise UserError(
                        f"{folder}: holds more than {MAX_BYTES // 2**20} MiB ({path}); "
                        "move away what is no code"
                    )
                files[f"{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be copied: {error.strerror}") from None
    return files


def _package_files(folder: Path) -> list[Path]:
    """Without what Python or an editor has left beside the sources.

    The folders that a checkout links to (site profiles, examples) are files of the package, as
    they are when it is installed.
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
    """SHA-256 over the names and contents of such files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def write_code(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a copy, its files read-only; `place` must not exist. Raises OSError."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(path.stat().st_mode & 0o444)


def replace_code(run: RunDirectory, files: Mapping[str, bytes]) -> None:
    """Put a copy in the place of an older one, or of none; nothing may be running.

    Raises:
        UserError: the run directory cannot be written; the older copy may be gone.
    """
    new = run.path / f".code.{secrets.token_hex(4)}.tmp"
    try:
        write_code(new, files)
        if run.code.is_symlink():  # of a member: the copy is its array's
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
    """What is wrong with the copy of a run; None: it is whole."""
    if not run.code.is_dir():
        return f"{run.code}: the frozen code is not there"
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
    """Check, on a rank, that the code of a frozen run is its copy, and the copy whole.

    Raises:
        RunError: this process runs other code, or the copy was changed.
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
            f"environment.snapshot: {damage}; restore it, or go on with the installed code: "
            f"ptycho-launch resume {run.run_id} --set environment.snapshot=false"
        )
