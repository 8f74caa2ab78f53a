"""One attempt of a run on one rank, from the newest whole checkpoint to the end or to a stop."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from ptycho_dist.config.run import RunConfig
from ptycho_dist.runtime.staging import staged_data
from ptycho_dist.training.assembly import AssembledTraining, assemble
from ptycho_dist.training.final_reconstruction import write_final_reconstruction
from ptycho_dist.training.measuring import MeasuredEnough
from ptycho_dist.training.result import record_end
from ptycho_dist.training.resume_point import choose_checkpoint
from ptycho_dist.training.stopping import StoppedOnRequest
from ptycho_dist.training.task import TrainingTask

log = logging.getLogger(__name__)

Outcome = Literal["finished", "stopped"]


def train(task: TrainingTask) -> Outcome:
    """Train until the last epoch is done, enough is measured, or all ranks have agreed to stop.

    Raises:
        UserError: the data is not what the contract promises, every checkpoint is damaged, or the
            newest whole one was written by a world of another size.
        RunError: a node cannot hold the copies of the data, or a checkpoint without which the run
            cannot continue is not written.
        SupersededAttempt: a later attempt has taken the run over.
        LegacyError: the legacy globals are no longer those of the config, or differ between ranks.
    """
    with staged_data(task.run, task.config, task.rank) as node_config:
        task.rank.start_up.spent("staging")
        if node_config is None:
            # Asked to stop while the data was copied: there is nothing new to save.
            return _stop_before_training(task, choose_checkpoint(task))
        return _train(task, node_config)


def _train(task: TrainingTask, node_config: RunConfig) -> Outcome:
    """Train with the data files that `node_config` names."""
    began = time.monotonic()
    if task.rank.rank == 0:
        _log_monitor(task)
    training = assemble(task, node_config)
    checkpoint = choose_checkpoint(task)
    if checkpoint is not None:
        task.rank.ledger.append("resumed_from", **checkpoint)
        log.info("resumes from %(checkpoint)s of attempt %(of_attempt)s", checkpoint)
    if task.rank.agreement.any(task.rank.stop.requested):  # asked to stop while starting
        return _stop_before_training(task, checkpoint)
    try:
        _fit(task, training, checkpoint)
    except StoppedOnRequest as stopped:
        log.info("%s", stopped)
        return "stopped"
    scores: dict[str, Any] = {}
    if task.config.reconstruct and training.measuring.plan is None:
        data_file = node_config.data.train_data_file
        step = training.trainer.global_step
        try:
            scores = write_final_reconstruction(task, data_file, training.module, step)
        except StoppedOnRequest as stopped:
            task.rank.record_stop(stopped.step)
            return "stopped"
    task.require_same_globals("at the end")
    record_end(task, training, began, scores)
    return "finished"


def _log_monitor(task: TrainingTask) -> None:
    monitor = task.monitor
    asked_for_validation = task.config.execution.checkpoint_monitor_metric.endswith("val_loss")
    stands_in = ""
    if asked_for_validation and monitor.split == "train":
        stands_in = ", in place of the validation loss: there is no data.test_data_file"
    log.info("monitored value: %s (%s)%s", monitor.name, monitor.mode, stands_in)


def _stop_before_training(task: TrainingTask, checkpoint: dict[str, Any] | None) -> Outcome:
    task.rank.record_stop(checkpoint["step"] if checkpoint else 0)
    return "stopped"


def _fit(
    task: TrainingTask, training: AssembledTraining, checkpoint: dict[str, Any] | None
) -> None:
    """Run Lightning's loops from a checkpoint, or from the start.

    Raises:
        StoppedOnRequest: all ranks have agreed to stop.
    """
    path = None if checkpoint is None else task.run.checkpoints / checkpoint["checkpoint"]
    try:
        training.trainer.fit(
            training.module, datamodule=training.data, ckpt_path=path, weights_only=True
        )
    except MeasuredEnough as measured:
        log.info("%s", measured)
    finally:
        training.clock.end()
