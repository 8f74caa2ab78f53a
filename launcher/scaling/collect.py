"""Collects the measurements of a study from the directories of its runs.

The directories are untrusted: a run whose records are damaged becomes a missing point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from launcher.run_report.events import read_events
from launcher.run_report.left_out import LeftOut
from launcher.scaling.analysis.results import Collected, Measurement, Missing
from launcher.scaling.study.definition import Point, Study
from launcher.scaling.study.study_json import lanes_of, read_study
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import MemberStatus, array_status
from launcher.status.submission_record import recorded_jobs
from launcher.text.plain_text import plain
from launcher.timing.attribution import attribute
from launcher.timing.goodput import (
    AttemptTimes,
    credible_lineage,
    goodput,
    last_sign_of_life,
)
from launcher.timing.start_up import Occupied, queue_s, start_up_s
from ptycho_dist.attempts.record import AttemptRecord, read_attempts
from ptycho_dist.errors import UserError
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.checked_json import moment, number, read_object
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.step_times import RankTimes, read_step_times

ENOUGH = 0.5
"""Fraction of the requested steps or seconds that the last attempt must have measured."""


class NothingMeasured(Exception):
    """A run has no valid measurement; the message says why."""


def collect(directory: ArrayDirectory, scheduler: Scheduler | None = None) -> Collected:
    """Collect the measurements of all runs of a study.

    Args:
        directory: the directory of the study.
        scheduler: the scheduler to ask about jobs that are not over; None: SLURM.

    Raises:
        UserError: study.json or array.json is damaged.
    """
    study = read_study(directory)
    members = array_status(directory, scheduler or Scheduler(every_s=60)).members
    if len(members) != len(study.points):
        raise UserError(
            f"{directory.study_json}: {len(study.points)} points, but array.json has "
            f"{len(members)} members; damaged"
        )
    attempts = [_attempts(member) for member in members]
    occupied = [
        Occupied(index, attempt.started_at, attempt.end.ended_at)
        for index, of_point in enumerate(attempts)
        for attempt in of_point
        if attempt.end is not None
    ]
    lanes = lanes_of(directory)
    measured, missing = [], []
    for point, member, own in zip(study.points, members, attempts, strict=True):
        run, status = member.member.run, member.status
        try:
            measured.append(_measured(study, point, member, own, occupied, lanes))
        except (NothingMeasured, UserError) as error:
            why = plain(str(error))
            missing.append(Missing(point, run.run_id, status.state, why))
    return Collected(study, tuple(measured), tuple(missing))


def _attempts(member: MemberStatus) -> list[AttemptRecord]:
    run = member.member.run
    try:
        return read_attempts(run)
    except UserError:
        return []


def _measured(
    study: Study,
    point: Point,
    member: MemberStatus,
    attempts: Sequence[AttemptRecord],
    occupied: Sequence[Occupied],
    lanes: int,
) -> Measurement:
    run, status = member.member.run, member.status
    if status.state != "finished":
        raise NothingMeasured(status.cause)
    if not attempts:
        raise NothingMeasured("no attempt can be read")
    times = {each.number: read_step_times(run, each.number) for each in attempts}
    last, own = attempts[-1], times[attempts[-1].number]
    warm_up = study.measurement.warm_up_steps
    attribution = attribute(own, skip_steps=warm_up, ranks=point.ranks)
    if len(own) != point.ranks:
        raise NothingMeasured(
            f"attempt {last.number} has the step times of {len(own)} of {point.ranks} ranks only"
        )
    if attribution is None:
        raise NothingMeasured(
            f"attempt {last.number} has no step after the {warm_up} of warm-up that all ranks wrote"
        )
    asked = {"steps": attribution.steps, "seconds": attribution.wall_s}.get(study.measurement.until)
    if asked is not None and asked < ENOUGH * study.measurement.value:
        raise NothingMeasured(
            f"attempt {last.number} measured only {asked:.4g} of {study.measurement.value:g} "
            f"{study.measurement.until} because it was interrupted"
        )
    timed = [
        AttemptTimes(
            each.number,
            each.started_at,
            _ended_at(run, each, times[each.number]),
            list(times[each.number].values()),
        )
        for each in attempts
    ]
    submitted = [job.submitted_at for job in recorded_jobs(run)]
    ranks = list(own.values())
    # Nodes may share one operating system: its cores count once.
    cores_of = {each.machine or each.node: each.cores for each in ranks}
    return Measurement(
        point=point,
        run_id=run.run_id,
        started_at=last.started_at,
        attribution=attribution,
        start_up_s={
            "queue": queue_s(last.started_at, point.index, submitted, occupied, lanes),
            **start_up_s(last.started_at, ranks),
        },
        job_s=max(0.0, (timed[-1].ended_at or 0.0) - attempts[0].started_at),
        goodput=_goodput(run, timed),
        attempts=len(attempts),
        time_to_solution_s=_time_to_solution(study, run, attempts[0].started_at),
        loss=number(status.progress, "loss"),
        host_peak_bytes=_largest(each.host_peak_bytes for each in ranks),
        device_peak_bytes=_largest(each.device_peak_bytes for each in ranks),
        gpu_utilisation=_mean(each.gpu_utilisation for each in ranks),
        machines=len(cores_of),
        cores=sum(cores_of.values()),
        threads=sum(each.threads for each in ranks),
        device=", ".join(sorted({plain(each.device) for each in ranks})),
        nodes=tuple(map(plain, last.nodes)),
    )


def _ended_at(
    run: RunDirectory, attempt: AttemptRecord, times: Mapping[int, RankTimes]
) -> float | None:
    """When an attempt ended; one whose batch script was killed ended with its last sign of life."""
    if attempt.end is not None:
        return attempt.end.ended_at
    events = read_events(run, LeftOut()).of_attempt(attempt.number)
    return last_sign_of_life(attempt.started_at, list(times.values()), events)


def _goodput(run: RunDirectory, attempts: Sequence[AttemptTimes]) -> float:
    try:
        lineage = verify(run).lineage
    except UserError:
        lineage = None
    found = goodput(attempts, credible_lineage(lineage, attempts, finished=True))
    return 0.0 if found is None else found.of_attempts


def _time_to_solution(study: Study, run: RunDirectory, began: float) -> float | None:
    """Seconds from the first start to the target loss; None: there was no target, or it was missed.

    Data staging and restarts are included (the rule of MLPerf HPC).
    """
    if study.measurement.until != "target_loss":
        return None
    try:
        found = read_object(str(run.result_json)).get("measured")
    except (UserError, FileNotFoundError):
        return None
    if not isinstance(found, dict) or found.get("reached") is not True:
        return None
    reached_at = moment(found, "reached_at")
    return None if reached_at is None or reached_at < began else reached_at - began


def _largest(values: Iterable[int | None]) -> int | None:
    return max((each for each in values if each is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return fmean(known) if known else None
