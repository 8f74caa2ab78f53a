"""Makes the directory of an array, with a run directory for each member."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from launcher.arrays.plan import ArrayPlan
from launcher.control.code_state import OwnCode
from launcher.planning.script import render
from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.data.planned import planned_fingerprints
from ptycho_dist.rundir.array import FORMAT, ArrayDirectory, index_width, member_id
from ptycho_dist.rundir.files import json_bytes
from ptycho_dist.rundir.frozen import write_code
from ptycho_dist.rundir.listing import absolute
from ptycho_dist.rundir.making import NEEDED_AT_ONCE, building, fill_run, new_run_path
from ptycho_dist.rundir.run_plan import FrozenCode


def prepare_array(
    plan: ArrayPlan, runs_root: Path, records: Mapping[str, Any] | None = None
) -> ArrayDirectory:
    """Make the directory of an array with those of its members; nothing is submitted.

    The code is recorded, and copied where it is frozen, once: members link to it. The files are
    made durable all together, since one by one takes milliseconds each.

    Args:
        plan: of the array.
        runs_root: the directory that receives it.
        records: further JSON files beside array.json, by their names.

    Raises:
        UserError: the directory cannot be written.
    """
    path = new_run_path(absolute(runs_root), plan.shared.name)
    array, width = ArrayDirectory(path), index_width(len(plan.members))
    fingerprint, code = cache(data_fingerprint), OwnCode()
    frozen = FrozenCode(code.digest) if plan.shared.snapshot else None
    listed = []
    with building(path) as hidden:
        (hidden / "members").mkdir(mode=0o700)
        (hidden / "logs").mkdir(mode=0o700)
        code.record(ArrayDirectory(hidden))
        if plan.shared.snapshot:
            write_code(hidden / "code", code.files)
        shared = [entry.name for entry in hidden.iterdir() if entry.name.startswith("code")]
        for index, member in enumerate(plan.members):
            run_id = member_id(array.array_id, index, width)
            listed.append({"index": index, "run_id": run_id, "values": member.values})
            prints = planned_fingerprints(member.loaded.config, fingerprint)
            directory = hidden / "members" / run_id
            directory.mkdir(mode=0o700)
            fill_run(
                directory,
                run_id,
                member.loaded,
                replace(member.plan.run_plan(), data=prints, code=frozen),
                render(member.plan, array.path / "members" / run_id),
                write=Path.write_bytes,
                encode=_on_one_line,
                subdirectories=NEEDED_AT_ONCE,
            )
            for name in shared:
                (directory / name).symlink_to(Path("../..") / name)
        record = {
            "format": FORMAT,
            "array_id": array.array_id,
            "created_at": time.time(),
            "axes": plan.axes,
            "throttle": plan.throttle,
            "members": listed,
        }
        for name, content in {**(records or {}), "array.json": record}.items():
            (hidden / name).write_bytes(json_bytes(content))
        _make_durable(hidden)
    return array


def _on_one_line(data: Any) -> bytes:
    """JSON without indentation, which Python writes in C: thousands of records are written here."""
    return (json.dumps(data, allow_nan=False) + "\n").encode()


def _make_durable(directory: Path) -> None:
    """Make everything that was written on this file system durable, in one call (Linux)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None).syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)
