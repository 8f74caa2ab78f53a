"""Resuming a run: check that it may continue, plan it anew, and submit it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.control.changes import Changes, changed_config, record_changes
from launcher.control.code_state import OwnCode
from launcher.control.lanes import options_of_member
from launcher.control.submission import settle
from launcher.control.submit import Submission, choose_cluster, require_cluster, submit_prepared
from launcher.planning.load import plan_config
from launcher.planning.plan import LaunchPlan
from launcher.planning.script import render
from launcher.sites.profile import PlannedSite, decode_planned_site, planned_site
from launcher.sites.profiles import read_site
from launcher.slurm.jobs import Scheduler
from launcher.status.run_status import RunStatus, status_of
from launcher.status.submission_record import job_count
from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.config.load import LoadedConfig, ReadConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.data.planned import require_planned_data
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_bytes_atomic
from ptycho_dist.rundir.frozen import replace_code
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.longest_times import measured_times
from ptycho_dist.rundir.run_plan import FrozenCode, RunPlan


@dataclass(frozen=True)
class Ready:
    """A run that may be resumed, checked and planned anew; nothing is written yet."""

    run: RunDirectory
    loaded: LoadedConfig
    """Its config from here on."""
    plan: LaunchPlan
    """Its new plan."""
    old_plan: RunPlan
    """The plan so far, as plan.json has it."""
    changed: dict[str, str]
    """Changed field → old and new value, in words."""
    code: OwnCode
    """The installed code."""

    def write(self) -> None:
        """Write config, plan, script and the state of the code into the run directory.

        Raises:
            UserError: a file cannot be written.
        """
        plan = replace(
            self.plan.run_plan(),
            data=self.old_plan.data,
            code=self._frozen_code(),
            resized=self.old_plan.resized or _size(self.plan.world) != _size(self.old_plan.world),
        )
        # A kill between the two leaves an older plan with a newer config. The next resume makes
        # that good, and ranks refuse it where it matters (their world differs).
        record_changes(self.run, self.loaded, self.changed)
        if plan.to_json() != self.old_plan.to_json():
            self.run.write_plan(plan)
        write_bytes_atomic(self.run.script, render(self.plan, self.run.path).encode())
        try:
            self.code.record(self.run)
        except OSError as error:
            raise UserError(f"{self.run.code_json}: cannot be written: {error.strerror}") from None

    def _frozen_code(self) -> FrozenCode | None:
        """The frozen code from here on.

        A run that has a copy keeps it; a run that is frozen from now on gets a copy of the
        installed code.
        """
        if not self.plan.snapshot:
            return None
        if self.old_plan.code is not None:
            return self.old_plan.code
        replace_code(self.run, self.code.files)
        return FrozenCode(self.code.digest)


def resume(run: RunDirectory, cluster: str | None, changes: Changes) -> Submission:
    """Submit an existing run again; the ranks continue from its newest complete checkpoint.

    The plan is made anew from the run's own config and the times measured so far.

    Args:
        run: its directory.
        cluster: `slurm` or `local`; None: the cluster of its last job.
        changes: what the user wants to change.

    Raises:
        UserError: the run has finished or is still alive, or no checkpoint is complete.
        ConfigError: the changed config is faulty, or a field changed that must not change.
    """
    scheduler = Scheduler()
    settle([run], scheduler)
    known_jobs = job_count(run)
    status = status_of(run, scheduler)
    ready = make_ready(run, status, changes, OwnCode())
    cluster = cluster or status.cluster or choose_cluster(None)
    require_cluster(cluster, ready.plan)
    ready.write()
    return submit_prepared(run, cluster, known_jobs, options_of_member(run, cluster))


def make_ready(run: RunDirectory, status: RunStatus, changes: Changes, code: OwnCode) -> Ready:
    """Check that a run may be resumed with these changes, and plan it anew.

    Args:
        run: its directory.
        status: its current state.
        changes: what the user wants to change.
        code: the installed code.

    Raises:
        UserError, ConfigError: as `resume`.
    """
    if status.state == "finished":
        raise UserError(f"{run.run_id} has finished; there is nothing to resume")
    moved_away = changes.moved and status.state == "unknown"  # its scheduler is elsewhere
    if not status.over and status.state != "prepared" and not moved_away:
        raise UserError(
            f"{run.run_id} is {status.state} ({status.cause}); only a run that is over is resumed"
        )
    if not run.script.exists():
        raise UserError(
            f"{run.run_id} was started by ptycho-train; resume it with "
            f"`ptycho-train --resume --output_dir {run.path}`"
        )
    own_place = f"run_dir={shlex.quote(str(run.path))}\n"
    if own_place not in run.script.read_text("utf-8") and not changes.moved:
        raise UserError(
            f"{run.script} names another run directory, so this one was copied or moved; move it "
            "back, or use `resume --moved` if nothing runs at the old place any more"
        )
    config = run.config()
    loaded, changed = changed_config(run, config, changes)
    require_planned_data(run, loaded.config)
    newest_whole(run)
    old_plan = run.plan()
    plan = _plan_anew(run, loaded, old_plan, changes)
    if plan.snapshot and old_plan.code is not None:
        damage = code.damage(run, old_plan.code.sha256)
        if damage is not None:
            raise UserError(
                f"environment.snapshot: {damage}; restore it, or continue with the installed code: "
                "--set environment.snapshot=false"
            )
    return Ready(run, loaded, plan, old_plan, changed, code)


def _size(world: World) -> tuple[int, int]:
    return world.ranks, world.threads_per_rank


def _site_from_here(
    run: RunDirectory, config: RunConfig, old_plan: RunPlan, changes: Changes
) -> PlannedSite | None:
    """The limits and rules of the site: those of the old plan, unless `--set site` names a profile.

    The profile's defaults are not applied: every field of the run already has a value.
    """
    if config.site is not None and changes.set_site():
        return planned_site(config.site, read_site(config.site).profile)
    if config.site is None or old_plan.site is None:
        return None
    return decode_planned_site(old_plan.site, str(run.plan_json))


def _plan_anew(
    run: RunDirectory, loaded: LoadedConfig, old_plan: RunPlan, changes: Changes
) -> LaunchPlan:
    site = _site_from_here(run, loaded.config, old_plan, changes)
    _, plan = plan_config(ReadConfig.of(loaded), site, measured_times(run))
    if not changes.moved and loaded.config.environment.venv is None and old_plan.python is not None:
        plan = replace(plan, python=Path(old_plan.python))
    return replace(plan, drill=old_plan.drill, measurement=old_plan.measurement)
