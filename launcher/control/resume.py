"""Going on with a run: what may change meanwhile, and what would make another run of it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.load import (
    LoadedConfig,
    ReadConfig,
    config_digest,
    config_values,
    decode_run_config,
    run_config_to_json,
)
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.config.yaml_text import parse_yaml
from ptycho_dist.data.planned import require_planned_data
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json, write_bytes_atomic, write_json_atomic
from ptycho_dist.rundir.frozen import replace_code
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.longest_times import measured_times
from ptycho_dist.rundir.run_plan import FrozenCode, RunPlan

MAY_CHANGE = (
    "site",
    "data.train_data_file",  # where the same contents lie now
    "data.test_data_file",
    "data.stage_to",
    "execution.num_workers",
    "execution.pin_memory",
    "execution.persistent_workers",
    "execution.prefetch_factor",
    "execution.enable_progress_bar",
    "execution.enable_checkpointing",
    "execution.checkpoint_every_n_steps",
    "execution.checkpoint_every_s",
    "execution.checkpoint_keep_last",
    "execution.checkpoint_keep_every_n_epochs",
    "execution.checkpoint_save_top_k",
    "execution.logger_backend",
    "execution.inference_batch_size",
    "execution.join_timeout_s",
    "execution.collective_timeout_s",
    "resources.mem_per_node",
    "resources.time",
    "resources.partition",
    "resources.account",
    "resources.qos",
    "resources.constraint",
    "resources.gpu_type",
    "resources.exclusive",
    "resources.reservation",
    "resources.mail_type",
    "resources.mail_user",
    "resources.sbatch_options",
    "resources.sbatch_options.",
    "requeue.",
    "environment.",
    "reconstruct",
)
"""Fields, and sections with a dot at their end, that leave the weights as they are."""
MAY_CHANGE_WITH_WORLD = (
    "resources.nodes",
    "resources.tasks_per_node",
    "resources.gpus_per_node",
    "resources.cpus_per_task",
    "execution.devices",
    "execution.num_nodes",
)
"""The same, where another world size is allowed: each sample still once, but not the same bits."""


@dataclass(frozen=True)
class Changes:
    """What a person wants to be different from here on."""

    overrides: Sequence[str] = ()
    """`section.field=value`, as `--set` takes it."""
    allow_resize: bool = False
    moved: bool = False
    """The run directory was moved here, from another place or site."""


@dataclass(frozen=True)
class Ready:
    """A run that may go on, checked and planned anew; nothing of it is written yet."""

    run: RunDirectory
    loaded: LoadedConfig
    plan: LaunchPlan
    old_plan: RunPlan
    changed: dict[str, str]
    code: OwnCode

    def write(self) -> None:
        """Put config, plan, script and the state of the code into the run directory.

        Raises:
            UserError: it cannot be written.
        """
        plan = replace(
            self.plan.run_plan(),
            data=self.old_plan.data,
            code=self._frozen_code(),
            resized=self.old_plan.resized or _size(self.plan.world) != _size(self.old_plan.world),
        )
        # A kill between the two leaves an older plan with a newer config. The next resume makes
        # that good, and ranks refuse it where it matters (their world differs).
        _record_changes(self.run, self.loaded, self.changed)
        if plan.to_json() != self.old_plan.to_json():
            self.run.write_plan(plan)
        write_bytes_atomic(self.run.script, render(self.plan, self.run.path).encode())
        try:
            self.code.record(self.run)
        except OSError as error:
            raise UserError(f"{self.run.code_json}: cannot be written: {error.strerror}") from None

    def _frozen_code(self) -> FrozenCode | None:
        """The frozen code from here on: a run that has a copy keeps it; one that is frozen from now
        on gets a copy of the installed code."""
        if not self.plan.snapshot:
            return None
        if self.old_plan.code is not None:
            return self.old_plan.code
        replace_code(self.run, self.code.files)
        return FrozenCode(self.code.digest)


def resume(run: RunDirectory, cluster: str | None, changes: Changes) -> Submission:
    """Submit an existing run again; the ranks go on from its newest whole checkpoint.

    The plan is made anew from the run's own config, with what was measured meanwhile.

    Raises:
        UserError: the run has finished or is still alive, something changed that may not, or no
            checkpoint is whole.
        ConfigError: the changed config is no sound one.
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
    """Check that a run may go on with these changes, and plan it anew.

    Args:
        run: its directory.
        status: what it is doing.
        changes: what is to be different.
        code: that is here now.

    Raises:
        UserError, ConfigError: as `resume`.
    """
    if status.state == "finished":
        raise UserError(f"{run.run_id} has finished; there is nothing to resume")
    moved_away = changes.moved and status.state == "unknown"  # nobody here can ask about it
    if not status.over and status.state != "prepared" and not moved_away:
        raise UserError(
            f"{run.run_id} is {status.state} ({status.cause}); only a run that is over is resumed"
        )
    if not run.script.exists():
        raise UserError(
            f"{run.run_id} was started by ptycho-train; go on with "
            f"`ptycho-train --resume --output_dir {run.path}`"
        )
    own_place = f"run_dir={shlex.quote(str(run.path))}\n"
    if own_place not in run.script.read_text("utf-8") and not changes.moved:
        raise UserError(
            f"{run.script} names another run directory: this one was copied or moved; move it "
            "back, or say `resume --moved` when nothing runs there any more"
        )
    config = run.config()
    loaded, changed = _with_overrides(run, config, changes)
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


def _with_overrides(
    run: RunDirectory, config: RunConfig, changes: Changes
) -> tuple[LoadedConfig, dict[str, str]]:
    """The config from here on, and what of it has changed, in words."""
    record = read_json(run.run_json)
    data, origins = run_config_to_json(config), dict(record.get("origins", {}))
    for text in changes.overrides:
        path, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: section.field=value is expected")
        _put(data, path.strip(), parse_yaml(value, f"--set {path}"))
        origins[path.strip()] = "resume --set"
    new = decode_run_config(data, f"{run.run_id} with --set")
    if changes.overrides:
        new = _absolute_files(new)
    before, after = config_values(config), config_values(new)
    changed = {
        path: f"{before.get(path)} → {after.get(path)}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }
    allowed = MAY_CHANGE + (MAY_CHANGE_WITH_WORLD if changes.allow_resize else ())
    faults = [
        Fault(path, f"{words}: {_why_not(path)}")
        for path, words in changed.items()
        if not any(path == name or (name[-1] == "." and path.startswith(name)) for name in allowed)
    ]
    if faults:
        raise ConfigError(run.run_id, faults)
    source = str(run.run_json)
    return LoadedConfig(config=new, text="", source=source, origins=origins), changed


def _why_not(path: str) -> str:
    if path in MAY_CHANGE_WITH_WORLD:
        return (
            "another world size or number of threads gives other bits; allow it with "
            "--allow-resize (each sample is still used once)"
        )
    return "it would be another training; submit a new run"


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    place: Any = data
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise UserError(f"--set {path}: no such section")
    place[name] = value


def _absolute_files(config: RunConfig) -> RunConfig:
    """Paths that a person gives are seen from where that person is."""
    data = run_config_to_json(config)
    for field in ("train_data_file", "test_data_file"):
        if data["data"][field] is not None:
            data["data"][field] = os.path.abspath(data["data"][field])  # noqa: PTH100
    return decode_run_config(data, "resume --set")


def _site_from_here(
    run: RunDirectory, config: RunConfig, old_plan: RunPlan, overrides: Sequence[str]
) -> PlannedSite | None:
    """The rules that the run was submitted with; those of a profile only where `--set site` asks.

    Its defaults do not come in: each field of the run already has its value.
    """
    if config.site is not None and any(
        text.partition("=")[0].strip() == "site" for text in overrides
    ):
        return planned_site(config.site, read_site(config.site).profile)
    if config.site is None or old_plan.site is None:
        return None
    return decode_planned_site(old_plan.site, str(run.plan_json))


def _plan_anew(
    run: RunDirectory, loaded: LoadedConfig, old_plan: RunPlan, changes: Changes
) -> LaunchPlan:
    site = _site_from_here(run, loaded.config, old_plan, changes.overrides)
    _, plan = plan_config(ReadConfig.of(loaded), site, measured_times(run))
    if not changes.moved and loaded.config.environment.venv is None and old_plan.python is not None:
        plan = replace(plan, python=Path(old_plan.python))
    return replace(plan, drill=old_plan.drill, measurement=old_plan.measurement)


def _record_changes(run: RunDirectory, loaded: LoadedConfig, changed: dict[str, str]) -> None:
    """Put the changed config into run.json, with a revision that says what changed and when."""
    if not changed:
        return
    record = read_json(run.run_json)
    revisions = [*record.get("revisions", []), {"at": time.time(), "changes": changed}]
    record |= {
        "config": run_config_to_json(loaded.config),
        "config_sha256": config_digest(loaded.config),
        "origins": dict(loaded.origins),
        "revisions": revisions,
    }
    write_json_atomic(run.run_json, record)
