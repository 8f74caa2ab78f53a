"""Makes a run directory: private, and either complete or absent."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.plain_data import json_digest, run_config_to_json
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import fsync_directory, json_bytes, write_bytes_atomic
from ptycho_dist.rundir.layout import FORMAT, SUBDIRECTORIES, RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan

NEEDED_AT_ONCE = ("checkpoints", "ledger", "logs")
"""Folders that a run needs before its first attempt.

A missing folder of checkpoints counts as damage, `cancel` writes into the ledger, and SLURM opens
a log.
"""


def new_run_path(root: Path, name: str) -> Path:
    """Return a path under `root` for a new run, unique by date, time and two random bytes."""
    return root / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def prepare_run(
    path: Path,
    loaded: LoadedConfig,
    plan: RunPlan,
    script: str | None,
    add: Callable[[RunDirectory], None] = lambda run: None,
) -> RunDirectory:
    """Make a private run directory (mode 0700), completely or not at all.

    It is built under a hidden name beside `path` and renamed when it is complete.

    Args:
        path: its absolute path, at which nothing may exist.
        loaded: the checked config with its text and origins.
        plan: the content of plan.json.
        script: the batch script; None: there is none.
        add: writes further files before the directory appears under its name.

    Raises:
        UserError: the directory cannot be written, or exists already.
    """
    with building(path) as hidden:
        fill_run(hidden, path.name, loaded, plan, script, write_bytes_atomic)
        add(RunDirectory(hidden))
    return RunDirectory(path)


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """Yield a hidden, private directory beside `path`; at the end it is renamed to `path`.

    Raises:
        UserError: the directory cannot be written, or `path` exists and is not empty.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir(mode=0o700)
        yield hidden
        if path.exists() and any(path.iterdir()):
            raise UserError(f"{path}: exists and is not empty; choose another directory")
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
    """Write the first files of a run into a directory that is still hidden.

    Args:
        directory: the hidden directory, empty.
        run_id: the name that the directory will get.
        loaded: the checked config with its text and origins.
        plan: the content of plan.json.
        script: the batch script; None: there is none.
        write: writes one file.
        encode: encodes a record as JSON; None: `json_bytes`.
        subdirectories: folders to make now; the others are made when an attempt begins.
    """
    for name in subdirectories:
        (directory / name).mkdir(mode=0o700)
    run, encode = RunDirectory(directory), encode or json_bytes
    config = run_config_to_json(loaded.config)
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
