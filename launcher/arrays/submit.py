"""ArrayPlan → a directory with a run directory per member, and its job arrays."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from launcher.arrays.alike import LikeTheLast
from launcher.arrays.grid import Part, split
from launcher.arrays.plan import ArrayPlan
from launcher.control.after import dependency_options
from launcher.control.code_state import OwnCode
from launcher.control.handover import Handover, UncertainSubmission
from launcher.control.submission import settle
from launcher.control.submit import ctrl_c_waits, hand_over, require_cluster
from launcher.planning.plan import LaunchPlan
from launcher.planning.script import JobArray, render
from launcher.slurm.jobs import Scheduler, max_array_size
from launcher.status.submission_record import job_count
from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import (
    FORMAT,
    ArrayDirectory,
    Indices,
    index_width,
    member_id,
)
from ptycho_dist.rundir.files import json_bytes
from ptycho_dist.rundir.frozen import write_code
from ptycho_dist.rundir.layout import (
    NEEDED_AT_ONCE,
    RunDirectory,
    absolute,
    building,
    fill_run,
    new_run_path,
)


@dataclass(frozen=True)
class ArraySubmission:
    """Job arrays that were handed over."""

    array: ArrayDirectory
    job_ids: list[str]
    cluster: str
    members: int
    """How many were submitted."""
    interrupted: bool
    """Ctrl-C was pressed meanwhile; the jobs are submitted all the same."""


def parts_for(cluster: str, indices: Sequence[int], members: int) -> list[Part]:
    """How the members will be split over job arrays; one process runs them without SLURM.

    Raises:
        UserError: this SLURM takes no job arrays.
    """
    if cluster == "local":
        return [Part(0, index_width(members), Indices.of(indices))]
    return split(indices, members, max_array_size())


def script_of(plan: LaunchPlan, array: ArrayDirectory, number: int, part: Part, members: int,
              throttle: int | None) -> str:  # fmt: skip
    """The batch script of one job array."""
    job = JobArray(
        array.stem(index_width(members), part.base, part.digits),
        part.digits,
        part.tasks if throttle is None else f"{part.tasks}%{throttle}",
        _name(array, number),
    )
    return render(plan, array.path, job)


def _name(array: ArrayDirectory, number: int) -> str:
    return f"{array.array_id}:{number:03d}"


def submit_array(
    plan: ArrayPlan,
    cluster: str,
    runs_root: Path,
    after: Sequence[RunDirectory | ArrayDirectory] = (),
) -> ArraySubmission:
    """Make all member directories, then submit them; where nothing is submitted nothing is left.

    Args:
        plan: of the array.
        cluster: `slurm` or `local`.
        runs_root: where the array's directory shall be.
        after: runs and arrays that must have finished before a member starts.

    Raises:
        UserError: the scheduler refuses the job, or the local cluster cannot hold it.
        ClusterUnreachable: SLURM does not answer.
    """
    require_cluster(cluster, plan.shared)
    waits_for = dependency_options(after, cluster)
    indices = range(len(plan.members))
    parts = parts_for(cluster, indices, len(plan.members))
    with ctrl_c_waits() as pressed:
        array = prepare_array(plan, runs_root)
        try:
            job_ids = hand_over_parts(
                array, parts, plan.shared, cluster, len(plan.members), plan.throttle,
                options=waits_for,
            )  # fmt: skip
        except UncertainSubmission:
            raise
        except BaseException:
            settle([array], Scheduler())
            if job_count(array) == 0:
                shutil.rmtree(array.path, ignore_errors=True)
            raise
    return ArraySubmission(array, job_ids, cluster, len(plan.members), bool(pressed))


def prepare_array(
    plan: ArrayPlan, runs_root: Path, records: Mapping[str, Any] | None = None
) -> ArrayDirectory:
    """Make the directory of an array with those of its members; nothing is submitted.

    The code is recorded, and copied where it is frozen, once: members link to it. Files are not
    made durable one by one, which takes milliseconds each, but all at once.

    Args:
        plan: of the array.
        runs_root: where its directory shall be.
        records: further JSON files beside array.json, by their names.

    Raises:
        UserError: the place cannot be written.
    """
    path = new_run_path(absolute(runs_root), plan.shared.name)
    array, width = ArrayDirectory(path), index_width(len(plan.members))
    fingerprint, code, encode = cache(data_fingerprint), OwnCode(), LikeTheLast()
    frozen = {"code": {"sha256": code.digest}} if plan.shared.snapshot else {}
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
            data = member.loaded.config.data
            files = {"train_data_file": data.train_data_file, "test_data_file": data.test_data_file}
            prints = {field: fingerprint(file) for field, file in files.items() if file is not None}
            directory = hidden / "members" / run_id
            directory.mkdir(mode=0o700)
            script = render(member.plan, array.path / "members" / run_id)
            record = {**member.plan.to_json(), "data": prints, **frozen}
            fill_run(
                directory,
                run_id,
                member.loaded,
                record,
                script,
                Path.write_bytes,
                encode,
                NEEDED_AT_ONCE,
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


def _make_durable(directory: Path) -> None:
    """Everything that was written on this file system, in one call (Linux)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None).syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


def hand_over_parts(
    array: ArrayDirectory,
    parts: Sequence[Part],
    plan: LaunchPlan,
    cluster: str,
    members: int,
    throttle: int | None,
    known_jobs: int = 0,
    options: Sequence[str] = (),
) -> list[str]:
    """Submit job array after job array; returns their ids.

    Args:
        array: its directory.
        parts: the job arrays.
        plan: that all members share, as far as the script goes.
        cluster: `slurm` or `local`.
        members: how many the array has.
        throttle: how many of a job array may run at once; None: as many as SLURM starts.
        known_jobs: how many job arrays there were when it was decided to submit.
        options: of sbatch, beside those in the script.

    Raises:
        UserError: one is refused; those before it stay submitted, and the message says so.
    """
    job_ids: list[str] = []
    for number, part in enumerate(parts, known_jobs):
        script, text = array.script(number), script_of(plan, array, number, part, members, throttle)
        start = [str(array.code)] if plan.snapshot and array.code.is_dir() else ["-m"]
        module = ["ptycho_dist.runtime.local_array", str(array.path), str(part.indices)]
        job = Handover(
            directory=array.path,
            script=script,
            text=text,
            program=(sys.executable, "-u", *start, *module),
            log=array.logs / "batch-local.log",
            options=tuple(options),
        )
        what: dict[str, Any] = {"base": part.base, "indices": str(part.indices)}
        what["comment"] = _name(array, number)
        try:
            job_ids.append(hand_over(array, job, cluster, what, number))
        except UncertainSubmission as error:
            raise UncertainSubmission(
                f"{error}; the job may be queued all the same: ptycho-launch status "
                f"{array.array_id} finds it or says that there is none"
            ) from None
        except UserError as error:
            if not job_ids:
                raise
            done = Indices.of([index for each in parts[: len(job_ids)] for index in each.indices])
            raise type(error)(
                f"{error}; members {done} of {array.array_id} are submitted, the others are not: "
                f"`ptycho-launch resume {array.array_id}` submits them"
            ) from None
    return job_ids
