"""The end of a run that has finished: result.json, ledger and heartbeat."""

from __future__ import annotations

import time
from typing import Any

from ptycho_dist.checkpoint.catalog import best_whole
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.training.assembly import AssembledTraining
from ptycho_dist.training.task import TrainingTask


def record_end(
    task: TrainingTask, training: AssembledTraining, began: float, scores: dict[str, Any]
) -> None:
    """Record on every rank that the run has finished; rank 0 writes result.json.

    Args:
        task: what was trained.
        training: its parts, after the last step.
        began: when this attempt began to train, by the monotonic clock.
        scores: the scores of the final reconstruction, for result.json.
    """
    callback, step = training.callback, training.trainer.global_step
    # a run that measures may end within its first epoch
    last_epoch = callback.rows[-1] if callback.rows else None
    if task.rank.rank == 0:
        callback.write_rows()  # an attempt may have been killed before it could
        best = best_whole(task.run, task.monitor.mode)
        result: dict[str, Any] = {
            "format": 1,
            "attempt": task.rank.joined.attempt.number,
            "finished_at": time.time(),
            "seconds_in_last_attempt": round(time.monotonic() - began, 3),
            "steps": step,
            "last_epoch": last_epoch,
            "best": {
                "metric": task.monitor.name,
                "value": best.value if best else None,
                "checkpoint": best.path.name if best else None,
            },
            **training.measuring.to_json(step),
            **scores,
        }
        write_json_atomic(task.run.result_json, result)
    task.rank.ledger.append("finished", step=step)
    task.rank.heartbeat.write(
        "finished",
        epoch=last_epoch["epoch"] if last_epoch else training.data.position.epoch,
        epochs=task.world.epochs,
        step=step,
        total_steps=step,
        loss=last_epoch["train_loss"] if last_epoch else callback.progress.last_loss,
    )
