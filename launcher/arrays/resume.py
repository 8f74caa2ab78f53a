"""Resumes the members of an array that have not finished."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from launcher.arrays.handover import ArraySubmission, submit_again
from launcher.arrays.submit import jobs_of_array, parts_for
from launcher.control.changes import Changes
from launcher.control.code_state import OwnCode
from launcher.control.resume import Ready, make_ready
from launcher.control.submission import settle
from launcher.control.submit import choose_cluster, require_cluster
from launcher.planning.script import render
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import MemberStatus, array_status
from launcher.status.submission_record import job_count
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LAUNCHER, read_ledger


def resume_array(array: ArrayDirectory, cluster: str | None, changes: Changes) -> ArraySubmission:
    """Submit the members that are over without having finished, as new job arrays.

    Members that have finished, are alive, or were cancelled by name stay as they are.

    Args:
        array: its directory.
        cluster: `slurm` or `local`; None: the same as before.
        changes: made to each of the members, as to a single run.

    Raises:
        UserError: there is no such member, one cannot be resumed, or they no longer share one
            script.
        ConfigError: the changed config is not valid.
    """
    scheduler = Scheduler(every_s=60)  # one answer for all members serves the whole command
    settle([array], scheduler)
    known_jobs = job_count(array)
    found = array_status(array, scheduler)
    chosen = [each for each in found.members if _resumes(each)]
    if not chosen:
        named = sum(_cancelled_by_name(each) for each in found.members)
        hint = "; members that were cancelled by name are resumed one by one" if named else ""
        raise UserError(f"{array.array_id} has nothing to resume ({found.summary}){hint}")
    code = OwnCode()
    ready = [make_ready(each.member.run, each.status, changes, code) for each in chosen]
    lead = max(each.plan.signal_lead_s for each in ready)
    ready = [replace(each, plan=replace(each.plan, signal_lead_s=lead)) for each in ready]
    _require_one_script(ready)
    plan = ready[0].plan
    cluster = cluster or (found.jobs[-1]["cluster"] if found.jobs else choose_cluster(None))
    require_cluster(cluster, plan)
    members = len(found.members)
    jobs = partial(
        jobs_of_array,
        parts=parts_for(cluster, [each.member.index for each in chosen], members),
        plan=plan,
        cluster=cluster,
        members=members,
        throttle=_throttle(array),
        known_jobs=known_jobs,
    )
    return submit_again(array, ready, cluster, jobs)


def _resumes(each: MemberStatus) -> bool:
    """Whether resuming the array resumes this member."""
    if each.status.state == "finished" or not (each.status.over or each.status.state == "prepared"):
        return False
    return not _cancelled_by_name(each)


def _cancelled_by_name(each: MemberStatus) -> bool:
    """Whether a person cancelled this member and not the array as a whole."""
    return each.status.state == "cancelled" and not _with_the_whole(each.member.run)


def _with_the_whole(run: RunDirectory) -> bool:
    """Whether the last `cancel` of the member was one of the whole array."""
    events = [
        event for event in read_ledger(run, writer=LAUNCHER) if event["event"] == "cancel_requested"
    ]
    return bool(events) and bool(events[-1].get("whole_array"))


def _require_one_script(ready: list[Ready]) -> None:
    """Check that all need the same batch script, since a job array has only one."""
    place = Path("/member")  # the same for all, so that paths make no difference
    wanted = render(ready[0].plan, place)
    for each in ready:
        if render(each.plan, place) != wanted:
            raise UserError(
                f"{each.run.run_id} needs another batch script than {ready[0].run.run_id}: it was "
                "resumed with other resources; resume it by itself"
            )


def _throttle(array: ArrayDirectory) -> int | None:
    """How many members may run at once, as asked when the array was submitted."""
    throttle = read_json(array.array_json).get("throttle")
    return throttle if type(throttle) is int and throttle > 0 else None
