"""One attempt of a run on one rank: from the newest whole checkpoint to the end, or to a stop."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import Any, Literal

import torch.distributed as dist

from ptycho_dist.checkpoint.catalog import best_whole, newest_whole, sweep
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.config.monitor import monitor_of
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.legacy import LegacyScope, require_same_on_all_ranks
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.runtime.lightning_cluster import JoinedCluster
from ptycho_dist.runtime.staging import staged_data
from ptycho_dist.training.callback import RunCallback, StoppedOnRequest
from ptycho_dist.training.commit import Committer
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.drill import DrillCallback
from ptycho_dist.training.epoch_pictures import ReconstructionLog
from ptycho_dist.training.final_reconstruction import reconstruct_at_end
from ptycho_dist.training.measuring import MeasurementHad, Measuring
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.trainer import build_module, build_trainer

log = logging.getLogger(__name__)


Outcome = Literal["finished", "stopped"]


def train(
    run: RunDirectory, config: RunConfig, world: World, rank: JoinedRank, scope: LegacyScope
) -> Outcome:
    """Train until the last epoch is done, what is to be measured is measured, or all ranks have
    agreed to stop.

    Raises:
        UserError: the data is not what the contract promises, every checkpoint is damaged, or the
            newest whole one is of another world.
        RunError: a node cannot hold the copies of the data, or a checkpoint without which the run
            cannot go on is not written.
        SupersededAttempt: a later attempt has taken the run over.
        LegacyError: the legacy globals are no longer those of the config, or of all ranks.
    """
    with staged_data(run, config, rank) as here:
        rank.start_up.spent("staging")
        if here is None:  # asked to stop meanwhile: nothing new to save
            checkpoint = _checkpoint_of_all(run, rank.joined.store, rank.rank, world.ranks)
            rank.say_stopped(checkpoint["step"] if checkpoint else 0)
            return "stopped"
        return _train(run, config, here, world, rank, scope)


def _train(
    run: RunDirectory,
    config: RunConfig,
    here: RunConfig,
    world: World,
    rank: JoinedRank,
    scope: LegacyScope,
) -> Outcome:
    """`here` names the data files as this node has them."""
    began = time.monotonic()
    agreement = rank.agreement
    require_same_globals = partial(_require_same_globals, scope, agreement)
    execution, monitor = config.execution, monitor_of(config)
    plan = run.plan()
    if rank.rank == 0:
        stands_in = ""
        if execution.checkpoint_monitor_metric.endswith("val_loss") and monitor.split == "train":
            stands_in = ", in place of the validation loss: there is no data.test_data_file"
        log.info("watched: %s (%s)%s", monitor.name, monitor.mode, stands_in)
    data = PtychoData(here, world, rank.rank, scope.worker_init)
    clock = StepClock(run, rank, world.threads_per_rank)
    measuring = Measuring(plan.measurement, monitor, rank.rank)
    callback = RunCallback(
        run,
        config,
        world,
        rank,
        monitor,
        Committer(run, rank, execution, require_same_globals),
        ReconstructionLog(run, here, data, rank),
        clock,
        measuring,
        may_resize=plan.resized,
    )
    drill = DrillCallback.of(plan, run, rank, data, callback.kept)
    trainer = build_trainer(
        config,
        world,
        rank.device,
        JoinedCluster(rank.environment, rank.joined.attempt),
        RunCheckpointIO(
            run,
            rank.joined.attempt,
            keep=execution.checkpoint_keep_last,
            save_top_k=execution.checkpoint_save_top_k,
            mode=execution.checkpoint_mode,
            keep_every_n_epochs=execution.checkpoint_keep_every_n_epochs,
        ),
        [callback] if drill is None else [drill, callback],
        run,
        clock,
        reload_loaders=plan.resized,
    )
    module = build_module(config, world, data)
    checkpoint = _checkpoint_of_all(run, rank.joined.store, rank.rank, world.ranks)
    if checkpoint is not None:
        rank.ledger.append("resumed_from", **checkpoint)
        log.info("resumes from %(checkpoint)s of attempt %(of_attempt)s", checkpoint)
    if agreement.any(rank.stop.requested):  # asked to stop while starting: nothing new to save
        rank.say_stopped(checkpoint["step"] if checkpoint else 0)
        return "stopped"
    try:
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=None if checkpoint is None else run.checkpoints / checkpoint["checkpoint"],
            weights_only=True,
        )
    except StoppedOnRequest as stopped:
        log.info("%s", stopped)
        return "stopped"
    except MeasurementHad as had:
        log.info("%s", had)
    finally:
        clock.end()
    pictured: dict[str, Any] = {}
    if config.reconstruct and measuring.plan is None:
        try:
            pictured = reconstruct_at_end(
                run, config, here.data.train_data_file, module, trainer.global_step, rank
            )
        except StoppedOnRequest as stopped:
            rank.say_stopped(stopped.step)
            return "stopped"
    require_same_globals("at the end")
    last_epoch = callback.rows[-1] if callback.rows else None  # none: measured within the first
    if rank.rank == 0:
        callback.write_rows()  # an attempt may have been killed before it could
        best = best_whole(run, monitor.mode)
        result: dict[str, Any] = {
            "format": 1,
            "attempt": rank.joined.attempt.number,
            "finished_at": time.time(),
            "seconds_in_last_attempt": round(time.monotonic() - began, 3),
            "steps": trainer.global_step,
            "last_epoch": last_epoch,
            "best": {
                "metric": monitor.name,
                "value": best.value if best else None,
                "checkpoint": best.path.name if best else None,
            },
            **measuring.to_json(trainer.global_step),
            **pictured,
        }
        write_json_atomic(run.result_json, result)
    rank.ledger.append("finished", step=trainer.global_step)
    rank.report.say(
        "finished",
        epoch=last_epoch["epoch"] if last_epoch else data.position.epoch,
        epochs=world.epochs,
        step=trainer.global_step,
        total_steps=trainer.global_step,
        loss=last_epoch["train_loss"] if last_epoch else callback.last_loss,
    )
    return "finished"


def _require_same_globals(scope: LegacyScope, agreement: Agreement, when: str) -> None:
    require_same_on_all_ranks(scope, agreement.texts, when)


def _checkpoint_of_all(
    run: RunDirectory, store: dist.Store, rank: int, ranks: int
) -> dict[str, Any] | None:
    """The checkpoint to resume from, chosen by rank 0, the same for all: its name, step and the
    attempt that committed it.

    A file system may show other ranks an older listing.
    """
    chosen: dict[str, Any] | None = None
    if rank == 0:
        sweep(run)
        found, reasons = newest_whole(run)
        for reason in reasons:
            log.warning("checkpoint passed over: %s", reason)
        if found is not None:
            manifest = found.manifest()
            chosen = {
                "checkpoint": found.path.name,
                "step": found.step,
                "of_attempt": manifest.get("attempt"),
                "passed_over": reasons,
            }
        store.set("checkpoint", json.dumps(chosen))
    if ranks > 1:
        chosen = json.loads(store.get("checkpoint"))
    return chosen
